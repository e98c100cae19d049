"""What the folder of the Docker files should hold in the mode that is recorded, and what else is in it.

One answer for ``generate_docker_secrets.sh``, ``status`` and the doctor. Which files Compose uses depends on the mode:
with ``--cloud`` the app reads its store itself, and only the other services get files.
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from src.ops.deployment.deployment import Deployment, find_environment_files
from src.ops.deployment.dotenv import read_dotenv
from src.utils.secrets.command import manage, program
from src.utils.secrets.errors import SecretsError, StoreError

from .secret_files import FILE_MODE, WRITTEN_ENDINGS, needs_file, read_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from src.utils.secrets.catalog import Catalog, SecretSpec
    from src.utils.secrets.command import Hint
    from src.utils.secrets.snapshot import Snapshot

CLOUD_COMPOSE_FILES = "docker-compose.yml:docker-compose.cloud.yml"
"""``COMPOSE_FILE`` in ``.env`` while the app reads its store itself."""

_FINE_NAMES = ("README.md",)
_PUT_ASIDE = "lost-"


class ExtraKind(StrEnum):
    """Why a file is in the folder that Compose does not use."""

    STORED = "not used; the store has its value"
    UNIQUE = "not used; its value is not in the store"
    UNREADABLE = "not used; it cannot be read"
    NOT_COMPARED = "not used; it was not compared with the store"
    FOREIGN = "it belongs to no secret of this environment"


@dataclass(frozen=True)
class Extra:
    """One thing in the folder that Compose does not use.

    Attributes:
        name: Its name in the folder.
        kind: What is known about it.
        spec: The secret that it was written for; ``None`` when it is foreign.
        is_folder: Whether it is a folder.
    """

    name: str
    kind: ExtraKind
    spec: SecretSpec | None = None
    is_folder: bool = False


@dataclass(frozen=True)
class Advice:
    """What to tell a person about extras of one kind.

    Attributes:
        message: What, and where. One line.
        hints: What to do about it, one for each step.
    """

    message: str
    hints: tuple[Hint, ...]


def is_cloud_mode(deployment: Deployment) -> bool:
    """Whether it is recorded that the app reads its store itself."""
    return read_dotenv(deployment.compose_file).get("COMPOSE_FILE") == CLOUD_COMPOSE_FILES


def has_docker_files(deployment: Deployment) -> bool:
    """Whether any of the Docker files of this deployment is there; its folder may be there for another environment."""
    directory = deployment.docker_directory
    return any(os.path.lexists(os.path.join(directory, spec.docker_file)) for spec in deployment.catalog.secrets)


def find_extras(deployment: Deployment, directory: str, snapshot: Snapshot | None, *, cloud: bool) -> list[Extra]:
    """What is in the folder that Compose does not use, in the order of its names.

    Dot-files and README.md are fine, and so are the folders of other environments and those that the wizard put aside.

    Args:
        deployment: Whose folder.
        directory: The folder.
        snapshot: What the store holds; ``None``: nothing is compared.
        cloud: Whether the app reads its store itself.
    """
    if not os.path.isdir(directory):
        return []
    specs = _specs_of_files(deployment.catalog)
    needed = {name for name, spec in specs.items() if needs_file(spec, name, cloud=cloud)}
    foreign = _foreign_entries(deployment, directory, specs)
    extras = [Extra(name, ExtraKind.FOREIGN, is_folder=_is_folder(directory, name)) for name in foreign]
    for name in specs.keys() - needed:
        path = os.path.join(directory, name)
        if os.path.isfile(path) and not os.path.islink(path):
            extras.append(Extra(name, _compare(path, specs[name], snapshot), specs[name]))
        elif os.path.lexists(path):
            extras.append(Extra(name, ExtraKind.FOREIGN, is_folder=_is_folder(directory, name)))
    return sorted(extras, key=lambda extra: extra.name)


def find_prunable(extras: Iterable[Extra], directory: str) -> list[str]:
    """What ``--prune`` removes: unused files whose value the store has, and files of secrets that no catalogue names.

    The latter only when they are as they are written here: regular files that only their owner can read.
    """
    return [
        extra.name
        for extra in extras
        if extra.kind is ExtraKind.STORED
        or (extra.kind is ExtraKind.FOREIGN and _was_written_here(extra.name, directory))
    ]


def describe_extras(deployment: Deployment, directory: str, extras: Iterable[Extra]) -> list[Advice]:
    """What to tell a person about extras, one piece for each kind, with the commands to type."""
    kinds: dict[ExtraKind, list[Extra]] = {kind: [] for kind in ExtraKind}
    for extra in extras:
        kinds[extra.kind].append(extra)
    described = {
        ExtraKind.STORED: _describe_stored,
        ExtraKind.UNIQUE: _describe_unique,
        ExtraKind.UNREADABLE: _describe_unreadable,
        ExtraKind.NOT_COMPARED: _describe_not_compared,
        ExtraKind.FOREIGN: _describe_foreign,
    }
    return [described[kind](deployment, directory, found) for kind, found in kinds.items() if found]


def written_entries(catalog: Catalog, directory: str) -> list[str]:
    """The names of what these tools have written into the folder, now or for an earlier catalogue."""
    specs = _specs_of_files(catalog)
    return sorted(
        entry.name
        for entry in os.scandir(directory)
        if stat.S_ISREG(os.lstat(entry.path).st_mode)
        and (entry.name in specs or _is_temporary(entry.name, specs) or _was_written_here(entry.name, directory))
    )


def _is_temporary(name: str, specs: Iterable[str]) -> bool:
    """Whether a killed run has left it, named after one of the files."""
    return name.endswith(".tmp") and any(name.startswith(f".{known}.") for known in specs)


def _describe_stored(deployment: Deployment, directory: str, extras: Sequence[Extra]) -> Advice:
    what = "a secret" if len(extras) == 1 else f"{len(extras)} secrets"
    return Advice(
        f"{deployment.shown(directory)} has {what} in plain text that Compose does not use in this mode: "
        f"{_names(extras)}",
        (
            program(
                *("rm", "--", *_paths(directory, extras)),
                purpose="The store has the same. After the stack has been started in this mode, remove",
            ),
        ),
    )


def _describe_unique(deployment: Deployment, directory: str, extras: Sequence[Extra]) -> Advice:
    hints: list[Hint] = [
        program("ls", "-l", *_paths(directory, extras), purpose="This may be the only copy. Check where it comes from")
    ]
    for extra in extras:
        assert extra.spec is not None
        hints.append(manage("history", extra.spec.name, purpose="See when the stored value changed"))
        if extra.name == extra.spec.docker_file:
            path = os.path.join(directory, extra.name)
            hints.append(
                manage("set", extra.spec.name, "--file", path, purpose="If the file is right, store its value")
            )
    return Advice(
        f"{deployment.shown(directory)} has files that Compose does not use in this mode, and the store does not have "
        f"what is in them: {_names(extras)}",
        tuple(hints),
    )


def _describe_unreadable(deployment: Deployment, directory: str, extras: Sequence[Extra]) -> Advice:
    look = program(
        "ls", "-l", *_paths(directory, extras), purpose="To compare them, run this as their owner, or as root"
    )
    return Advice(
        f"{deployment.shown(directory)} has files that Compose does not use in this mode, and you cannot read them: "
        f"{_names(extras)}",
        (look,),
    )


def _describe_not_compared(deployment: Deployment, directory: str, extras: Sequence[Extra]) -> Advice:
    return Advice(
        f"{deployment.shown(directory)} has files that Compose does not use in this mode: {_names(extras)}",
        (
            manage(
                "doctor", "--only", "docker-files-extra", purpose="Compare them with the store before you remove any"
            ),
        ),
    )


def _describe_foreign(deployment: Deployment, directory: str, extras: Sequence[Extra]) -> Advice:
    files = [extra for extra in extras if not extra.is_folder]
    folders = [extra for extra in extras if extra.is_folder]
    look = "-lA" if folders else "-ld"
    hints = [program("ls", look, *_paths(directory, extras), purpose="Check first whether anything needs this")]
    if files:
        hints.append(program("rm", "--", *_paths(directory, files), purpose="If nothing does, remove"))
    if folders:
        hints.append(program("rm", "-r", "--", *_paths(directory, folders), purpose="If nothing does, remove"))
    what = "1 entry that belongs" if len(extras) == 1 else f"{len(extras)} entries that belong"
    return Advice(
        f"{deployment.shown(directory)} has {what} to no secret of this environment: {_names(extras)}", tuple(hints)
    )


def _names(extras: Iterable[Extra]) -> str:
    return ", ".join(printable(extra.name) + ("/" if extra.is_folder else "") for extra in extras)


def printable(name: str) -> str:
    """A file's name without anything that steers a terminal, or that it cannot show."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in name)


