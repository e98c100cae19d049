"""A value on standard input, as bytes: the locale has no say in what it is."""

from __future__ import annotations

import sys

from src.ops.terminal.usage import UsageError
from src.utils.secrets.settings import MAX_VALUE_BYTES


def read_standard_input() -> str:
    """The text on standard input, less one line end.

    Raises:
        UsageError: It is larger than a value may be, or is not UTF-8 text.
    """
    data = sys.stdin.buffer.read(MAX_VALUE_BYTES + 1)
    if len(data) > MAX_VALUE_BYTES:
        raise UsageError("Standard input is larger than 1 MiB")
    try:
        return data.decode().removesuffix("\n")
    except UnicodeDecodeError:
        raise UsageError("Standard input is not UTF-8 text") from None
