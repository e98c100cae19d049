"""The text of an import file: UTF-8 or UTF-16, never what the locale says, and any line ends."""

from __future__ import annotations

import codecs
import re

from src.utils.secrets.command import program

from .entries import NOTHING_CHANGED, ImportRefusedError

# The mark of UTF-32 begins with the one of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LONE_LF = re.compile(r"(?<!\r)\n")
_UNDECODED = re.compile("[\udc80-\udcff]")


def decode(data: bytes, source: str) -> str:
    """The text of ``data``; bytes that are not UTF-8 stay recognizable: see :func:`is_utf8`.

    Args:
        data: What the file holds.
        source: Where it comes from, for the error.

    Raises:
        ImportRefusedError: It is UTF-16 with an error in it, or without its byte order mark.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return data.decode(encoding)
            except UnicodeDecodeError:
                raise ImportRefusedError(
                    f"{source} is not valid {encoding.upper()}; {NOTHING_CHANGED}", hint="Save it as UTF-8"
                ) from None
    if data[1:2] == b"\0" or data[:1] == b"\0":
        raise ImportRefusedError(
            f"{source} is binary, or UTF-16 without a byte order mark; {NOTHING_CHANGED}",
            hint=program("iconv", "-f", "UTF-16LE", "-t", "UTF-8", source, purpose="If it is UTF-16, convert it"),
        )
    return data.removeprefix(codecs.BOM_UTF8).decode(errors="surrogateescape")


def is_utf8(text: str) -> bool:
    """Whether no part of a text of :func:`decode` was anything else."""
    return not _UNDECODED.search(text)


def with_plain_line_ends(text: str) -> str:
    """``text`` with LF, where all its lines end with CRLF or all with CR; otherwise as it is.

    In a file with several kinds of line ends, a CR inside quotes belongs to the value.
    """
    if _LONE_LF.search(text):
        return text
    return text.replace("\r\n", "\n") if "\n" in text else text.replace("\r", "\n")
