"""One writer of a file at a time. Only writers import this."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .atomicfile import give_to, inherited_owner, require_regular
from .errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from filelock import BaseFileLock

LOCK_TIMEOUT_SECONDS = 30
LOCK_MODE = 0o600
_NO_FLOCK = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)


@contextmanager
def locked(path: str, *, seconds: float | None = None) -> Iterator[None]:
    """Hold the lock of the file ``path``: an empty file beside it, for its owner only.

    Where the file system knows no locks (some network and FUSE mounts), a file that is there while somebody writes
    takes the place of one; it names the process, and one that has died is no longer waited for.

    Args:
        path: The file.
        seconds: How long to wait for another writer; None is the usual time.

    Raises:
        StoreError: Another program has held it all that time.
        OSError: The lock's file cannot be made.
    """
    from filelock import FileLock, SoftFileLock, Timeout

    seconds = LOCK_TIMEOUT_SECONDS if seconds is None else seconds
    lock_path = f"{path}.lock"
    require_regular(lock_path)
    owner = inherited_owner(lock_path)
    lock: BaseFileLock = FileLock(lock_path, timeout=seconds, mode=LOCK_MODE)
    if not _can_lock(lock_path):
        lock = SoftFileLock(f"{path}.held.lock", timeout=seconds, mode=LOCK_MODE)
    try:
        lock.acquire()
    except Timeout:
        raise StoreError(
            f"Another program has been writing {path} for {seconds:g} s",
            hint="Wait for it to end, then run this again",
        ) from None
    try:
        if owner is not None and os.path.exists(lock_path):
            give_to(lock_path, owner)
        yield
    finally:
        lock.release()


def _can_lock(path: str) -> bool:
    """Whether ``flock(2)`` works there."""
    import fcntl

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, LOCK_MODE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _NO_FLOCK
    finally:
        os.close(descriptor)
    return True
