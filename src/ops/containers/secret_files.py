"""The Docker secrets: one file for each secret of the catalogue, owned by the user that the app's container runs as.

Compose mounts each file as it is: owner and mode count, and the ``uid``, ``gid`` and ``mode`` of its long syntax do
not. Every file that Compose lists must be there, so an optional secret that is not set has an empty file.
"""

from __future__ import annotations

import glob
import json
import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from src.ops.deployment.undo import make_directories
from src.utils.secrets.atomicfile import (
    StagedFile,
    move_aside,
    remove_stale_temporaries,
    stage_file,
    sync_directory,
    write_error,
)
from src.utils.secrets.command import program, set_up, write_docker_files
from src.utils.secrets.errors import SecretNotFoundError, StoreError
from src.utils.secrets.settings import read_descriptor
from src.utils.secrets.snapshot import moment_of, utc_now

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from contextlib import ExitStack

    from src.utils.secrets.catalog import Catalog, SecretSpec
    from src.utils.secrets.snapshot import Snapshot

FILE_MODE = 0o400
DEFAULT_APP_ID = 10001
UNASKED = ("absent", "silent")
LARGEST_COMPARED_FILE = 2 * 1024 * 1024
WRITTEN_ENDINGS = (".txt", "_previous.json")
"""How the names of all files end that are written here."""


class FileState(StrEnum):
    """How a file compares with what it has to hold."""

    UP_TO_DATE = "up to date"
    STALE = "stale"
    MISSING = "missing"
    UNREADABLE = "unreadable"
    NOT_A_FILE = "not a file"
    NOT_NEEDED = "-"


@dataclass(frozen=True)
class ContainerOwner:
    """Who runs the app's container, and who owns its files outside of it.

    Attributes:
        app_uid: User id inside, ``APP_UID`` for Compose.
        app_gid: Group id inside, ``APP_GID`` for Compose.
        file_uid: User id of the files on this machine.
        file_gid: Group id of the files on this machine.
    """

    app_uid: int
    app_gid: int
    file_uid: int
    file_gid: int


@dataclass(frozen=True)
class SecretFile:
    """What one file has to be.

    Attributes:
        name: Its name in the folder.
        content: Its bytes.
        changed_at: When its value last changed, ISO 8601; ``None`` where nobody knows. In a container, the file's time
            is all that says how old a value is.
    """

    name: str
    content: bytes = field(repr=False)
    changed_at: str | None = None


@dataclass(frozen=True)
class SecretsFolder:
    """A folder of Docker secrets, and who owns the files in it.

    Attributes:
        directory: The folder.
        uid: Who owns the files.
        gid: Their group.
    """

    directory: str
    uid: int
    gid: int


def render_files(catalog: Catalog, snapshot: Snapshot, *, only_services: bool = False) -> list[SecretFile]:
    """The files for what the store holds, in the catalogue's order.

    Args:
        catalog: The secrets.
        snapshot: What the store holds.
        only_services: Leave out what only the app uses, because it reads the store itself.

    Raises:
        SecretNotFoundError: The store lacks a required secret.
    """
    values = {spec.name: snapshot.values.get(spec.name) for spec in catalog.secrets}
    missing = [name for name in catalog.required_names if values[name] is None]
    if missing:
        raise SecretNotFoundError(
            f"Required secrets are not in the store: {', '.join(missing)}",
            hint=set_up(purpose="Keep what is there and add what is missing"),
            names=missing,
        )
    files = []
    for spec in catalog.secrets:
        if needs_file(spec, spec.docker_file, cloud=only_services):
            metadata = snapshot.metadata.get(spec.name)
            content = (values[spec.name] or "").encode()
            files.append(SecretFile(spec.docker_file, content, metadata.updated_at if metadata else None))
        if spec.previous_file is not None and needs_file(spec, spec.previous_file, cloud=only_services):
            files.append(SecretFile(spec.previous_file, _render_previous(spec, snapshot)))
    return files


