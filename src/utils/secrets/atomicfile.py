"""Replacing a file so that everybody sees the old content or the new one, whole, and only the owner sees any.

The new content is written to a file of its own beside the target, synced, read back and then renamed over it: what
``rename(2)`` promises. Only writers import this.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import stat

from .command import program
from .errors import StoreError
from .settings import open_regular, read_descriptor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .command import Command, Hint

# What file systems without hard links, and without modes, answer: exFAT, SMB, FUSE.
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL)
_NO_MODES = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
# Named after the process that writes it, so that what a killed one leaves behind can be told from work under way.
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?P<process>\d+)-[0-9a-f]{16}\.tmp")


class StagedFile:
    """A file's new content, complete and synced beside it, waiting to take its place.

    ``commit`` puts it there and keeps the old file under a second name; then either ``rollback`` brings the old file
    back, the very same one, or ``finish`` lets go of it.

    Args:
        path: The file.
        temporary: Where the new content is.
    """

    __slots__ = ("_is_committed", "_old", "path", "temporary")

    def __init__(self, path: str, temporary: str) -> None:
        self.path = path
        self.temporary = temporary
        self._old: str | None = None
        self._is_committed = False

    def commit(self, *, must_not_exist: bool = False) -> None:
        """Put the new content in place.

        Args:
            must_not_exist: Refuse when there is a file already, even one made at the same moment.

        Raises:
            StoreError: It could not be put there. What was there before is still there.
        """
        try:
            if must_not_exist:
                self._claim()
            else:
                self._keep_old()
                os.rename(self.temporary, self.path)
            self._is_committed = True
        except FileExistsError:
            self.rollback()
            raise StoreError(
                f"{self.path} exists already", hint="Another run made it meanwhile; run this again"
            ) from None
        except OSError as error:
            self.rollback()
            raise write_error(self.path, error) from None

    def rollback(self) -> None:
        """Restore what was there before."""
        if self._is_committed:
            if self._old is not None:
                os.rename(self._old, self.path)
            else:
                _unlink(self.path)
        self.finish()

    def finish(self, *, backup_path: str | None = None) -> None:
        """Let go of the old file, or keep it as ``backup_path``, and of new content that was not put in place.

        Raises:
            OSError: The old file cannot become ``backup_path``; ``rollback`` is still possible.
        """
        if self._old is not None and backup_path is not None:
            os.rename(self._old, backup_path)
            self._old = None
        self._is_committed = False
        for leftover in filter(None, (self._old, self.temporary)):
            # What cannot be removed now does no harm: the next writer removes it.
            with contextlib.suppress(OSError):
                os.unlink(leftover)
        self._old = None

    def _claim(self) -> None:
        """Take a name that is free, or fail. Without hard links an empty file holds it for a moment."""
        try:
            os.link(self.temporary, self.path)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            os.rename(self.temporary, self.path)

    def _keep_old(self) -> None:
        if os.path.lexists(self.path):
            self._old = second_name(self.path, _temporary_name(self.path))


def second_name(path: str, name: str) -> str:
    """Give a file a second name; returns it. Without hard links it is a copy, which is on the disk by then.

    Raises:
        OSError: Neither can be made.
    """
    try:
        os.link(path, name, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        status = os.lstat(path)
        with open_regular(path) as file:
            data = file.read()
        _write_new_file(name, data, stat.S_IMODE(status.st_mode), None, sync=True)
        give_to(name, (status.st_uid, status.st_gid))
    return name


def inherited_owner(path: str) -> tuple[int, int] | None:
    """Whom a file belongs to when root writes it: its owner stays, and through sudo the folder's owner gets a new one.

    Otherwise the person who used sudo for once could not read their own files any more. What another user than the
    folder's owner has put there gets nothing.

    Args:
        path: The file, or the folder that is made.

    Returns:
        User and group id; ``None`` when it simply belongs to the caller.
    """
    if os.geteuid() != 0:
        return None
    folder = os.stat(os.path.dirname(os.path.abspath(path)))
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return (folder.st_uid, folder.st_gid) if os.environ.get("SUDO_UID") else None
    return (status.st_uid, status.st_gid) if status.st_uid == folder.st_uid else None


def give_to(path: str, owner: tuple[int, int]) -> None:
    """Let a file belong to somebody; on a file system without owners it belongs to whom it did."""
    status = os.lstat(path)
    if (status.st_uid, status.st_gid) != owner:
        with contextlib.suppress(PermissionError):
            os.chown(path, *owner, follow_symlinks=False)


def keeps_modes(path: str) -> bool:
    """Whether a file that was written for its owner only is closed to others: its file system may keep no modes."""
    return not (os.path.lexists(path) and os.lstat(path).st_mode & 0o077)


def stage_file(
    path: str, data: bytes, *, mode: int, owner: tuple[int, int] | None = None, sync: bool = True
) -> StagedFile:
    """Write the new content of a file beside it, sync it and read it back; nothing at ``path`` changes yet.

    Args:
        path: The file. A symbolic link in its place is refused, so that nobody can steer the write elsewhere.
        data: Its new content.
        mode: Its permission bits; until it is complete, only the owner can read it. A file system may keep none.
        owner: User and group id it gets; see :func:`inherited_owner` for when it is left out.
        sync: Wait until the content is on the disk.

    Raises:
        StoreError: It could not be written.
    """
    path = os.path.abspath(path)
    require_regular(path)
    staged = StagedFile(path, _temporary_name(path))
    try:
        inherited = inherited_owner(path) if owner is None else None
        _write_new_file(staged.temporary, data, mode, owner, sync)
        if inherited is not None:
            give_to(staged.temporary, inherited)
    except OSError as error:
        staged.finish()
        raise write_error(path, error) from None
    except BaseException:
        staged.finish()
        raise
    return staged


def require_regular(path: str) -> None:
    """Refuse to write where something other than a file is.

    Raises:
        StoreError: A link, a folder, or a device is there.
    """
    if os.path.islink(path):
        raise StoreError(
            f"{path} is a symbolic link and is not written through",
            hint=program("ls", "-l", path, purpose="Name the real file instead, or remove the link"),
        )
    if os.path.lexists(path) and not os.path.isfile(path):
        raise StoreError(f"{path} is not a regular file", hint=move_aside(path))


def move_aside(path: str) -> Command:
    """The command that moves what is in the place of a file to a name that is not taken."""
    target = next(name for name in numbered_names(f"{path}.old") if not os.path.lexists(name))
    return program("mv", "-n", path, target, purpose="Move it aside")


def numbered_names(stem: str, extension: str = "") -> Iterator[str]:
    """The name without a number, then with 2, 3 and so on before the extension."""
    yield stem + extension
    for number in itertools.count(2):
        yield f"{stem}-{number}{extension}"


def replace_file(
    path: str, data: bytes, *, mode: int, owner: tuple[int, int] | None = None, must_not_exist: bool = False
) -> None:
    """Put ``data`` at ``path``, all or nothing. See :func:`stage_file` and :meth:`StagedFile.commit`."""
    staged = stage_file(path, data, mode=mode, owner=owner)
    staged.commit(must_not_exist=must_not_exist)
    try:
        sync_directory(os.path.dirname(staged.path))
    except OSError as error:
        staged.rollback()
        raise write_error(path, error) from None
    staged.finish()


def write_error(path: str, error: OSError) -> StoreError:
    """The project's error for a failed write to ``path``, with a hint that fits its cause."""
    hint = _cure(error.errno, os.path.dirname(os.path.abspath(path)))
    return StoreError(f"Cannot write {path}: {error.strerror or type(error).__name__}", hint=hint)


