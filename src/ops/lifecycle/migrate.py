"""Moving the secrets from one store to another.

The order of things makes a crash harmless: the target first, read back and compared; then the settings, so that the
source stays in use until everything is in the target; the source is emptied last, and only when that is asked for. To
go on after a crash is to run the same command again: what is in the target already is not written again.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from src.ops.deployment.audit import recorded
from src.ops.deployment.dotenv import read_lines, write_dotenv
from src.ops.deployment.interrupts import deferred_interrupts
from src.ops.deployment.settings_lines import connection_settings, file_settings, settings_heading
from src.ops.deployment.undo import copy_aside, unused_name
from src.ops.setup.master_key import KeyChoice, choose_key, write_key_file
from src.ops.setup.near_keys import find_key_for
from src.ops.store_kinds import all_kinds, load_secrets
from src.ops.values.fingerprint import WRITTEN, Transfer, plan_transfer
from src.ops.values.history import accepted_values, lacks_accepted, merge_history
from src.utils.secrets.atomicfile import make_private_directory, remove_stale_temporaries
from src.utils.secrets.backends.file import FileBackend
from src.utils.secrets.changes import Change, load_if_any, require_stored
from src.utils.secrets.command import manage, program
from src.utils.secrets.errors import ConfigurationError, MasterKeyGoneError
from src.utils.secrets.masterkey import load_master_key
from src.utils.secrets.settings import SecretsBackend

if TYPE_CHECKING:
    from collections.abc import Callable

    from src.ops.deployment.deployment import Deployment
    from src.ops.store_kinds.named_stores import NamedStore
    from src.utils.secrets.backends.base import Backend
    from src.utils.secrets.snapshot import Snapshot


class SamePlaceError(ConfigurationError):
    """Source and target are one store."""


@dataclass(frozen=True)
class Migration:
    """What moving would do.

    Attributes:
        source: Where the secrets are.
        target: Where they go.
        source_store: The source, opened.
        target_store: The target, opened.
        source_snapshot: What the source holds.
        target_snapshot: What the target holds; empty when nothing is there.
        states: What copying means for each name.
        key: For an encrypted file: its key.
    """

    source: NamedStore
    target: NamedStore
    source_store: Backend
    target_store: Backend
    source_snapshot: Snapshot
    target_snapshot: Snapshot
    states: dict[str, Transfer]
    key: KeyChoice | None = None

    @property
    def written(self) -> list[str]:
        """The names whose value has to be written."""
        return [name for name, state in self.states.items() if state in WRITTEN]

    @property
    def left_behind(self) -> list[str]:
        """The names whose earlier values are still accepted, where the target keeps none."""
        if self.target.kind.copies_history:
            return []
        metadata = self.source_snapshot.metadata
        return [name for name in self.source_snapshot.values if accepted_values(metadata.get(name))]

    @property
    def differing(self) -> list[str]:
        """The names that have another value in the target."""
        return [name for name, state in self.states.items() if state is Transfer.DIFFERS]


def plan_migration(source: NamedStore, target: NamedStore) -> Migration:
    """Look at both stores; nothing is written.

    Raises:
        SecretsError: One cannot be read, the source holds nothing, both are the same place, or the target cannot hold
            a value.
    """
    _refuse_outranked(target)
    source_store = source.open_to_change()
    source_snapshot = load_secrets(source.deployment, source_store)
    target, key = _with_key(target)
    target_store = _open_target(target, key)
    if target_store.describe() == source_store.describe():
        raise SamePlaceError(
            f"Both are the same place: {source_store.describe()}", hint="Give --from or --to a place: file:PATH, ..."
        )
    target_snapshot = load_if_any(target_store)
    foreign = sorted(set(source_snapshot.values) - set(source.deployment.catalog.names))
    if foreign and target.kind.is_dotenv:
        raise ConfigurationError(
            f"{', '.join(foreign)}: not in the catalogue, and a dotenv file keeps only what is",
            hint=f"Add them to {source.deployment.shown(source.deployment.catalog.path)}, or choose another store",
        )
    for name, value in source_snapshot.values.items():
        target.kind.check_storable(name, value)
    states = plan_transfer(source_snapshot.values, target_snapshot.values)
    return Migration(source, target, source_store, target_store, source_snapshot, target_snapshot, states, key)


def migrate(deployment: Deployment, migration: Migration, progress: Callable[[str], None] | None = None) -> None:
    """Copy, read back, compare, and make the target the store in use.

    Args:
        deployment: Whose secrets.
        migration: What :func:`plan_migration` found.
        progress: Called with the name of each secret once it is stored.

    Raises:
        SecretsError: It failed. The source is as it was and still the store in use; running this again goes on.
    """
    names = list(migration.source_snapshot.values)
    store = f"{migration.source_store.describe()} -> {migration.target_store.describe()}"
    with deferred_interrupts() as check, recorded(deployment, "migrate", names, store):
        check()
        changes = _find_changes(migration)
        with ExitStack() as undo:
            if migration.key is not None and migration.key.new_file is not None:
                write_key_file(migration.key.new_file, migration.key.key, undo)
            if migration.key is not None:
                make_private_directory(os.path.dirname(_file_path(migration.target)))
                remove_stale_temporaries([_file_path(migration.target), *_key_files(migration)])
            if migration.differing and migration.target.kind.is_dotenv:
                copy_aside(migration.target.deployment.compose_file, undo)
            if changes:
                migration.target_store.save(
                    changes, expected_revision=migration.target_snapshot.revision, progress=progress
                )
            undo.pop_all()
        _compare(migration)
        switch(deployment, migration.target)


def delete_source(deployment: Deployment, migration: Migration) -> None:
    """Take what was copied out of the source.

    Raises:
        SecretsError: Source and target differ by now, or the source cannot be written. Nothing is lost: the target
            has everything.
    """
    names = list(migration.source_snapshot.values)
    _compare(migration)
    with recorded(deployment, "migrate --delete-source", names, migration.source_store.describe()):
        migration.source.kind.empty(migration.source_store, names, migration.source_snapshot.revision)


def switch(deployment: Deployment, target: NamedStore) -> None:
    """Make ``target`` the store in use.

    Raises:
        SecretsError: The settings file cannot be written; it is as it was.
    """
    path = deployment.settings_file
    if target.kind.is_dotenv:
        write_dotenv(
            deployment.compose_file, {"SECRETS_BACKEND": target.kind.name}, more=_own_lines(deployment, target)
        )
        if path != deployment.compose_file and os.path.exists(path):
            # The application reads the first of the two that is there.
            os.rename(path, unused_name(f"{path}.before-migration"))
        return
    lines: dict[str, str | None]
    if target.kind.has_master_key:
        settings = target.deployment.settings(target.kind.backend)
        key = load_master_key(settings.environ)
        key_file = settings.environ.get("SECRETS_MASTER_KEY_FILE") or None
        lines = file_settings(deployment, settings.file_path, key, key_file)
    else:
        lines = connection_settings(target.deployment, target.kind.name, target.kind.kept_settings)
    write_dotenv(path, lines, heading=settings_heading(deployment))


def _own_lines(deployment: Deployment, target: NamedStore) -> str:
    """The lines of the settings file that people added, as they wrote them.

    They go on to count in the other file; what is about a store, or a secret, does not.
    """
    if deployment.settings_file == deployment.compose_file:
        return ""
    ours = {"SECRETS_BACKEND", "SECRETS_MASTER_KEY_ID"}
    for kind in all_kinds():
        ours |= {*kind.kept_settings, *kind.place_settings, *kind.secret_settings}
    ours |= {form for name in deployment.catalog.names for form in (name, f"{name}_FILE")}
    present = read_lines(deployment.compose_file)
    ours |= {name for name, _line in present if name}
    known = {line.strip() for _name, line in present} | {settings_heading(target.deployment).strip()}
    kept = [
        line
        for name, line in read_lines(deployment.settings_file)
        if (name not in ours if name else line.strip() not in known)
    ]
    return "".join(kept)


def _refuse_outranked(target: NamedStore) -> None:
    """What the environment sets outranks the settings file, so it would still name the old store afterwards."""
    environ = target.deployment.environ
    wanted = dict(target.deployment.answers)
    given = environ.get("SECRETS_BACKEND")
    if given and SecretsBackend.from_name(given) is not target.kind.backend:
        wanted["SECRETS_BACKEND"] = target.kind.name
    for name, value in wanted.items():
        if environ.get(name) and environ[name] != value:
            raise ConfigurationError(
                f"{name} is set in this shell and would outrank the new settings",
                hint=[program("unset", name), "Then run the same command again"],
            )


def _with_key(target: NamedStore) -> tuple[NamedStore, KeyChoice | None]:
    """A new encrypted file needs a key: the one that is configured, else a new one in the usual place."""
    if not target.kind.has_master_key:
        return target, None
    key = choose_key(target.deployment, None)
    path = _file_path(target)
    if key.is_new and os.path.isfile(path):
        # There is a file already, from before another migration: it has a key, which may lie near.
        near = find_key_for(target.deployment, path)
        if near is None or not os.path.isfile(near.source):
            raise MasterKeyGoneError(
                f"{target.deployment.shown(path)} is there, and no key that is here opens it",
                hint=manage("migrate", "--to", "file", "--to-key-file", "PATH", "--apply", purpose="Name its key"),
            )
        key = KeyChoice(near, near.source, is_new=False)
    if key.file is None or target.deployment.variables().get("SECRETS_MASTER_KEY_FILE"):
        return target, key
    answers = dict(target.deployment.answers) | {"SECRETS_MASTER_KEY_FILE": key.file}
    return replace(target, deployment=replace(target.deployment, answers=answers)), key


def _open_target(target: NamedStore, key: KeyChoice | None) -> Backend:
    if key is None:
        return target.open_to_change()
    return FileBackend(_file_path(target), key.key)


def _file_path(target: NamedStore) -> str:
    return target.deployment.settings(target.kind.backend).file_path


def _find_changes(migration: Migration) -> dict[str, Change]:
    """What the target gets: values that it lacks, and earlier ones that are still accepted."""
    present, keeps_history = migration.target_snapshot, migration.target.kind.copies_history
    changes = {}
    for name, value in migration.source_snapshot.values.items():
        history = migration.source_snapshot.metadata.get(name)
        if migration.states[name] in WRITTEN or (keeps_history and lacks_accepted(name, value, history, present)):
            changes[name] = Change(value, history=merge_history(name, value, history, present))
    return changes


def _key_files(migration: Migration) -> list[str]:
    return [migration.key.file] if migration.key is not None and migration.key.file else []


def _compare(migration: Migration) -> None:
    """Read both again: what the source holds now has to be in the target."""
    source = migration.source_store.load().values
    target = migration.target_store.load().values
    require_stored(
        source,
        target,
        migration.target_store.describe(),
        hint="The store in use is still the old one. Run the same command again",
    )
