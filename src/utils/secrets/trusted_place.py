"""Whether a file can be read as a key, a token or a passphrase: nobody else may have put it where it is.

Every folder and every link on the way to it must belong to this user or to root, and no folder may be open to writing
by others: as OpenSSH looks at ``authorized_keys`` (``StrictModes`` in sshd_config(5)). Once that holds, nobody else can
change it, so that the file that is opened next is the one that was looked at.
"""

from __future__ import annotations

import contextlib
import os
import stat

from .command import program
from .errors import OpenFolderError, UntrustedPlaceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_LINKS = 40  # as many as the kernel follows
ACCESS_LIST = "system.posix_acl_access"
_KEEP = "Keep the file in a folder that only you, or root, can write to"


def require_trusted_place(path: str, subject: str) -> None:
    """Refuse a file that another user could have put there, or could replace.

    A read-only mount, and systemd's credentials directory, are what somebody with more rights has made so.

    Args:
        path: The file. One that cannot be found is left to who opens it.
        subject: What it is called, for the error.

    Raises:
        UntrustedPlaceError: A folder or link on the way belongs to another user.
        OpenFolderError: A folder on the way can be written by others.
    """
    trusted = trusted_users()
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    in_shared_folder = False
    try:
        for place, status in _way_to(path):
            if credentials and os.path.abspath(credentials) == place:
                return
            if _is_read_only(place, status):
                continue
            is_folder = stat.S_ISDIR(status.st_mode)
            if status.st_uid not in trusted and (is_folder or stat.S_ISLNK(status.st_mode) or in_shared_folder):
                raise UntrustedPlaceError(
                    f"{subject} could be another user's: {place} belongs to another user (uid {status.st_uid})",
                    hint=[
                        program("ls", "-ld", place, purpose="Look at it"),
                        _KEEP,
                    ],
                )
            in_shared_folder = is_folder and bool(status.st_mode & stat.S_ISVTX)
            if is_folder and not in_shared_folder and is_open_to_others(place, status):
                mode = stat.S_IMODE(status.st_mode)
                fault = f"{subject} could be another user's: {place} can be written by others (mode {mode:04o})"
                if os.geteuid() not in (0, status.st_uid):
                    raise UntrustedPlaceError(fault, hint=_KEEP)  # only its owner can close it
                close = program("chmod", "go-w", place, purpose="Close the folder, and look at what is in it")
                raise OpenFolderError(fault, hint=close)
    except OSError:
        return


def trusted_users() -> set[int]:
    """Whose files this user reads keys from: their own, root's, and for root those of whose sudo or home it has."""
    user = os.geteuid()
    trusted = {user, 0}
    if user == 0:
        if os.environ.get("SUDO_UID", "").isdecimal():
            trusted.add(int(os.environ["SUDO_UID"]))
        with contextlib.suppress(OSError):
            trusted.add(os.stat(os.path.expanduser("~")).st_uid)
    return trusted | _users_without_number()


def _way_to(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """Every folder and link on the way to a file, and the file itself, in the order in which the kernel meets them.

    Raises:
        OSError: Something on the way is missing, or the links lead in a circle.
    """
    yield "/", os.stat("/")
    current, links = "/", 0
    rest = os.path.join(os.getcwd(), path).split("/")[::-1]
    while rest:
        part = rest.pop()
        if part in ("", "."):
            continue
        if part == "..":
            current = os.path.dirname(current)
            continue
        place = os.path.join(current, part)
        status = os.lstat(place)
        yield place, status
        if not stat.S_ISLNK(status.st_mode):
            current = place
            continue
        links += 1
        target = os.readlink(place)
        if links > MOST_LINKS:
            return
        rest += target.split("/")[::-1]
        current = "/" if target.startswith("/") else current


def _is_read_only(place: str, status: os.stat_result) -> bool:
    where = os.path.dirname(place) if stat.S_ISLNK(status.st_mode) else place
    return bool(os.statvfs(where).f_flag & os.ST_RDONLY)


def is_open_to_others(path: str, folder: os.stat_result) -> bool:
    """Whether others can put files into a folder. A group that only its owner is in is no others (Debian's umask)."""
    if folder.st_mode & stat.S_IWOTH:
        return True
    if not folder.st_mode & stat.S_IWGRP:
        return False
    # With an access list, the bits of the group are the most that anybody in the list may.
    return _has_access_list(path) or not _is_group_of_one(folder.st_gid, folder.st_uid)


def _has_access_list(path: str) -> bool:
    try:
        return bool(os.getxattr(path, ACCESS_LIST))
    except (OSError, AttributeError):
        return False


def _is_group_of_one(group: int, user: int) -> bool:
    import grp
    import pwd

    try:
        entry = pwd.getpwuid(user)
    except KeyError:
        entry = None
    try:
        known = grp.getgrgid(group)
    except KeyError:
        return group == user  # in a container, neither has a name
    if entry is None or known.gr_name != entry.pw_name or set(known.gr_mem) - {entry.pw_name}:
        return False
    return not any(other.pw_gid == group and other.pw_uid != user for other in pwd.getpwall())


def _users_without_number() -> set[int]:
    """The number of users that have none here (a rootless container): what is theirs, nobody in here has made."""
    try:
        with open("/proc/sys/kernel/overflowuid", "rb") as file:
            unknown = int(file.read())
        with open("/proc/self/uid_map", "rb") as file:
            ranges = [(int(first), int(count)) for first, _outside, count in map(bytes.split, file)]
    except (OSError, ValueError):
        return set()
    return set() if any(first <= unknown < first + count for first, count in ranges) else {unknown}
