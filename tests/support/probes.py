"""What an honest user sees of an application that others abuse: its answers, and how long they take."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.support.abuse import ADMINISTRATOR, login, request

HONEST_ADDRESS = "127.99.0.1"
"""Where the probes and the right password come from: no attacker has it."""
LOGIN_ADDRESS = "127.99.0.2"
NO_ANSWER = 0
_PAUSE_SECONDS = 0.1
_LONGEST_SECONDS = 15.0
_BUSY = 503


@dataclasses.dataclass
class Probe:
    """What one path answered.

    Attributes:
        statuses: How many answers there were of each status; ``NO_ANSWER`` for none.
        slowest: The longest wait for an answer, in seconds.
    """

    statuses: Counter[int] = dataclasses.field(default_factory=Counter)
    slowest: float = 0.0


def ask(port: int, data: bytes, address: str = HONEST_ADDRESS) -> int:
    """Send one request over a new connection; returns the status, or ``NO_ANSWER``."""
    with (
        contextlib.suppress(OSError, ValueError, IndexError),
        socket.create_connection(("127.0.0.1", port), _LONGEST_SECONDS, (address, 0)) as connection,
    ):
        connection.sendall(data)
        return int(connection.recv(65536).split(b" ", 2)[1])
    return NO_ANSWER


@contextmanager
def probing(port: int, *paths: str) -> Iterator[dict[str, Probe]]:
    """Ask for each path all the time, over new connections, while the block runs."""
    probes = {path: Probe() for path in paths}
    end = threading.Event()
    threads = [threading.Thread(target=_probe, args=(port, path, probe, end)) for path, probe in probes.items()]
    for thread in threads:
        thread.start()
    try:
        yield probes
    finally:
        end.set()
        for thread in threads:
            thread.join()


def _probe(port: int, path: str, probe: Probe, end: threading.Event) -> None:
    data = request("GET", path, b"", "Connection: close")
    while not end.wait(_PAUSE_SECONDS):
        start = time.monotonic()
        probe.statuses[ask(port, data)] += 1
        probe.slowest = max(probe.slowest, time.monotonic() - start)


@dataclasses.dataclass(frozen=True)
class Login:
    """How the right password fared.

    Attributes:
        status: The last answer.
        seconds: How long it took, with all attempts.
    """

    status: int
    seconds: float


def log_in(port: int, password: str, patience: float, address: str = LOGIN_ADDRESS) -> Login:
    """Log in as administrator. While the application says that it is busy, try again.

    Args:
        port: Where.
        password: The right one.
        patience: For how many seconds to try again.
        address: From where.
    """
    start = time.monotonic()
    while True:
        status = ask(port, login(ADMINISTRATOR, password), address)
        seconds = time.monotonic() - start
        if status != _BUSY or seconds > patience:
            return Login(status, seconds)
        time.sleep(1)


def wait_until_ready(port: int, has_ended: Callable[[], bool], seconds: float = 30) -> bool:
    """Wait for ``/ready``; returns whether it came to that."""
    deadline = time.monotonic() + seconds
    while ask(port, request("GET", "/ready", b"", "Connection: close")) != 200:
        if has_ended() or time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True