def _paths(directory: str, extras: Iterable[Extra]) -> list[str]:
    return [os.path.join(os.path.abspath(directory), extra.name) for extra in extras]


def _specs_of_files(catalog: Catalog) -> dict[str, SecretSpec]:
    """Every file that is written for the catalogue in any mode, and its secret."""
    return {
        name: spec for spec in catalog.secrets for name in (spec.docker_file, spec.previous_file) if name is not None
    }


def _foreign_entries(deployment: Deployment, directory: str, specs: Iterable[str]) -> list[str]:
    known = {*specs, *_FINE_NAMES, *folders_of_others(deployment, directory)}
    is_shared = _is_shared(deployment, directory)
    found = []
    for entry in os.scandir(directory):
        if entry.name in known or entry.name.startswith("."):
            continue
        if entry.name.startswith(_PUT_ASIDE) and entry.is_dir(follow_symlinks=False):
            continue
        if not is_shared or entry.name.endswith(WRITTEN_ENDINGS):
            found.append(entry.name)
    return found


def folders_of_others(deployment: Deployment, directory: str) -> set[str]:
    """The entries of the folder in which other environments of the project have their files."""
    here = os.path.realpath(directory)
    found = set()
    for environment in find_environment_files(deployment.project_directory):
        try:
            other = Deployment.locate(
                project_directory=deployment.project_directory,
                environment=environment,
                catalog=deployment.catalog.path,
                environ=deployment.environ,
            ).docker_directory
        except SecretsError:
            other = os.path.join(deployment.project_directory, "secrets", environment)
        relative = os.path.relpath(os.path.realpath(other), here)
        if not relative.startswith(os.pardir):
            found.add(relative.split(os.sep)[0])
    return found


