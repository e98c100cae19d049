"""A real pseudo-terminal with a screen and keys."""

from __future__ import annotations

import re
import shlex
import time
from typing import TYPE_CHECKING

import pexpect
import pyte

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ENTER = "\r"
DOWN = "\x1b[B"
CTRL_C = "\x03"
CTRL_D = "\x04"


class Terminal:
    """A program on a pseudo-terminal, with all its output and the current screen."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        environ: Mapping[str, str],
        cwd: str,
        columns: int = 80,
        rows: int = 24,
        timeout: float = 60,
    ) -> None:
        self._timeout = timeout
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.Stream(self.screen)
        self.transcript = ""
        self.process = pexpect.spawn(
            command[0] if command[1:] else shlex.quote(command[0]),  # pexpect splits a command without arguments
            list(command[1:]),
            env=dict(environ),
            cwd=cwd,
            dimensions=(rows, columns),
            timeout=timeout,
            encoding="utf-8",
        )

    @property
    def lines(self) -> list[str]:
        """Return the screen, without the empty lines at its end."""
        text = "\n".join(line.rstrip() for line in self.screen.display)
        return text.rstrip().splitlines()

    @property
    def text(self) -> str:
        """Return all output so far, without colours and cursor movements."""
        return re.sub(r"\x1b(\[[0-9;?]*[A-Za-z]|[=>]|\][^\x07]*\x07)", "", self.transcript).replace("\r", "")

    def wait_for(self, pattern: str) -> None:
        """Read until ``pattern`` is on the screen, or has been written since the last answer."""
        start, deadline = len(self.transcript), time.monotonic() + self._timeout
        while not (re.search(pattern, "\n".join(self.lines)) or re.search(pattern, self._plain(start))):
            if time.monotonic() > deadline or not self._read():
                screen = "\n".join(self.lines)
                raise AssertionError(f"{pattern!r} did not appear; the screen is:\n{screen}")

    def answer(self, question: str, keys: str = ENTER) -> None:
        """Wait for a question, then type."""
        self.wait_for(question)
        self.settle()
        self.screen.reset()
        self.process.send(keys)

    def settle(self, seconds: float = 0.15) -> None:
        """Read output until there is none for this number of seconds."""
        while self._read(seconds):
            pass

    def is_running(self) -> bool:
        """Return whether the program is still running."""
        return bool(self.process.isalive())

    def finish(self) -> int:
        """Read to the end; returns the exit code, or the negative number of the signal that ended it."""
        while self._read():
            pass
        self.process.close()
        if self.process.exitstatus is not None:
            return int(self.process.exitstatus)
        return -int(self.process.signalstatus or 0)

    def _plain(self, start: int) -> str:
        return re.sub(r"\x1b(\[[0-9;?]*[A-Za-z])", "", self.transcript[start:])

    def _read(self, timeout: float | None = None) -> bool:
        try:
            chunk = self.process.read_nonblocking(4096, timeout if timeout is not None else self._timeout)
        except (pexpect.EOF, pexpect.TIMEOUT):
            return False
        self.transcript += chunk
        self._stream.feed(chunk)
        return True