def needs_file(spec: SecretSpec, name: str, *, cloud: bool) -> bool:
    """Whether Compose uses one of the files of a secret.

    Args:
        spec: The secret.
        name: The file: the one of the value, or the one of the previous values.
        cloud: Whether the app reads its store itself. Only the app accepts previous values.
    """
    return not cloud or (name == spec.docker_file and not set(spec.consumers) <= {"app"})


def find_differences(files: list[SecretFile], folder: SecretsFolder) -> list[str]:
    """What is not as it has to be in the folder, one line for each, naming files and never values."""
    if not os.path.isdir(folder.directory):
        return [f"{folder.directory}: the folder is missing"]
    return [f"{file.name}: {fault}" for file in files if (fault := _fault(file, folder))]


def find_obstacles(names: Iterable[str], directory: str) -> list[str]:
    """The paths of what is in the place of a file, and is none: a folder, a link, a device."""
    paths = [os.path.join(os.path.abspath(directory), name) for name in names]
    return [path for path in paths if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode)]


def content_state(file: SecretFile, directory: str) -> FileState:
    """How a file compares with what it has to hold."""
    path = os.path.join(directory, file.name)
    if not os.path.lexists(path):
        return FileState.MISSING
    if not stat.S_ISREG(os.lstat(path).st_mode):
        return FileState.NOT_A_FILE
    try:
        return FileState.UP_TO_DATE if read_file(path) == file.content else FileState.STALE
    except StoreError:
        return FileState.UNREADABLE


def write_files(files: list[SecretFile], folder: SecretsFolder, undo: ExitStack) -> list[StagedFile]:
    """Write what differs.

    Every new file is complete on the disk before the first one takes its place.

    Args:
        files: What has to be there.
        folder: Where.
        undo: Gets what restores the folder, should this or a later step fail.

    Returns:
        The files written, each to be finished when every other step has worked, too.

    Raises:
        StoreError: Something else is in the place of a file, or one could not be written.
    """
    _require_room(files, folder.directory)
    make_directories(folder.directory, undo)
    remove_stale_temporaries(os.path.join(folder.directory, file.name) for file in files)
    changed = [file for file in files if _fault(file, folder)]
    staged = []
    for file in changed:
        path = os.path.join(folder.directory, file.name)
        staged.append(stage_file(path, file.content, mode=FILE_MODE, owner=(folder.uid, folder.gid)))
        undo.callback(staged[-1].rollback)
    for new in staged:
        new.commit()
    sync_directory(folder.directory)
    for file in files:
        _date_file(os.path.join(folder.directory, file.name), file.changed_at, is_new=file in changed)
    with suppress(OSError):  # of use to a later rescue only
        os.utime(folder.directory)
    return staged


def last_written(directory: str) -> float:
    """When the files in a folder were last those of the store, in seconds since the epoch.

    The time of a file is that of its value, which may be much earlier.
    """
    return os.path.getmtime(directory)


def remove_files(names: Iterable[str], directory: str) -> Iterator[str]:
    """Remove files; yields the name of each one that is gone.

    Raises:
        StoreError: One could not be removed.
    """
    for name in names:
        path = os.path.join(directory, name)
        try:
            os.unlink(path)
        except OSError as error:
            raise write_error(path, error) from None
        yield name


def _date_file(path: str, changed_at: str | None, *, is_new: bool) -> None:
    """Give a file the time of its value. It is of use to people only, so that a failure stops nothing."""
    moment = moment_of(changed_at)
    if moment is None:
        return
    try:
        if is_new or int(os.stat(path, follow_symlinks=False).st_mtime) != int(moment):
            os.utime(path, (moment, moment), follow_symlinks=False)
    except (OverflowError, OSError):
        return


def _require_room(files: list[SecretFile], directory: str) -> None:
    obstacles = find_obstacles((file.name for file in files), directory)
    if obstacles:
        names = ", ".join(map(os.path.basename, obstacles))
        kind = "is not a regular file" if len(obstacles) == 1 else "are not regular files"
        raise StoreError(
            f"In {os.path.abspath(directory)}, {names} {kind}; nothing was written",
            hint=[*(move_aside(path) for path in obstacles), write_docker_files(purpose="Then write the files again")],
        )


