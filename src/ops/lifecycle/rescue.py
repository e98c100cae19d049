"""Restoring secrets from what is left of them: other keys, earlier files, Docker files, containers and backups.

A rescue looks first and changes nothing; then it is a set-up whose values come from one source. What it replaces is
put aside. A value is never refused for its strength: it is the one that something else still accepts.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from src.ops.containers.secret_files import last_written
from src.ops.containers.servers import reachable_servers, sign_in
from src.ops.deployment.dotenv import read_dotenv
from src.ops.lifecycle.backup import is_backup, is_backup_of, read_backup
from src.ops.setup.inspect import FoundStore, inspect_store, start_over
from src.ops.setup.master_key import KeyChoice, check_key_path, choose_key, choose_unused_key
from src.ops.setup.near_keys import near_keys
from src.ops.setup.plan import Origin, Plan, PlannedSecret
from src.ops.setup.state import State, inspect_deployment
from src.ops.setup.summary import encrypted_file_named
from src.ops.setup.traces import (
    backups,
    closed_docker_files,
    copies_of,
    docker_files,
    kept_dotenv_files,
    kept_folders,
    read_mounted,
    stack_of,
)
from src.ops.store_kinds import kind_of
from src.ops.values.grace import previous_valid_until
from src.ops.values.history import lacks_accepted, merge_history
from src.utils.secrets.backends.file import FileBackend
from src.utils.secrets.changes import Change, check_value
from src.utils.secrets.errors import (
    ConfigurationError,
    MasterKeyError,
    SecretsError,
    StoreDeletedError,
    StoreError,
)
from src.utils.secrets.settings import (
    MASTER_KEY_FAMILY,
    SecretsBackend,
    credentials_directory_key,
    read_value_file,
)
from src.utils.secrets.snapshot import SecretMetadata, Snapshot, utc_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from src.ops.containers.servers import Server
    from src.ops.containers.stack import Stack
    from src.ops.deployment.deployment import Deployment
    from src.ops.lifecycle.backup import Lock
    from src.ops.setup.state import Inspection
    from src.utils.secrets.catalog import SecretSpec
    from src.utils.secrets.masterkey import MasterKey
    from src.utils.secrets.snapshot import PreviousValue

FILE, DOCKER_FILES, CONTAINERS = "file", "secrets", "containers"
_UNREADABLE = "\N{REPLACEMENT CHARACTER}"  # what is no text is no secret of the catalogue


@dataclass(frozen=True)
class Source:
    """Something that still has secrets.

    Attributes:
        name: What the command line calls it.
        title: What people read.
        snapshot: What it holds; empty for a backup that is not opened yet.
        as_of: When it held that, seconds since the epoch.
        key: For an encrypted file: the key that opens it.
        is_store: Whether it is the store's own file, which only another key opens.
        is_locked: Whether it is a backup that needs its passphrase or key first.
        is_verified: Whether it was written and read back by these tools, rather than read out of something.
        note: What has to be known about it.
    """

    name: str
    title: str
    snapshot: Snapshot = field(repr=False)
    as_of: float = 0.0
    key: MasterKey | None = None
    is_store: bool = False
    is_locked: bool = False
    is_verified: bool = True
    note: str = ""

    def count(self, names: Sequence[str]) -> int:
        """How many of ``names`` it has."""
        return sum(1 for name in names if self.snapshot.values.get(name))


@dataclass(frozen=True)
class Rescue:
    """What restoring from one source would do.

    Attributes:
        source: Where the values come from.
        found: The store that they go to.
        plan: What is written.
        added: Names that the source lacks and another one has, with that one's title.
    """

    source: Source
    found: FoundStore
    plan: Plan
    added: dict[str, str]


@dataclass(frozen=True)
class Search:
    """What was found.

    Attributes:
        deployment: Whose.
        inspection: The state of the deployment.
        sources: Everything that has secrets of it, the best first.
    """

    deployment: Deployment
    inspection: Inspection
    sources: list[Source]

    @property
    def usable(self) -> list[Source]:
        """Those that are open."""
        return [source for source in self.sources if not source.is_locked]

    @property
    def is_readable(self) -> bool:
        """Whether the store itself can be read. Then only what it lacks is restored."""
        return self.inspection.state.is_readable

    @property
    def is_complete(self) -> bool:
        """Whether the store can be read and lacks nothing that is required."""
        return self.is_readable and not self.inspection.missing

    def wanted(self, deployment: Deployment) -> list[str]:
        """The names that a source should have."""
        return list(self.inspection.missing) or deployment.catalog.required_names


def search(deployment: Deployment, keys: Sequence[MasterKey] = ()) -> Search:
    """Look for everything that has secrets of this deployment.

    Args:
        deployment: Whose.
        keys: Keys that a person gave; they are tried, too.
    """
    found = inspect_deployment(deployment)
    sources = [
        *_from_files(deployment, found, keys),
        *_from_docker_files(deployment),
        *_from_containers(deployment),
        *_from_dotenv_copies(deployment, found),
    ]
    names = list(found.missing) or deployment.catalog.required_names
    usable = [source for source in sources if source.is_store or source.count(deployment.catalog.names)]
    usable.sort(key=lambda source: (source.is_store, source.count(names), source.as_of), reverse=True)
    return Search(
        deployment, found, [*usable, *(_closed(path) for path in backups(deployment) if is_backup_of(path, deployment))]
    )


def open_source(deployment: Deployment, source: Source, lock: Lock) -> Source:
    """A backup, opened; its note says when it is of something else than ``deployment``.

    Raises:
        SecretsError: It does not open.
    """
    backup = read_backup(source.name, lock)
    title = f"{source.title}, made {backup.created_at}"
    mine, theirs = (deployment.catalog.slug, deployment.environment), (backup.application, backup.environment)
    note = ""
    if mine != theirs:
        note = f"It is a backup of {', '.join(theirs)}, not of this deployment ({', '.join(mine)})."
    return replace(source, title=title, snapshot=backup.snapshot, is_locked=False, note=note)


def choose_source(
    deployment: Deployment, sources: Sequence[Source], name: str, keys: Sequence[MasterKey] = ()
) -> Source:
    """The source that a person names: by its name, or a backup or an encrypted file by its path.

    Args:
        deployment: Whose.
        sources: What was found.
        name: What was typed.
        keys: Keys that were given; they are tried on an encrypted file, too.

    Raises:
        ConfigurationError: There is none of that name.
    """
    path = os.path.abspath(os.path.expanduser(name))
    for source in sources:
        if source.name in {name, path}:
            return source
    if os.path.isfile(path):
        return _named(deployment, path, [*near_keys(deployment), *keys])
    known = ", ".join(source.name for source in sources)
    raise ConfigurationError(
        "--from names nothing that has secrets of this deployment",
        hint=f"Found: {known}" if known else "Name a backup: --from PATH",
    )


def _named(deployment: Deployment, path: str, keys: Sequence[MasterKey]) -> Source:
    source = _encrypted(deployment, path, keys)
    if source is not None:
        return source
    if is_backup(path):
        return _closed(path)
    from src.utils.secrets.command import manage

    raise ConfigurationError(
        f"{deployment.shown(path)} is no backup, and no key that is here opens it as an encrypted file",
        hint=manage("rescue", "--from", path, "--key-file", "PATH", purpose="If you have its key"),
    )


def plan_rescue(
    deployment: Deployment,
    inspection: Inspection,
    source: Source,
    others: Sequence[Source] = (),
    *,
    replace_present: bool = False,
) -> Rescue:
    """What restoring from ``source`` means; nothing is written.

    Args:
        deployment: What is restored.
        inspection: Its state.
        source: Where the values come from.
        others: Where the ones come from that it lacks, the best first.
        replace_present: Whether they replace other values that the store has.

    Raises:
        SecretsError: The store cannot take them.
    """
    found = _target(deployment, inspection, source)
    base = found.snapshot.values
    values, added = dict(source.snapshot.values), {}
    histories = dict(source.snapshot.metadata)
    for other in others:
        for name, value in other.snapshot.values.items():
            if value and not values.get(name):
                values[name] = value
                histories[name] = other.snapshot.metadata.get(name, SecretMetadata())
                if not base.get(name):
                    added[name] = other.title
    if not replace_present:
        values |= {name: value for name, value in base.items() if value}
    rows = tuple(
        _row(spec, found.snapshot, values.get(spec.name), histories.get(spec.name), adds=replace_present)
        for spec in deployment.catalog.secrets
    )
    foreign = set(values) - set(deployment.catalog.names)
    extra = {
        name: Change(values[name], history=merge_history(name, values[name], histories.get(name), found.snapshot))
        for name in sorted(foreign)
        if base.get(name) != values[name] and not found.kind.is_dotenv
    }
    for row in rows:
        if row.is_written and row.value is not None:
            found.kind.check_storable(row.spec.name, row.value)
    return Rescue(source, found, Plan(rows, others=extra), added)


def check_logins(deployment: Deployment, snapshot: Snapshot) -> dict[str, bool]:
    """Whether the running servers accept the passwords in ``snapshot``, by name; empty where none runs."""
    stack = stack_of(deployment)
    accepted: dict[str, bool] = {}
    if stack is None:
        return accepted
    try:
        running = stack.running()
        for server in reachable_servers(running):
            value = snapshot.values.get(server.secret)
            if value:
                accepted[server.secret] = _is_accepted(stack, server, value)
    except SecretsError:
        return accepted  # nothing more is known
    return accepted


def _is_accepted(stack: Stack, server: Server, value: str) -> bool:
    try:
        sign_in(stack, server, value)
    except SecretsError:
        return False
    return True


def _row(
    spec: SecretSpec, present: Snapshot, value: str | None, history: SecretMetadata | None, *, adds: bool
) -> PlannedSecret:
    """What happens to a secret; ``adds``: a value that is there gets earlier ones that the store lacks."""
    current = present.values.get(spec.name)
    if value and (value != current or (adds and lacks_accepted(spec.name, value, history, present))):
        merged = merge_history(spec.name, value, history, present, previous_valid_until(spec))
        return PlannedSecret(spec, Origin.RESTORED, value, replaces=current is not None, history=merged)
    if current is not None:
        return PlannedSecret(spec, Origin.KEPT, current)
    return PlannedSecret(spec, Origin.SKIPPED)


def require_target(inspection: Inspection) -> None:
    """Refuse to go on where nothing can be restored to.

    Raises:
        SecretsError: What is there may not be replaced: it does not answer, refuses, or is of a newer version.
    """
    state = inspection.state
    if inspection.kind is None or not (state.is_readable or state.is_rescuable or state is State.FRESH):
        assert inspection.error is not None
        raise inspection.error
    if isinstance(inspection.cause, StoreDeletedError):
        raise inspection.cause  # the store itself can still restore it


def _target(deployment: Deployment, inspection: Inspection, source: Source) -> FoundStore:
    """The store in use, with what it holds, or the place of a new encrypted file.

    Raises:
        SecretsError: What is there may not be replaced: it does not answer, refuses, or is of a newer version.
    """
    kind, state = inspection.kind, inspection.state
    if kind is not None and not state.is_readable and source.is_store and source.key is not None:
        return FoundStore(kind, source.snapshot, exists=True, key=_keep_key(deployment, source.key))
    require_target(inspection)
    assert kind is not None
    if state.is_readable or not kind.has_master_key:
        found = inspect_store(deployment, kind, None)
        return replace(found, start_over=not state.is_readable or (kind.is_dotenv and bool(found.snapshot.values)))
    return replace(start_over(deployment, kind), key=_key_for_new_file(deployment))


def _keep_key(deployment: Deployment, key: MasterKey) -> KeyChoice:
    """Where the key of a file that stays is from now on: where it was found, else in a new file.

    A file that a person names may be on a stick that is pulled out again.
    """
    given = [name for name in MASTER_KEY_FAMILY if deployment.environ.get(name)]
    in_systemd = credentials_directory_key(deployment.environ)
    if in_systemd and not given:
        raise MasterKeyError(
            f"{in_systemd} would outrank the key that opens the file",
            hint="Put that key there (LoadCredential=secrets_master_key:PATH in the service's unit)",
        )
    if given:
        from src.utils.secrets.command import program

        raise MasterKeyError(
            f"{given[0]} is set in this shell and would outrank the key that opens the file",
            hint=program("unset", *given, purpose="Then run the same command again"),
        )
    is_near = any(key.source == near.source and key.ids == near.ids for near in near_keys(deployment))
    if is_near and os.path.isfile(key.source) and check_key_path(key.source, deployment) is None:
        return KeyChoice(key, key.source, is_new=False)
    place = choose_unused_key(deployment).file
    assert place is not None
    return KeyChoice(key, place, is_new=True)


def _key_for_new_file(deployment: Deployment) -> KeyChoice:
    """The key in use, where there is one, else a new one: not at the place of a key that may only be out of reach."""
    try:
        key = choose_key(deployment, None)
    except MasterKeyError:
        return choose_unused_key(deployment)
    return choose_unused_key(deployment) if key.is_new else key


def _from_files(deployment: Deployment, found: Inspection, keys: Sequence[MasterKey]) -> Iterator[Source]:
    """The encrypted file under another key, and what lies beside it under any."""
    path = deployment.settings(SecretsBackend.FILE).file_path
    known = [*near_keys(deployment), *keys]
    is_in_use = found.kind is not None and found.kind.has_master_key
    seen: list[dict[str, str]] = [dict(found.snapshot.values)] if found.snapshot else []
    for copy in _encrypted_files(deployment, path):
        source = _encrypted(deployment, copy, known)
        if source is None or dict(source.snapshot.values) in seen:
            continue
        seen.append(dict(source.snapshot.values))
        is_store = is_in_use and copy == path
        yield replace(source, name=FILE, is_store=True) if is_store else source


def _encrypted_files(deployment: Deployment, path: str) -> list[str]:
    """The encrypted file, where the summary says that it was, and the copies of both."""
    named = encrypted_file_named(deployment, kind_of(SecretsBackend.FILE))
    paths = dict.fromkeys(filter(None, (path, os.path.abspath(named) if named else "")))
    return [found for path in paths for found in (*filter(os.path.isfile, [path]), *copies_of(path))]


def _encrypted(deployment: Deployment, path: str, keys: Sequence[MasterKey]) -> Source | None:
    """An encrypted file as a source; ``None`` when none of ``keys`` opens it."""
    opened = _open(path, keys)
    if opened is None:
        return None
    key, snapshot = opened
    title = f"{deployment.shown(path)}, opened with the key in {deployment.shown(key.source)}"
    return Source(path, title, snapshot, os.path.getmtime(path), key)


def _open(path: str, keys: Sequence[MasterKey]) -> tuple[MasterKey, Snapshot] | None:
    for key in keys:
        try:
            return key, FileBackend(path, key).load()
        except SecretsError:
            continue
    return None


def _from_docker_files(deployment: Deployment) -> Iterator[Source]:
    """The files that the containers use, and those that were put aside."""
    folder = deployment.docker_directory
    yield from _from_folder(deployment, folder, DOCKER_FILES, "the files that the containers use")
    for kept in kept_folders(deployment):
        yield from _from_folder(deployment, kept, kept, "which was put aside")


def _from_folder(deployment: Deployment, folder: str, name: str, what: str) -> Iterator[Source]:
    values: dict[str, str] = {}
    histories: dict[str, SecretMetadata] = {}
    files = docker_files(deployment, folder)
    for spec in deployment.catalog.secrets:
        value = _read_value(files.get(spec.name))
        if value is None:
            continue
        values[spec.name] = value
        histories[spec.name] = SecretMetadata(_changed_at(files[spec.name]), _read_previous(folder, spec))
    if values:
        as_of = max(os.path.getmtime(path) for path in files.values())
        if name == DOCKER_FILES:
            as_of = max(as_of, last_written(folder))
        yield Source(name, f"{deployment.shown(folder)}/, {what}", Snapshot(values, histories), as_of)


def _read_value(path: str | None) -> str | None:
    """The value in a Docker file, as the application reads it; ``None`` for one that cannot be used."""
    if path is None:
        return None
    try:
        value = read_value_file(path, os.path.basename(path))
        check_value(os.path.basename(path), value)
    except SecretsError:
        return None
    return value


def _changed_at(path: str) -> str:
    """When the value of a Docker file last changed."""
    return utc_at(os.path.getmtime(path))


def _read_previous(folder: str, spec: SecretSpec) -> tuple[PreviousValue, ...]:
    if spec.previous_file is None:
        return ()
    path = os.path.join(folder, spec.previous_file)
    try:
        document = {"updated_at": None, "previous": json.loads(read_value_file(path, spec.previous_file))}
        return SecretMetadata.from_document(document).previous
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, SecretsError):
        return ()  # the value itself is what matters


def _from_containers(deployment: Deployment) -> Iterator[Source]:
    """What the running containers have, also when its files are gone from this machine."""
    values = {}
    stack = stack_of(deployment)
    if stack is None:
        return
    try:
        running = stack.running()
        for spec in deployment.catalog.secrets:
            readable = (value for value in read_mounted(stack, spec, running) if _UNREADABLE not in value)
            value = next(readable, None)
            if value is not None:
                values[spec.name] = value.removesuffix("\n")  # as the application reads it
        started = stack.started_at(running)
    except SecretsError:
        return
    if values:
        as_of = min((moment.timestamp() for moment in started.values()), default=0.0)
        unknown = {name: SecretMetadata() for name in values}
        title = f"the running containers ({', '.join(sorted(running))})"
        yield Source(CONTAINERS, title, Snapshot(values, unknown), as_of, is_verified=False)


def _from_dotenv_copies(deployment: Deployment, found: Inspection) -> Iterator[Source]:
    """The dotenv files that were put aside, where secrets are kept in one."""
    if found.kind is None or not found.kind.is_dotenv:
        return
    for path in kept_dotenv_files(deployment):
        try:
            lines = read_dotenv(path)
        except SecretsError:
            continue
        values = {name: value for name in deployment.catalog.names if (value := _line_value(lines, name))}
        yield Source(path, f"{deployment.shown(path)}, which was put aside", Snapshot(values), os.path.getmtime(path))


def _line_value(lines: Mapping[str, str | None], name: str) -> str | None:
    """The value that a dotenv file gives a name, or the file that it names for it."""
    return lines.get(name) or _read_value(lines.get(f"{name}_FILE"))


def _closed(path: str) -> Source:
    as_of = os.path.getmtime(path)
    return Source(path, f"the backup {path}", Snapshot({}), as_of, is_locked=True, note="needs its passphrase or key")


def require_sources(found: Search) -> None:
    """Refuse to go on with nothing to restore.

    Raises:
        SecretsError: Nothing has secrets of this deployment. Where the store may have them, it says what stands in the
            way there.
    """
    if found.sources:
        return
    state = found.inspection.state
    if found.inspection.error is not None and not (state.is_readable or state.is_rescuable):
        raise found.inspection.error
    from src.utils.secrets.command import make, manage, set_up

    closed = closed_docker_files(found.deployment)
    if closed:
        raise StoreError(
            f"Nothing else was found that still has the secrets, and {len(closed)} Docker files may not be read by "
            f"this user: {closed[0]}, ...",
            hint=manage("rescue", purpose="Run it as root, with sudo"),
        )
    raise StoreError(
        "Nothing was found that still has the secrets",
        hint=[
            manage("rescue", "--from", "PATH", purpose="If you have a backup elsewhere, name it"),
            manage("key", "paste", purpose="If you have a copy of the master key"),
            set_up("--start-over", purpose="To give them up and make new secrets"),
            make("database-password", purpose="A database that keeps its volume then gets the new password with"),
        ],
    )
