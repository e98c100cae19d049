"""What a store that is gone has left behind. As long as anything is left, no new set of secrets takes its place."""

from __future__ import annotations

import glob
import os
import shlex
from typing import TYPE_CHECKING

from src.ops.deployment.dotenv import read_dotenv
from src.ops.deployment.stores import open_writable_store
from src.utils.secrets.atomicfile import make_private_directory, replace_file
from src.utils.secrets.backends.file import missing_text
from src.utils.secrets.errors import SecretsError, StoreEmptyError, StoreError
from src.utils.secrets.settings import SecretsBackend
from src.utils.secrets.snapshot import utc_now

if TYPE_CHECKING:
    from collections.abc import Collection
    from contextlib import ExitStack

    from src.ops.deployment.deployment import Deployment

SECONDS_FOR_DOCKER = 10
KEPT_FILE_MODE = 0o400


class StoreGoneError(StoreError):
    """Secrets were set up here, and their store has none of them any more."""


def explain_empty(deployment: Deployment, error: StoreEmptyError) -> StoreError:
    """``error``, or the one that says what is left, when it is of the store in use and that once had the secrets."""
    backend = deployment.settings().backend
    is_gone = was_set_up(deployment, backend) and _is_empty(deployment, backend)
    return store_gone(deployment, backend, str(error)) if is_gone else error


def find_gone(deployment: Deployment, backend: SecretsBackend, given: Collection[str]) -> StoreGoneError | None:
    """Why no new set of secrets may be made in an empty store: there was one; ``None`` for a first run.

    Args:
        deployment: What is set up.
        backend: The store that holds nothing.
        given: Names that got a value by hand or from a file. Where these are all that could be lost, nothing is.
    """
    if all(spec.name in given for spec in deployment.catalog.secrets if spec.generated):
        return None
    in_use = deployment.settings().backend if deployment.is_said("SECRETS_BACKEND") else backend
    if in_use is not backend and not _is_empty(deployment, in_use):
        return None
    if not was_set_up(deployment, in_use):
        return None
    return store_gone(deployment, in_use, "")


def was_set_up(deployment: Deployment, backend: SecretsBackend) -> bool:
    """Whether anything shows that a store of this kind has held the secrets of this deployment."""
    from .summary import names_store

    if names_store(deployment, backend) or _docker_files(deployment):
        return True
    if backend is not SecretsBackend.FILE:
        return False
    path = deployment.settings(SecretsBackend.FILE).file_path
    return bool(read_dotenv(deployment.settings_file).get("SECRETS_MASTER_KEY_ID")) or any(
        os.path.exists(path + suffix) for suffix in (".bak", ".sum")
    )


def store_gone(deployment: Deployment, backend: SecretsBackend, reason: str) -> StoreGoneError:
    """The error for a store that has lost its secrets; its hints are what still has them.

    Args:
        deployment: Whose store.
        backend: Its kind.
        reason: What the store itself says; a sentence is made when empty.
    """
    path = deployment.settings(SecretsBackend.FILE).file_path
    if not reason:
        reason = missing_text(path) if backend is SecretsBackend.FILE else f"{backend.title} holds no secrets"
    return StoreGoneError(f"{reason}, but secrets were set up here before", hint="\n".join(_cures(deployment, backend)))


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
    for made in reversed(make_private_directory(folder)):
        undo.callback(os.rmdir, made)
    for path in paths:
        with open(path, "rb") as file:
            content = file.read()
        copy = os.path.join(folder, os.path.basename(path))
        replace_file(copy, content, mode=KEPT_FILE_MODE)
        undo.callback(os.unlink, copy)
    return [folder]


def _cures(deployment: Deployment, backend: SecretsBackend) -> list[str]:
    flag = deployment.command_flag
    path = deployment.settings(SecretsBackend.FILE).file_path
    cures = ["Nothing was changed. If its disk is only not mounted, mount it and run this again"]
    if backend is not SecretsBackend.FILE:
        cures = ["Nothing was changed. Check first that the settings name the right account and place"]
    elif os.path.exists(f"{path}.bak"):
        old, new = (shlex.quote(deployment.shown_from_here(name)) for name in (f"{path}.bak", path))
        cures.append(f"The file before the last change is left: cp -np {old} {new}")
    for backup in _backups(deployment):
        shown = shlex.quote(deployment.shown_from_here(backup))
        cures.append(f"A backup is left: ./scripts/manage_secrets.py restore {shown}{flag}")
    files = _docker_files(deployment)
    if files:
        folder = deployment.shown(deployment.docker_directory)
        cures.append(f"{folder}/ has the values that the containers use. To store them again:")
        cures.append(_import_command(deployment, files))
    containers = _containers(deployment)
    if containers:
        cures.append(f"Containers that still have them: {', '.join(containers)}. Do not remove or restart them yet")
    cures.append(f"To give all of it up and make new secrets: {deployment.wizard_command()}, then: Start over")
    return cures


def _backups(deployment: Deployment) -> list[str]:
    """The backups that lie where backups are made, or in the project's folder."""
    from src.ops.lifecycle.backup import default_backup_path

    folder = os.path.dirname(default_backup_path(deployment))
    kept = os.path.join(glob.escape(folder), f"{deployment.environment}-*.backup")
    here = os.path.join(glob.escape(deployment.project_directory), "*.backup")
    return sorted(path for form in (here, kept) for path in glob.glob(form))


def _import_command(deployment: Deployment, files: list[str]) -> str:
    present = {os.path.basename(path) for path in files}
    words = ["./scripts/setup_secrets.py", "--non-interactive"]
    for spec in deployment.catalog.secrets:
        if spec.docker_file in present:
            path = os.path.join(deployment.docker_directory, spec.docker_file)
            words += ["--set-file", f"{spec.name}={deployment.shown_from_here(path)}"]
    return shlex.join(words) + deployment.command_flag


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


def _is_empty(deployment: Deployment, backend: SecretsBackend) -> bool:
    """Whether a store answers that it has none of the secrets."""
    try:
        open_writable_store(deployment, backend).load()
    except StoreEmptyError:
        return True
    except SecretsError:
        return False  # it does not say, which stops what needs it
    return False
