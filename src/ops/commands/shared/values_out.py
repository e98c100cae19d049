"""Values on standard output, as bytes: a file or another program gets the same in every locale."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def write_values(text: str) -> None:
    """Write ``text`` as UTF-8.

    Raises:
        OSError: Nobody reads it any more, or the disk is full.
    """
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode())
    sys.stdout.buffer.flush()


def mask_in_log(values: Iterable[str], environ: Mapping[str, str]) -> None:
    """Tell GitHub Actions to hide ``values`` in the log of the job. Elsewhere, these lines would show them.

    The commands go to standard error, which the runner reads as well: standard output has the values only.
    https://docs.github.com/actions/reference/workflow-commands-for-github-actions#masking-a-value-in-a-log
    """
    if environ.get("GITHUB_ACTIONS") != "true":
        return
    # The runner compares single lines, and warns about a mask without a character.
    lines = [line for value in values for line in value.replace("\r", "\n").split("\n") if any(map(str.isalnum, line))]
    commands = "".join(f"::add-mask::{line.replace('%', '%25')}\n" for line in dict.fromkeys(lines))
    sys.stderr.flush()
    sys.stderr.buffer.write(commands.encode())
    sys.stderr.buffer.flush()
