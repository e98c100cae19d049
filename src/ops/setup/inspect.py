"""The set-up: what is there, what it will become, and doing it. With questions (``wizard.py``) or without."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from src.ops.deployment.deployment import is_environment_file
from src.ops.deployment.dotenv import read_dotenv
from src.utils.secrets.backends.file import NO_FILE, FileBackend, read_encrypted_file
from src.utils.secrets.errors import (
    ConfigurationError,
    MasterKeyError,
    SecretsError,
    StoreEmptyError,
    StoreError,
)
from src.utils.secrets.masterkey import (
    generate_master_key,
    load_master_key,
    looks_like_master_key,
    read_master_key_file,
)
from src.utils.secrets.settings import (
    MASTER_KEY_FAMILY,
    SecretsBackend,
    absent_path,
    credentials_directory_key,
)
from src.utils.secrets.snapshot import Snapshot

from .plan import make_plan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from src.ops.deployment.deployment import Deployment
    from src.utils.secrets.backends.base import RemoteBackend
    from src.utils.secrets.masterkey import MasterKey

    from .apply import Credential, FileTarget, Report
    from .choices import Choices
    from .leftovers import StoreGoneError
    from .plan import Plan


# Which settings say where in a store on a server the secrets are; the last one is what environments differ in.
PLACE_SETTINGS = {
    SecretsBackend.AWS: ("AWS_REGION", "SECRETS_AWS_SECRET_ID"),
    SecretsBackend.VAULT: ("VAULT_ADDR", "VAULT_NAMESPACE", "VAULT_MOUNT_POINT", "VAULT_SECRET_PATH"),
    SecretsBackend.AZURE: ("AZURE_KEYVAULT_URL",),
}


@dataclass(frozen=True)
class KeyChoice:
    """The master key, and where it is kept.

    Attributes:
        key: The key.
        file: Its file, to be named in ``.env.production``; ``None`` when it comes from elsewhere.
        is_new: Whether it was made now.
    """

    key: MasterKey
    file: str | None
    is_new: bool


@dataclass(frozen=True)
class Store:
    """A store as it was found.

    Attributes:
        backend: Its kind.
        snapshot: What it holds; empty when there is none yet.
        exists: Whether it holds anything of ours.
        key: For the encrypted file: its key.
        start_over: Whether new secrets take the place of ones that are lost; what is left of those is put aside.
        place: For a store on a server: where the secrets are written, for people.
        credentials: For a store on a server: what was typed to sign in and is to be kept.
    """

    backend: SecretsBackend
    snapshot: Snapshot
    exists: bool
    key: KeyChoice | None = None
    start_over: bool = False
    place: str = ""
    credentials: Sequence[Credential] = ()


def inspect_store(deployment: Deployment, backend: SecretsBackend, master_key_file: str | None) -> Store:
    """What the chosen store holds now.

    Raises:
        SecretsError: It is there, but cannot be read: with this key, by this user, or at all.
    """
    if backend is SecretsBackend.FILE:
        return _inspect_file(deployment, master_key_file)
    if backend is not SecretsBackend.ENV:
        return _inspect_remote(deployment, backend)
    snapshot = deployment.open_store(backend).load()
    known = {name: value for name in deployment.catalog.names if (value := snapshot.values.get(name)) is not None}
    return Store(backend, Snapshot(known), exists=bool(known))


def start_over(deployment: Deployment) -> Store:
    """An empty encrypted file, in place of one that does not open or is gone.

    The key file in use is left alone: it may yet turn out to open something. A new one is made beside it. A key that
    the environment gives stays the key.
    """
    is_given = any(deployment.environ.get(name) for name in MASTER_KEY_FAMILY)
    if is_given or credentials_directory_key(deployment.environ):
        key = choose_key(deployment, None)
    else:
        key = choose_key(deployment, _unused_path(deployment.default_key_file))
    return Store(SecretsBackend.FILE, Snapshot({}, revision=NO_FILE), exists=False, key=key, start_over=True)


def choose_key(deployment: Deployment, master_key_file: str | None) -> KeyChoice:
    """The master key to use: the one that is configured, else the one in its usual file, else a new one.

    Raises:
        MasterKeyError: There is one, but it cannot be used.
    """
    variables = deployment.variables()
    given = [name for name in MASTER_KEY_FAMILY if deployment.environ.get(name)]
    if master_key_file is not None:
        if given:
            raise MasterKeyError(
                f"--master-key-file and {given[0]} both name a master key", hint=f"Keep one: unset {given[0]}"
            )
        return _key_in_file(master_key_file, deployment)
    if given or credentials_directory_key(variables):
        return KeyChoice(load_master_key(variables), variables.get("SECRETS_MASTER_KEY_FILE"), is_new=False)
    if variables.get("SECRETS_MASTER_KEY"):
        return KeyChoice(load_master_key(variables), None, is_new=False)
    return _key_in_file(variables.get("SECRETS_MASTER_KEY_FILE") or deployment.default_key_file, deployment)


def make_target(deployment: Deployment, store: Store) -> FileTarget:
    """Where the encrypted file goes."""
    from .apply import FileTarget

    assert store.key is not None
    return FileTarget(
        path=deployment.settings(SecretsBackend.FILE).file_path,
        master_key=store.key.key,
        key_file=store.key.file,
        key_is_new=store.key.is_new and store.key.file is not None,
        forget_key_file=store.key.is_new and store.key.file is None,
        revision=store.snapshot.revision,
        start_over=store.start_over,
    )


def find_gone(deployment: Deployment, store: Store, choices: Choices) -> StoreGoneError | None:
    """Why a new set of secrets may not be made in ``store``; ``None`` when it may. See :mod:`.leftovers`."""
    if store.exists or store.start_over:
        return None
    from . import leftovers

    return leftovers.find_gone(deployment, store.backend, {**choices.typed, **choices.imported})


def plan_setup(deployment: Deployment, store: Store, choices: Choices) -> Plan:
    """The plan for these choices, checked against what the store can hold.

    Raises:
        StoreGoneError: New values would take the place of ones that are left elsewhere.
        InvalidSecretError: A value cannot be used.
    """
    gone = find_gone(deployment, store, choices)
    if gone is not None:
        raise gone
    plan = make_plan(deployment.catalog, store.snapshot.values, choices)
    if store.backend is SecretsBackend.ENV:
        from .apply import check_dotenv_values

        check_dotenv_values(plan)
    return plan


def apply_setup(
    deployment: Deployment, store: Store, plan: Plan, progress: Callable[[str], None] | None = None
) -> Report:
    """Write the plan to the store, and put it down in the audit trail. See :mod:`.apply`."""
    names = [planned.spec.name for planned in plan.written]
    from src.ops.deployment.audit import recorded

    from .leftovers import put_aside

    with recorded(deployment, "set up", names, store.place or store.backend.title), ExitStack() as undo:
        kept = put_aside(deployment, undo) if store.start_over else []
        report = _apply(deployment, store, plan, progress)
        undo.pop_all()
    return replace(report, kept=[*report.kept, *kept])


def _apply(deployment: Deployment, store: Store, plan: Plan, progress: Callable[[str], None] | None) -> Report:
    # Slow to import, and only wanted once everything is answered.
    from .apply import RemoteTarget, apply_to_dotenv, apply_to_file, apply_to_remote

    if store.backend is SecretsBackend.FILE:
        return apply_to_file(deployment, plan, make_target(deployment, store))
    if store.backend is SecretsBackend.ENV:
        return apply_to_dotenv(deployment, plan)
    target = RemoteTarget(store.backend, store.place, store.snapshot.revision, store.credentials)
    return apply_to_remote(deployment, plan, target, progress)


def check_key_path(path: str, deployment: Deployment) -> str | None:
    """What is wrong with keeping the master key at ``path``; ``None`` when nothing is."""
    real = os.path.realpath(os.path.expanduser(path))
    inside = os.path.realpath(deployment.project_directory)
    if real == inside or real.startswith(inside + os.sep):
        return "The key may not lie in the project's folder: whoever copies the folder would have both."
    if os.path.isdir(real):
        return "That is a folder; name a file in it."
    if looks_like_master_key(os.path.basename(path)):
        return "That is a key itself; give the path of a file."
    return None


def take_over(deployment: Deployment, backend: SecretsBackend) -> tuple[str, dict[str, str]]:
    """What the store in use holds, when another one is going to take its place.

    Returns:
        The store in use, for people, and the values in it; none when there is no other, or it holds development
        secrets.

    Raises:
        SecretsError: It cannot be read.
    """
    if not os.path.exists(deployment.settings_file):
        return "", {}
    current = deployment.settings().backend
    if current in (backend, SecretsBackend.ENV) or backend is SecretsBackend.ENV:
        return "", {}
    try:
        store = deployment.open_store()
        stored = store.load().values
    except StoreEmptyError:
        return "", {}
    except SecretsError as error:
        raise StoreError(
            f"The store in use until now cannot be read: {error}",
            hint=f"{error.hint}\nTo go on without its secrets, move {deployment.settings_file} away",
        ) from None
    return store.describe(), {name: value for name in deployment.catalog.names if (value := stored.get(name))}


def _refuse_shared_place(deployment: Deployment, backend: SecretsBackend) -> None:
    """Two environments in one place would take each other's secrets for their own."""
    import glob

    mine = deployment.variables()
    for path in glob.glob(os.path.join(glob.escape(deployment.project_directory), ".env.*")):
        if os.path.abspath(path) == deployment.settings_file or not is_environment_file(path):
            continue
        theirs = read_dotenv(path)
        if theirs.get("SECRETS_BACKEND") == backend.value and all(
            theirs.get(name) == mine.get(name) for name in PLACE_SETTINGS[backend] if theirs.get(name)
        ):
            raise ConfigurationError(
                f"{deployment.shown(path)} has its secrets in that place already: "
                + ", ".join(f"{name}={mine[name]}" for name in PLACE_SETTINGS[backend] if mine.get(name)),
                hint=f"Give {deployment.environment} a place of its own: {PLACE_SETTINGS[backend][-1]}\n"
                f"If {deployment.shown(path)} is only a copy, move it away",
            )


