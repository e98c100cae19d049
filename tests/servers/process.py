"""A server as a child process."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from .ports import wait_for_port


@contextmanager
def running(
    command: Sequence[str],
    port: int,
    *,
    environ: Mapping[str, str] | None = None,
    log: Path | None = None,
    host: str = "127.0.0.1",
) -> Iterator[subprocess.Popen[bytes]]:
    """Start ``command``, wait until it listens on ``port``, and stop it at the end."""
    with (
        (log or Path(os.devnull)).open("ab") as output,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environ) as server,
    ):
        try:
            wait_for_port(port, 60, host)
            yield server
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
