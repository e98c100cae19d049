"""What the chosen store holds, and what the one in use does."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from src.ops.deployment.deployment import find_environment_files
from src.ops.deployment.dotenv import read_dotenv
from src.ops.store_kinds import kind_in_use, kind_of, open_store
from src.utils.secrets.backends.file import NO_FILE, FileBackend, read_encrypted_file
from src.utils.secrets.changes import load_if_any
from src.utils.secrets.command import manage, set_up
from src.utils.secrets.errors import (
    ConfigurationError,
    MasterKeyError,
    MasterKeyGoneError,
    SecretsError,
    StoreEmptyError,
    StoreError,
)
from src.utils.secrets.settings import SecretsBackend, absent_path
from src.utils.secrets.snapshot import Snapshot

from .given import StoreInUse
from .master_key import choose_key, choose_unused_key
from .state import inspect_deployment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from src.ops.deployment.deployment import Deployment
    from src.ops.store_kinds.base import StoreKind

    from .apply import Credential
    from .master_key import KeyChoice


@dataclass(frozen=True)
class FoundStore:
    """A store as it was found.

    Attributes:
        kind: Its kind.
        snapshot: What it holds; empty when there is none yet.
        exists: Whether it holds anything of ours.
        key: For the encrypted file: its key.
        start_over: Whether new secrets take the place of ones that are lost; what is left of those is put aside.
        place: For a store that the set-up connects to: where the secrets are written, human-readable.
        credentials: What was typed to sign in there, and is to be kept.
        given_up: For a set-up that starts over on a server: what the store has until then.
    """

    kind: StoreKind[Any]
    snapshot: Snapshot
    exists: bool
    key: KeyChoice | None = None
    start_over: bool = False
    place: str = ""
    credentials: Sequence[Credential] = ()
    given_up: Snapshot | None = None


def inspect_store(deployment: Deployment, kind: StoreKind[Any], master_key_file: str | None) -> FoundStore:
    """What the chosen store holds now.

    Args:
        deployment: Whose store.
        kind: Which one.
        master_key_file: The file with the master key, when the command line names it.

    Raises:
        SecretsError: It is there, but cannot be read: with this key, by this user, or at all.
    """
    if kind.has_master_key:
        return _inspect_file(deployment, kind, master_key_file)
    if kind.is_dotenv:
        return _inspect_dotenv(deployment, kind)
    return _connect(deployment, kind)


def store_in_use(deployment: Deployment) -> FoundStore:
    """The store in use, as far as the settings tell; it is not read.

    Raises:
        SecretsError: A setting is missing or wrong.
    """
    kind = kind_in_use(deployment)
    key = choose_key(deployment, None) if kind.has_master_key else None
    place = "" if kind.place_note else open_store(deployment, kind).describe()
    return FoundStore(kind, Snapshot({}), exists=True, key=key, place=place)


def start_over(
    deployment: Deployment,
    kind: StoreKind[Any],
    *,
    found: FoundStore | None = None,
    master_key_file: str | None = None,
) -> FoundStore:
    """A store that gets a new set of secrets in place of what it has or had, which is put aside.

    Args:
        deployment: Whose store.
        kind: Which one.
        found: For a store on a server: how it was found, when that was looked at already.
        master_key_file: The file of the master key, when the command line names it.

    Raises:
        SecretsError: It is on a server, and cannot be reached.
    """
    if kind.has_master_key:
        key = choose_key(deployment, master_key_file) if master_key_file else choose_unused_key(deployment)
        return FoundStore(kind, Snapshot({}, revision=NO_FILE), exists=False, key=key, start_over=True)
    if kind.is_dotenv:
        refuse_outranked(deployment)
        return FoundStore(kind, Snapshot({}), exists=False, start_over=True)
    found = found or inspect_store(deployment, kind, None)
    empty = Snapshot({}, revision=found.snapshot.revision)
    return replace(found, snapshot=empty, exists=False, start_over=True, given_up=found.snapshot)


def read_store_in_use(deployment: Deployment, kind: StoreKind[Any]) -> StoreInUse | None:
    """What the store in use holds, when another one is going to take its place.

    Args:
        deployment: Whose store.
        kind: The one that takes its place.

    Returns:
        What it has for the names of the catalogue; ``None`` when there is no other, it has nothing for them, or it
        holds development secrets.

    Raises:
        SecretsError: It cannot be read.
    """
    files = (deployment.settings_file, deployment.compose_file)
    if not deployment.is_configured("SECRETS_BACKEND") or not any(map(os.path.exists, files)):
        return None
    current = kind_in_use(deployment)
    if current is kind or is_for_development(deployment, current) or kind.is_dotenv:
        return None
    try:
        store = open_store(deployment)
        snapshot = store.load()
    except StoreEmptyError:
        return None
    except SecretsError as error:
        raise StoreError(
            f"The store in use until now cannot be read: {error}",
            hint=[*error.hints, f"To continue without its secrets, move {deployment.settings_file} away"],
        ) from None
    values = {name: value for name in deployment.catalog.names if (value := snapshot.values.get(name))}
    if not values:
        return None
    known = {name: entry for name in values if (entry := snapshot.metadata.get(name)) is not None}
    return StoreInUse(store.describe(), Snapshot(values, known))


def is_for_development(deployment: Deployment, kind: StoreKind[Any]) -> bool:
    """Whether a store holds development secrets, which are not those of a deployment: ``.env`` beside production's.

    Nobody has moved the secrets of production there, and other environments have their dotenv file for themselves.
    """
    moved = glob.glob(f"{glob.escape(deployment.usual_settings_file)}.before-migration*")
    return kind.is_dotenv and deployment.is_production and not moved


def _refuse_shared_place(deployment: Deployment, kind: StoreKind[Any]) -> None:
    """Two environments in one place would take each other's secrets for their own."""
    mine = deployment.variables()
    for path in find_environment_files(deployment.project_directory).values():
        if os.path.abspath(path) == deployment.settings_file:
            continue
        theirs = read_dotenv(path)
        if theirs.get("SECRETS_BACKEND") == kind.name and all(
            theirs.get(name) == mine.get(name) for name in kind.place_settings if theirs.get(name)
        ):
            raise ConfigurationError(
                f"{deployment.shown(path)} has its secrets in that place already: "
                + ", ".join(f"{name}={mine[name]}" for name in kind.place_settings if mine.get(name)),
                hint=[
                    f"Give {deployment.environment} a place of its own: {kind.place_settings[-1]}",
                    f"If {deployment.shown(path)} is only a copy, move it away",
                ],
            )


