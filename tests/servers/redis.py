"""A real Redis server for a test run."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from tests.conftest import need_program

from .ports import free_port, wait_for_port


@contextmanager
def running_redis(password: str, port: int | None = None) -> Iterator[int]:
    """Start a server with this password, which it reads from standard input; yields its port."""
    program = need_program("redis-server", "redis-server")
    port = port or free_port()
    with subprocess.Popen(
        [program, "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdin is not None
        server.stdin.write(f'port {port}\nbind 127.0.0.1\nsave ""\nrequirepass "{password}"\n')
        server.stdin.close()
        try:
            wait_for_port(port)
            yield port
        finally:
            server.terminate()
            server.wait(30)


def end_redis(port: int, password: str) -> None:
    """Shut a server down, as a machine that goes away does."""
    with redis.Redis(port=port, password=password) as client:
        client.shutdown(nosave=True)
