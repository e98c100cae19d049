"""Replacing a file so that everybody sees the old content or the new one, whole, and only the owner sees any.

The new content is written to a file of its own beside the target, synced, read back and then renamed over it: what
``rename(2)`` promises. Only writers import this.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat

from .errors import StoreError
from .settings import read_descriptor

TEMPORARY_SUFFIX = ".tmp"

_HINTS = {
    errno.ENOSPC: "Free some space on that disk (df -h {directory}) and run this again",
    errno.EDQUOT: "Free some of your quota on that disk and run this again",
    errno.EACCES: "Run this as the owner of {directory}: ls -ld {directory}",
    errno.EPERM: "Run this as the owner of {directory}: ls -ld {directory}",
    errno.EROFS: "{directory} is on a read-only file system; mount it writable or choose another place",
    errno.ENOENT: "Make the folder first: mkdir -p {directory}",
    errno.ENOTDIR: "A folder is needed there: ls -ld {directory}",
}


class StagedFile:
    """A file's new content, complete and synced beside it, waiting to take its place.

    Args:
        path: The file.
        temporary: Where the new content is.
    """

    __slots__ = ("path", "temporary")

    def __init__(self, path: str, temporary: str) -> None:
        self.path = path
        self.temporary = temporary

    def commit(self, *, must_not_exist: bool = False, sync: bool = True) -> None:
        """Put the new content in place.

        Args:
            must_not_exist: Refuse when there is a file already, even one made at the same moment.
            sync: Wait until the name is on the disk.

        Raises:
            StoreError: It could not be put there. What was there before is still there.
        """
        try:
            if must_not_exist:
                os.link(self.temporary, self.path)
            else:
                os.rename(self.temporary, self.path)
        except FileExistsError:
            raise StoreError(
                f"{self.path} exists already", hint="Another run made it meanwhile; run this again"
            ) from None
        except OSError as error:
            raise write_error(self.path, error) from None
        finally:
            self.discard()
        if sync:
            sync_directory(os.path.dirname(self.path))

    def discard(self) -> None:
        """Remove the new content, if it is still waiting."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.temporary)


def stage_file(
    path: str, data: bytes, *, mode: int, owner: tuple[int, int] | None = None, sync: bool = True
) -> StagedFile:
    """Write the new content of a file beside it, sync it and read it back; nothing at ``path`` changes yet.

    Args:
        path: The file. A symbolic link in its place is refused, so that nobody can steer the write elsewhere.
        data: Its new content.
        mode: Its permission bits; until it is complete, only the owner can read it.
        owner: User and group id it gets; the caller's when left out.
        sync: Wait until the content is on the disk.

    Raises:
        StoreError: It could not be written.
    """
    path = os.path.abspath(path)
    directory, name = os.path.split(path)
    if os.path.islink(path):
        raise StoreError(
            f"{path} is a symbolic link and is not written through",
            hint=f"Name the real file instead, or remove the link: ls -l {path}",
        )
    if os.path.lexists(path) and not os.path.isfile(path):
        raise StoreError(f"{path} is not a regular file", hint=f"Move it away: ls -ld {path}")
    staged = StagedFile(path, os.path.join(directory, f".{name}.{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"))
    try:
        _write_new_file(staged.temporary, data, mode, owner, sync)
    except OSError as error:
        staged.discard()
        raise write_error(path, error) from None
    except BaseException:
        staged.discard()
        raise
    return staged


def replace_file(
    path: str, data: bytes, *, mode: int, owner: tuple[int, int] | None = None, must_not_exist: bool = False
) -> None:
    """Put ``data`` at ``path``, all or nothing. See :func:`stage_file` and :meth:`StagedFile.commit`."""
    stage_file(path, data, mode=mode, owner=owner).commit(must_not_exist=must_not_exist)


def write_error(path: str, error: OSError) -> StoreError:
    """The project's error for a failed write to ``path``, with a hint that fits its cause."""
    directory = os.path.dirname(os.path.abspath(path))
    hint = _HINTS.get(error.errno or 0, "Check that place: ls -ld {directory}").format(directory=directory)
    return StoreError(f"Cannot write {path}: {error.strerror or type(error).__name__}", hint=hint)


def remove_stale_temporaries(path: str) -> None:
    """Remove what a killed writer of ``path`` may have left beside it. Only while no other writer can be at work."""
    directory, name = os.path.split(os.path.abspath(path))
    prefix = f".{name}."
    for entry in os.listdir(directory):
        if entry.startswith(prefix) and entry.endswith(TEMPORARY_SUFFIX):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(directory, entry))


def make_private_directory(path: str) -> list[str]:
    """Make a folder that only its owner can enter (0700), with the folders above it.

    Returns:
        The folders that were made, the innermost first.

    Raises:
        StoreError: It cannot be made, or something that is not a folder is in its place.
    """
    missing = []
    current = os.path.abspath(path)
    while not os.path.isdir(current):
        missing.append(current)
        current = os.path.dirname(current)
    made: list[str] = []
    try:
        for directory in reversed(missing):
            os.mkdir(directory, 0o700)
            made.insert(0, directory)
    except OSError as error:
        for directory in made:
            os.rmdir(directory)
        raise write_error(path, error) from None
    return made


def sync_directory(directory: str) -> None:
    """Wait until a folder's entries are on the disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def keep_as(path: str, backup_path: str) -> None:
    """Keep the file at ``path`` under a second name too, in place of what had that name.

    Raises:
        OSError: The file system refuses.
    """
    directory, name = os.path.split(os.path.abspath(backup_path))
    temporary = os.path.join(directory, f".{name}.{secrets.token_hex(8)}{TEMPORARY_SUFFIX}")
    os.link(path, temporary, follow_symlinks=False)
    try:
        os.rename(temporary, backup_path)
    finally:
        # rename(2) does nothing, and keeps both names, when they are links to one file already.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def _write_new_file(path: str, data: bytes, mode: int, owner: tuple[int, int] | None, sync: bool) -> None:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, stat.S_IRUSR | stat.S_IWUSR)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fchmod(descriptor, mode)
        if owner is not None:
            os.fchown(descriptor, *owner)
        if sync:
            os.fsync(descriptor)
        os.lseek(descriptor, 0, os.SEEK_SET)
        if read_descriptor(descriptor, len(data) + 1) != data:
            raise OSError(errno.EIO, "what was written reads back differently")
    finally:
        os.close(descriptor)