def _render_previous(spec: SecretSpec, snapshot: Snapshot) -> bytes:
    metadata = snapshot.metadata.get(spec.name)
    now = utc_now()
    entries = [
        {"value": old.value, "replaced_at": old.replaced_at, "valid_until": old.valid_until}
        for old in (metadata.previous if metadata else ())
        if old.is_valid(now)
    ]
    return json.dumps(entries, ensure_ascii=False).encode()


def _fault(file: SecretFile, folder: SecretsFolder) -> str | None:
    path = os.path.join(folder.directory, file.name)
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return "missing"
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file"
    if stat.S_IMODE(status.st_mode) != FILE_MODE:
        return f"mode {stat.S_IMODE(status.st_mode):04o} instead of {FILE_MODE:04o}"
    if (status.st_uid, status.st_gid) != (folder.uid, folder.gid):
        return f"owner {status.st_uid}:{status.st_gid} instead of {folder.uid}:{folder.gid}"
    try:
        content = read_file(path)
    except StoreError:
        return "cannot be read"
    return None if content == file.content else "not the value in the store"


def read_file(path: str) -> bytes:
    """What a file holds; a link in its place is not followed.

    Raises:
        StoreError: It cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return read_descriptor(descriptor, LARGEST_COMPARED_FILE)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be read: {error.strerror}",
            hint=program("ls", "-l", path, purpose="Run this as its owner, or as root"),
        ) from None


def container_owner(environ: Mapping[str, str], engine: str, folder: str = "") -> ContainerOwner:
    """Who runs the app's container, and who owns its files outside of it.

    For an engine that could not be asked, what was found out before counts: ``APP_UID`` and ``APP_GID``, and the owner
    of the files that are there. Where nothing was, it is taken for one that runs as root, as most do.

    Args:
        environ: ``APP_UID`` and ``APP_GID`` choose the user when root runs this.
        engine: ``rootful``, ``rootless``, or ``userns:UID:GID`` with the first ids of the subordinate range; ``absent``
            or ``silent`` when it could not be asked.
        folder: The folder with the Docker files.

    Raises:
        StoreError: An id is not a number, or this user cannot give files away as the engine needs it.
    """
    if engine in UNASKED:
        known = _known_owner(environ, folder)
        if known is not None:
            return known
        engine = "rootful"
    if engine == "rootless":
        return ContainerOwner(0, 0, os.geteuid(), os.getegid())
    if os.geteuid() == 0:
        uid, gid = _id(environ, "APP_UID", DEFAULT_APP_ID), _id(environ, "APP_GID", DEFAULT_APP_ID)
    else:
        uid, gid = os.geteuid(), os.getegid()
    if not engine.startswith("userns:"):
        return ContainerOwner(uid, gid, uid, gid)
    if os.geteuid() != 0:
        raise StoreError(
            "This Docker engine maps container users to others (userns-remap); only root can write files for them",
            hint=write_docker_files(purpose="Run this as root, with sudo"),
        )
    first_uid, first_gid = (int(number) for number in engine.split(":")[1:])
    return ContainerOwner(uid, gid, first_uid + uid, first_gid + gid)


def _known_owner(environ: Mapping[str, str], folder: str) -> ContainerOwner | None:
    """What an earlier run has found out about the engine."""
    recorded = [environ.get(name) or "" for name in ("APP_UID", "APP_GID")]
    files = [path for path in glob.glob(os.path.join(glob.escape(folder), "*.txt")) if os.path.isfile(path)]
    if not files or not all(text.isdecimal() for text in recorded):
        return None
    status = os.lstat(files[0])
    return ContainerOwner(int(recorded[0]), int(recorded[1]), status.st_uid, status.st_gid)


def _id(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not text.isdecimal() or not 0 < int(text) < 2**31:
        raise StoreError(f"{name} is not a user or group id", hint=f"Use a number, for example {name}=10001")
    return int(text)