def _cure(number: int | None, directory: str) -> Hint:
    cures: dict[int, Hint] = {
        errno.ENOSPC: program("df", "-h", directory, purpose="Free some space on that disk and run this again"),
        errno.EDQUOT: "Free some of your quota on that disk and run this again",
        errno.EACCES: program("ls", "-ld", directory, purpose="Run this as the owner of that folder"),
        errno.EPERM: program("ls", "-ld", directory, purpose="Run this as the owner of that folder"),
        errno.EROFS: "That is a read-only file system: mount it writable, or choose another place",
        errno.ENOENT: program("mkdir", "-p", directory, purpose="Make the folder first"),
        errno.ENOTDIR: program("ls", "-ld", directory, purpose="Put a folder there"),
    }
    return cures.get(number or 0) or program("ls", "-ld", directory, purpose="Check that place")


def remove_stale_temporaries(paths: Iterable[str]) -> None:
    """Remove what killed writers of these files have left beside them; what a running one is at work on stays.

    Files that are named after them (``secrets.enc.sum``, ``master.key.old-...``) count, too.
    """
    names: dict[str, set[str]] = {}
    for path in paths:
        directory, name = os.path.split(os.path.abspath(path))
        names.setdefault(directory, set()).add(name)
    for directory, written in names.items():
        for entry in os.listdir(directory) if os.path.isdir(directory) else ():
            match = _TEMPORARY.fullmatch(entry)
            if match and _is_named_after(match["name"], written) and not _is_running(int(match["process"])):
                _unlink(os.path.join(directory, entry))


def is_left_behind(path: str) -> bool:
    """Whether a file is what a killed writer has left; what a running one is at work on is not."""
    match = _TEMPORARY.fullmatch(os.path.basename(path))
    return match is not None and not _is_running(int(match["process"]))


def make_private_directory(path: str) -> list[str]:
    """Make a folder that only its owner can enter (0700), with the folders above it, on the disk when this returns.

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
            owner = inherited_owner(directory)
            os.mkdir(directory, 0o700)
            made.insert(0, directory)
            if owner is not None:
                give_to(directory, owner)
            sync_directory(os.path.dirname(directory))
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
    except OSError as error:
        if error.errno != errno.EINVAL:  # this file system has nothing to wait for
            raise
    finally:
        os.close(descriptor)


def _temporary_name(path: str) -> str:
    directory, name = os.path.split(path)
    return os.path.join(directory, f".{name}.{os.getpid()}-{os.urandom(8).hex()}.tmp")


def _is_named_after(name: str, written: set[str]) -> bool:
    return name in written or any(name.startswith(f"{base}.") for base in written)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _set_mode(descriptor: int, mode: int) -> None:
    try:
        os.fchmod(descriptor, mode)
    except OSError as error:
        if error.errno not in _NO_MODES:
            raise  # the file is one's own, so that these are about the file system


def _write_new_file(path: str, data: bytes, mode: int, owner: tuple[int, int] | None, sync: bool) -> None:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, stat.S_IRUSR | stat.S_IWUSR)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        _set_mode(descriptor, mode)
        if owner is not None:
            os.fchown(descriptor, *owner)
        if sync:
            os.fsync(descriptor)
        os.lseek(descriptor, 0, os.SEEK_SET)
        if read_descriptor(descriptor, len(data) + 1) != data:
            raise OSError(errno.EIO, "what was written reads back differently")
    finally:
        os.close(descriptor)
