"""What a store that is gone has left behind. As long as anything is left, no new set of secrets takes its place."""

from __future__ import annotations

import glob
import os
from typing import TYPE_CHECKING, Any

from src.ops.deployment.dotenv import read_dotenv
from src.ops.deployment.undo import make_directories
from src.ops.store_kinds import kind_in_use, open_store
from src.utils.secrets.atomicfile import replace_file
from src.utils.secrets.backends.file import missing_text
from src.utils.secrets.command import manage, program, set_up
from src.utils.secrets.errors import SecretsError, StoreEmptyError, StoreError
from src.utils.secrets.settings import SecretsBackend
from src.utils.secrets.snapshot import utc_now

from .summary import names_store

if TYPE_CHECKING:
    from contextlib import ExitStack

    from src.ops.deployment.deployment import Deployment
    from src.ops.store_kinds.base import StoreKind
    from src.utils.secrets.command import Command, Hint

    from .given import GivenValues
    from .inspect import FoundStore

SECONDS_FOR_DOCKER = 10
KEPT_FILE_MODE = 0o400


class StoreGoneError(StoreError):
    """Secrets were set up here, and their store has none of them any more."""


def explain_empty(deployment: Deployment, error: StoreEmptyError) -> StoreError:
    """``error``, or the one that says what is left, when it is of the store in use and that once had the secrets."""
    kind = kind_in_use(deployment)
    is_gone = was_set_up(deployment, kind) and _is_empty(deployment, kind)
    return store_gone(deployment, kind, str(error)) if is_gone else error


def find_gone(deployment: Deployment, found: FoundStore, given: GivenValues) -> StoreGoneError | None:
    """Why no new set of secrets may be made in ``found``: it is empty, and there was one; ``None`` when it may.

    Args:
        deployment: What is set up.
        found: The chosen store.
        given: What got a value by hand or from a file. Where this is all that could be lost, nothing is.
    """
    if found.exists or found.start_over:
        return None
    known = {*given.typed, *given.imported}
    if all(spec.name in known for spec in deployment.catalog.secrets if spec.generated):
        return None
    in_use = kind_in_use(deployment) if deployment.is_configured("SECRETS_BACKEND") else found.kind
    if in_use is not found.kind and not _is_empty(deployment, in_use):
        return None
    if not was_set_up(deployment, in_use):
        return None
    return store_gone(deployment, in_use, "")


def was_set_up(deployment: Deployment, kind: StoreKind[Any]) -> bool:
    """Whether anything shows that a store of this kind has held the secrets of this deployment."""
    if names_store(deployment, kind) or _docker_files(deployment):
        return True
    if not kind.has_master_key:
        return False
    path = deployment.settings(kind.backend).file_path
    return bool(read_dotenv(deployment.settings_file).get("SECRETS_MASTER_KEY_ID")) or any(
        os.path.exists(path + suffix) for suffix in (".bak", ".sum")
    )


def store_gone(deployment: Deployment, kind: StoreKind[Any], reason: str) -> StoreGoneError:
    """The error for a store that has lost its secrets; its hints are what still has them.

    Args:
        deployment: Whose store.
        kind: Which one.
        reason: What the store itself says; a sentence is made when empty.
    """
    if not reason:
        path = deployment.settings(SecretsBackend.FILE).file_path
        reason = missing_text(path) if kind.has_master_key else f"{kind.title} holds no secrets"
    return StoreGoneError(f"{reason}, but secrets were set up here before", hint=_hints(deployment, kind))


def put_aside(deployment: Deployment, undo: ExitStack) -> list[str]:
    """Copy what the containers use to a folder that nothing overwrites, before a new set takes its place.

    Args:
        deployment: Whose files.
        undo: Gets what removes the copies, should a later step fail.

    Returns:
        The folder, if anything had to be kept.

    Raises:
        StoreError: A copy cannot be made.
    """
    paths = _docker_files(deployment)
    if not paths:
        return []
    folder = os.path.join(deployment.docker_directory, f"lost-{utc_now().replace(':', '')}")
    make_directories(folder, undo)
    for path in paths:
        with open(path, "rb") as file:
            content = file.read()
        copy = os.path.join(folder, os.path.basename(path))
        replace_file(copy, content, mode=KEPT_FILE_MODE)
        undo.callback(os.unlink, copy)
    return [folder]


def _hints(deployment: Deployment, kind: StoreKind[Any]) -> list[Hint]:
    path = deployment.settings(SecretsBackend.FILE).file_path
    hints: list[Hint] = ["Nothing was changed. If its disk is only not mounted, mount it and run this again"]
    if not kind.has_master_key:
        hints = ["Nothing was changed. Check first that the settings name the right account and place"]
    elif os.path.exists(f"{path}.bak"):
        hints.append(program("cp", "-np", f"{path}.bak", path, purpose="The file before the last change is left"))
    hints += [manage("restore", backup, purpose="A backup is left") for backup in _backups(deployment)]
    files = _docker_files(deployment)
    if files:
        folder = deployment.shown(deployment.docker_directory)
        hints.append(f"{folder}/ has the values that the containers use. To store them again:")
        hints.append(_import_command(deployment, files))
    containers = _containers(deployment)
    if containers:
        hints.append(f"Containers that still have them: {', '.join(containers)}. Do not remove or restart them yet")
    hints.append(set_up(purpose="To give all of it up and make new secrets, choose Start over in"))
    return hints


def _backups(deployment: Deployment) -> list[str]:
    """The backups that lie where backups are made, or in the project's folder."""
    kept = os.path.join(glob.escape(deployment.backup_directory), f"{deployment.environment}-*.backup")
    here = os.path.join(glob.escape(deployment.project_directory), "*.backup")
    return sorted(path for form in (here, kept) for path in glob.glob(form))


def _import_command(deployment: Deployment, files: list[str]) -> Command:
    present = {os.path.basename(path) for path in files}
    options = ["--non-interactive"]
    for spec in deployment.catalog.secrets:
        if spec.docker_file in present:
            path = os.path.join(deployment.docker_directory, spec.docker_file)
            options += ["--set-file", f"{spec.name}={path}"]
    return set_up(*options)


def _docker_files(deployment: Deployment) -> list[str]:
    """The Docker files that hold the value of a secret."""
    paths = [os.path.join(deployment.docker_directory, spec.docker_file) for spec in deployment.catalog.secrets]
    return [path for path in paths if os.path.isfile(path) and os.path.getsize(path)]


def _containers(deployment: Deployment) -> list[str]:
    from src.ops.containers.stack import Stack

    try:
        return sorted(Stack(deployment, seconds=SECONDS_FOR_DOCKER).services())
    except SecretsError:
        return []  # without Docker there is nothing more to say


def _is_empty(deployment: Deployment, kind: StoreKind[Any]) -> bool:
    """Whether a store answers that it has none of the secrets."""
    try:
        open_store(deployment, kind).load()
    except StoreEmptyError:
        return True
    except SecretsError:
        return False  # it does not say, which stops what needs it
    return False
