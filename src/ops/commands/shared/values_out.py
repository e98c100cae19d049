"""Values on standard output, as bytes: a file or another program gets the same in every locale."""

from __future__ import annotations

import sys


def write_values(text: str) -> None:
    """Write ``text`` as UTF-8.

    Raises:
        OSError: Nobody reads it any more, or the disk is full.
    """
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode())
    sys.stdout.buffer.flush()