def _is_shared(deployment: Deployment, directory: str) -> bool:
    """Whether the folder may have other things: it is outside of the project, or files of the project are in it.

    Nobody is advised to remove what is unknown there.
    """
    here = os.path.realpath(directory).rstrip(os.sep) + os.sep
    if not here.startswith(os.path.realpath(deployment.project_directory) + os.sep):
        return True
    own = (
        deployment.project_directory,
        deployment.settings_file,
        deployment.catalog.path,
        os.path.join(deployment.project_directory, deployment.default_secrets_file),
        deployment.default_key_file,
        deployment.state_directory,
        deployment.environ.get("HOME") or os.path.expanduser("~"),
    )
    return any((os.path.realpath(path) + os.sep).startswith(here) for path in own)


def _compare(path: str, spec: SecretSpec, snapshot: Snapshot | None) -> ExtraKind:
    """Whether the store has what a file holds: as the secret's value, or as one of its previous values."""
    if snapshot is None:
        return ExtraKind.NOT_COMPARED
    try:
        content = read_file(path)
    except StoreError:
        return ExtraKind.UNREADABLE
    metadata = snapshot.metadata.get(spec.name)
    previous = [old.value for old in metadata.previous] if metadata else []
    stored = {text.encode() for text in ("", snapshot.values.get(spec.name, ""), *previous)}
    held = _previous_values(content) if os.path.basename(path) == spec.previous_file else [content]
    return ExtraKind.STORED if held is not None and stored.issuperset(held) else ExtraKind.UNIQUE


def _previous_values(content: bytes) -> list[bytes] | None:
    """The values in a file of previous values; ``None`` when it is not one."""
    try:
        return [entry["value"].encode() for entry in json.loads(content)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _is_folder(directory: str, name: str) -> bool:
    return stat.S_ISDIR(os.lstat(os.path.join(directory, name)).st_mode)


def _was_written_here(name: str, directory: str) -> bool:
    status = os.lstat(os.path.join(directory, name))
    is_private = stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) == FILE_MODE
    return name.endswith(WRITTEN_ENDINGS) and is_private
