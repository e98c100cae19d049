"""Free ports, and waiting for a server to answer on one."""

from __future__ import annotations

import os
import random
import socket
import time
from contextlib import suppress

PORTS = range(15000, 30000)
"""Outside the range from which the system assigns ports to clients."""

_system_random = random.SystemRandom()  # plugins seed the default generator, which would repeat the same ports


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port on which nothing listens, and that no other process of this test run uses."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    own = PORTS[worker::workers]
    while True:
        port = _system_random.choice(own)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((host, port))
            return port


def wait_for_port(port: int, seconds: float = 30, host: str = "127.0.0.1") -> None:
    """Wait until a server accepts connections on ``port``."""
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
