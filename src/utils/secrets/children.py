"""Other programs: running them, and what they say when they fail. The one place for both."""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import subprocess
import time
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, cast

from .errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

LONGEST_REASON = 200
LARGEST_OUTPUT = 64 * 1024 * 1024
BYTES_OF_MIB = 1024 * 1024
CHUNK_BYTES = 65536
SECONDS_AFTER_END = 0.5
_CONTROL_CHARACTERS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x1f\x7f-\x9f]+")


class ChildError(StoreError):
    """Another program cannot be run, or takes too long.

    Args:
        program: Its name.
        fault: What is wrong with it.
        hint: See :class:`.errors.SecretsError`.
    """

    def __init__(self, program: str, fault: str, *, hint: str) -> None:
        super().__init__(f"{program} {fault}", hint=hint)
        self.fault = fault


@dataclass(frozen=True)
class Reason:
    """Why a program failed.

    Attributes:
        text: The cause, in one line.
        hints: What the program itself says to do about it.
    """

    text: str
    hints: tuple[str, ...] = ()


@dataclass(frozen=True)
class Child:
    """A program that has ended.

    Attributes:
        code: Its exit code.
        output: What it printed on standard output.
        errors: What it printed on standard error.
    """

    code: int
    output: str = field(repr=False)
    errors: str = field(repr=False)

    @property
    def reason(self) -> Reason:
        """Why it failed, in its own words. See :func:`find_reason`."""
        return find_reason(self.errors)


def run_child(
    command: Sequence[str],
    *,
    seconds: float,
    standard_input: bytes | str = "",
    folder: str | None = None,
    environ: Mapping[str, str] | None = None,
    may_ask: bool = False,
) -> Child:
    """Run a program to its end, without a terminal.

    Args:
        command: The program and its arguments; never a secret's value.
        seconds: How long it may take.
        standard_input: What it reads: the place for values.
        folder: Where it runs; here when left out.
        environ: Its variables; those of this process when left out.
        may_ask: Its standard error is this process's own. At a terminal it may ask the person there, so that it stays
            in the terminal's foreground group, which Ctrl-C ends as a whole; a deadline then ends the program alone.

    Raises:
        ChildError: It cannot be run, did not end in time, or prints without end.
    """
    name = command[0].rsplit("/", 1)[-1]
    data = standard_input.encode() if isinstance(standard_input, str) else standard_input
    has_terminal = may_ask and os.isatty(0)
    try:
        process = subprocess.Popen(
            list(command),
            cwd=folder,
            env=environ,
            stdin=None if has_terminal else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if may_ask else subprocess.PIPE,
            # A group of its own: Ctrl-C is for this process, which ends the whole group.
            start_new_session=not has_terminal,
        )
    except OSError as error:
        raise ChildError(name, f"cannot be run: {error.strerror}", hint="Check that it is installed") from None
    is_done = False
    with process:
        try:
            output, errors = _communicate(process, data, seconds)
            is_done = True
        except subprocess.TimeoutExpired:
            raise ChildError(name, f"has not answered for {seconds:g} s", hint="Check it by itself") from None
        except OverflowError:
            most = f"{LARGEST_OUTPUT // BYTES_OF_MIB} MiB"
            raise ChildError(name, f"has printed more than {most}", hint="Check it by itself") from None
        finally:
            if not is_done:
                _end(process.kill if has_terminal else lambda: os.killpg(process.pid, signal.SIGKILL))
    return Child(process.returncode, output.decode(errors="replace"), errors.decode(errors="replace"))


def _communicate(process: subprocess.Popen[bytes], data: bytes, seconds: float) -> tuple[bytes, bytes]:
    """What a program prints while it reads ``data``.

    Raises:
        subprocess.TimeoutExpired: It takes too long.
        OverflowError: It prints too much.
    """
    assert process.stdout is not None
    patience = _Patience(process, seconds)
    printed: dict[IO[bytes], list[bytes]] = {stream: [] for stream in (process.stdout, process.stderr) if stream}
    waiting = memoryview(data)
    with selectors.DefaultSelector() as ready:
        for stream in printed:
            ready.register(stream, selectors.EVENT_READ)
        if process.stdin and data:
            os.set_blocking(process.stdin.fileno(), False)
            ready.register(process.stdin, selectors.EVENT_WRITE)
        elif process.stdin:
            process.stdin.close()
        while ready.get_map() and (left := patience.left()) is not None:
            for key, _events in ready.select(left):
                if process.stdin and key.fileobj is process.stdin:
                    waiting = _write_some(process.stdin, waiting)
                    if not waiting:
                        ready.unregister(process.stdin)
                        process.stdin.close()
                    continue
                if not _read_some(cast("IO[bytes]", key.fileobj), printed):
                    ready.unregister(key.fileobj)
    while (left := patience.left()) is not None and process.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(left)
    return b"".join(printed[process.stdout]), b"".join(printed[process.stderr]) if process.stderr else b""


class _Patience:
    """How long a program is waited for. What it has left behind may keep its output open as long as it likes.

    Args:
        process: The program.
        seconds: How long it may take.
    """

    def __init__(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        self._process = process
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._has_ended = False

    def left(self) -> float | None:
        """How long to wait now; ``None`` when the program has ended and nothing more is waited for.

        Raises:
            subprocess.TimeoutExpired: It takes too long.
        """
        if not self._has_ended and self._process.poll() is not None:
            self._has_ended = True
            self._deadline = min(self._deadline, time.monotonic() + SECONDS_AFTER_END)
        left = self._deadline - time.monotonic()
        if left > 0:
            return min(left, SECONDS_AFTER_END)
        if self._has_ended:
            return None
        raise subprocess.TimeoutExpired(self._process.args, self._seconds)


def _read_some(stream: IO[bytes], printed: Mapping[IO[bytes], list[bytes]]) -> bool:
    """Read what there is; returns whether more can come.

    Raises:
        OverflowError: It is too much.
    """
    chunk = os.read(stream.fileno(), CHUNK_BYTES)
    printed[stream].append(chunk)
    if sum(len(part) for parts in printed.values() for part in parts) > LARGEST_OUTPUT:
        raise OverflowError
    return bool(chunk)


def _write_some(stream: IO[bytes], waiting: memoryview) -> memoryview:
    """Write what a pipe takes; returns the rest. A program that reads no further gets no more."""
    try:
        return waiting[os.write(stream.fileno(), waiting[:CHUNK_BYTES]) :]
    except BrokenPipeError:
        return memoryview(b"")


def _end(kill: Callable[[], None]) -> None:
    """End a program, with what it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        kill()


def find_reason(errors: str) -> Reason:
    """The cause in what a program printed on standard error.

    Our own scripts print ``error:`` and ``hint:`` lines. Of other programs the last line is the cause most often.
    """
    lines = [line for text in errors.splitlines() if (line := _CONTROL_CHARACTERS.sub(" ", text).strip())]
    said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    hints = tuple(line.removeprefix("hint: ") for line in lines if line.startswith("hint: "))
    others = [line for line in lines if not line.startswith("hint: ")]
    text = (said or others[-1:] or ["no error output"])[0]
    return Reason(text[:LONGEST_REASON], hints)