def _inspect_remote(deployment: Deployment, backend: SecretsBackend) -> Store:
    _refuse_shared_place(deployment, backend)
    store = cast("RemoteBackend", deployment.open_store(backend))
    try:
        snapshot = store.load()
    except StoreEmptyError:
        snapshot = Snapshot({}, revision=store.empty_revision)
    missing = [name for name in deployment.catalog.names if name not in snapshot.values]
    place = store.check_access(missing)
    exists = len(missing) < len(deployment.catalog.names)
    return Store(backend, snapshot, exists=exists, place=place)


def _inspect_file(deployment: Deployment, master_key_file: str | None) -> Store:
    settings = deployment.settings(SecretsBackend.FILE)
    token = read_encrypted_file(settings.file_path)
    if token is None:
        key = choose_key(deployment, master_key_file)
        return Store(SecretsBackend.FILE, Snapshot({}, revision=NO_FILE), exists=False, key=key)
    key = choose_key(deployment, master_key_file)
    if key.is_new:
        raise MasterKeyError(
            f"SECRETS_MASTER_KEY not set: {settings.file_path} is there, but its key is not: "
            f"{_shown_key_file(deployment, key)}",
            hint="Name the key file: ./scripts/setup_secrets.py --master-key-file PATH\n"
            "If the key is lost, run `make secrets` and choose to start over: it keeps the old file",
        )
    expected_key_id = settings.environ.get("SECRETS_MASTER_KEY_ID") or None
    snapshot = FileBackend(settings.file_path, key.key, expected_key_id=expected_key_id).load()
    return Store(SecretsBackend.FILE, snapshot, exists=True, key=key)


def _shown_key_file(deployment: Deployment, key: KeyChoice) -> str:
    assert key.file is not None
    return key.file if key.file == deployment.default_key_file else absent_path(key.file)


def _key_in_file(path: str, deployment: Deployment) -> KeyChoice:
    path = os.path.abspath(os.path.expanduser(path))
    fault = check_key_path(path, deployment)
    if fault:
        raise MasterKeyError(f"{absent_path(path)}: {fault}", hint="Choose another place: --master-key-file PATH")
    if os.path.lexists(path):
        return KeyChoice(read_master_key_file(path, "The master key file"), path, is_new=False)
    return KeyChoice(generate_master_key(path), path, is_new=True)


def _unused_path(path: str) -> str:
    stem, extension = os.path.splitext(path)
    candidate, number = path, 2
    while os.path.lexists(candidate):
        candidate, number = f"{stem}-{number}{extension}", number + 1
    return candidate
