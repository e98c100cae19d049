"""One writer of a file at a time. Only writers import this."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from .atomicfile import require_regular
from .errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCK_TIMEOUT_SECONDS = 30


@contextmanager
def locked(path: str) -> Iterator[None]:
    """Hold the lock of the file ``path``: an empty file beside it, for its owner only.

    Raises:
        StoreError: Another program has held it for 30 s.
    """
    from filelock import FileLock, Timeout

    require_regular(f"{path}.lock")
    lock = FileLock(f"{path}.lock", timeout=LOCK_TIMEOUT_SECONDS, mode=0o600)
    try:
        lock.acquire()
    except Timeout:
        raise StoreError(
            f"Another program has been writing {path} for {LOCK_TIMEOUT_SECONDS} s",
            hint="Wait for it to end, then run this again",
        ) from None
    try:
        yield
    finally:
        lock.release()
