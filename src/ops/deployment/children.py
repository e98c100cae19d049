"""Other programs: running them, and what they say when they fail. The one place for both."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from src.utils.secrets.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LONGEST_REASON = 200
_CONTROL_CHARACTERS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x1f\x7f-\x9f]+")


class ChildError(StoreError):
    """Another program cannot be run, or takes too long."""


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
    output: str
    errors: str

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
) -> Child:
    """Run a program to its end, without a terminal.

    Args:
        command: The program and its arguments; never a secret's value.
        seconds: How long it may take.
        standard_input: What it reads: the place for values.
        folder: Where it runs; here when left out.
        environ: Its variables; those of this process when left out.

    Raises:
        ChildError: It cannot be run, or did not end in time.
    """
    name = command[0].rsplit("/", 1)[-1]
    data = standard_input.encode() if isinstance(standard_input, str) else standard_input
    try:
        done = subprocess.run(
            list(command), cwd=folder, env=environ, input=data, capture_output=True, check=False, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        raise ChildError(f"{name} has not answered for {seconds:g} s", hint="Check it by itself") from None
    except OSError as error:
        raise ChildError(f"{name} cannot be run: {error.strerror}", hint="Check that it is installed") from None
    return Child(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


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