def _connect(deployment: Deployment, kind: StoreKind[Any]) -> FoundStore:
    _refuse_shared_place(deployment, kind)
    store = kind.open(deployment)
    snapshot = load_if_any(store)
    missing = [name for name in deployment.catalog.names if name not in snapshot.values]
    place = kind.check_access(store, missing)
    exists = len(missing) < len(deployment.catalog.names)
    return FoundStore(kind, snapshot, exists=exists, place=place)


def refuse_outranked(deployment: Deployment) -> None:
    """Refuse a dotenv file of secrets beside a settings file that names another store: that one comes first.

    Raises:
        ConfigurationError: There is such a file.
        SecretsError: The store that it names cannot be read, which comes first.
    """
    path = deployment.settings_file
    if path == deployment.compose_file or not os.path.exists(path):
        return
    named = read_dotenv(path).get("SECRETS_BACKEND")
    if named and not kind_of(SecretsBackend.from_name(named)).is_dotenv:
        in_use = inspect_deployment(deployment)
        if in_use.error is not None:
            raise in_use.error
        raise ConfigurationError(
            f"{deployment.shown(path)} names another store and comes first: the application would not read "
            f"{deployment.shown(deployment.compose_file)}",
            hint=[
                manage("migrate", "--to", "env", "--apply", purpose="Move the secrets there"),
                set_up("--backend", "env", environment="development", purpose="Or keep development apart"),
            ],
        )


def _inspect_dotenv(deployment: Deployment, kind: StoreKind[Any]) -> FoundStore:
    refuse_outranked(deployment)
    try:
        snapshot = kind.open(deployment).load()
    except StoreEmptyError:
        return FoundStore(kind, Snapshot({}), exists=False)
    return FoundStore(kind, Snapshot(dict(snapshot.values)), exists=True)


def _inspect_file(deployment: Deployment, kind: StoreKind[Any], master_key_file: str | None) -> FoundStore:
    settings = deployment.settings(kind.backend)
    token = read_encrypted_file(settings.file_path)
    try:
        key = choose_key(deployment, master_key_file)
    except MasterKeyError as error:
        found = inspect_deployment(deployment, kind) if token is not None and master_key_file is None else None
        raise found.error if found is not None and found.error is not None else error from None
    if token is None:
        return FoundStore(kind, Snapshot({}, revision=NO_FILE), exists=False, key=key)
    if key.is_new:
        found = inspect_deployment(deployment, kind)
        raise found.error or MasterKeyGoneError(
            f"SECRETS_MASTER_KEY not set: {settings.file_path} is there, but its key is not: "
            f"{_shown_key_file(deployment, key)}",
            hint=manage("rescue", purpose="See which key opens it"),
        )
    expected_key_id = settings.environ.get("SECRETS_MASTER_KEY_ID") or None
    snapshot = FileBackend(settings.file_path, key.key, expected_key_id=expected_key_id).load()
    return FoundStore(kind, snapshot, exists=True, key=key)


def _shown_key_file(deployment: Deployment, key: KeyChoice) -> str:
    assert key.file is not None
    return key.file if key.file == deployment.default_key_file else absent_path(key.file)
