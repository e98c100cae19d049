"""A running main.py."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.conftest import PROJECT
from tests.servers.ports import free_port, wait_for_port


class App:
    """A running main.py."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30)
        self.log_file = log

    def log(self) -> str:
        return self.log_file.read_text()

    def wait_until(self, condition: Any, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.1)

    def wait_until_ready(self) -> None:
        self.wait_until(lambda: self.client.get("/ready").status_code == 200)

    def get(self, path: str, *, cookie: str | None = None, **headers: str) -> httpx.Response:
        """Send a request with only this cookie or these headers."""
        if cookie:
            headers["Cookie"] = f"session={cookie}"
        return httpx.get(self.client.base_url.join(path), headers=headers, timeout=30)

    def login(self, password: str, username: str = "admin") -> httpx.Response:
        return self.client.post("/login", json={"username": username, "password": password})

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


@contextmanager
def running_app(
    environ: dict[str, str], folder: Path, wait: bool = True, *, prefix: Sequence[str] = ()
) -> Iterator[App]:
    """main.py as a program.

    Args:
        environ: The variables that matter.
        folder: Where it runs, and where its log is.
        wait: Until it listens.
        prefix: The program that starts it, with arguments.
    """
    port = free_port()
    log = folder / f"app-{port}.log"
    kept = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    base = {"PATH": os.environ["PATH"], "HOME": str(folder), "APP_PORT": str(port), "SECRETS_BACKEND": "env"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*prefix, sys.executable, str(PROJECT / "main.py")],
            env=base | kept | environ,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
    app = App(process, port, log)
    try:
        if wait:
            try:
                wait_for_port(port)
            except OSError:
                raise AssertionError(app.log()) from None
        yield app
    finally:
        app.client.close()
        if process.poll() is None:
            process.terminate()
        process.wait(30)
