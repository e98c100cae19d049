"""Free ports, and waiting for a server to answer on one."""

from __future__ import annotations

import random
import socket
import time
from contextlib import suppress


def free_port(host: str = "127.0.0.1") -> int:
    """A port on which nothing listens now, outside the range from which the system gives one to every client."""
    while True:
        port = random.randrange(15000, 30000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((host, port))
            return port


def wait_for_port(port: int, seconds: float = 30, host: str = "127.0.0.1") -> None:
    """Return when something accepts connections on ``port``."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((host, port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
