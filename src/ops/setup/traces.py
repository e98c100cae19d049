"""What shows that a deployment has had secrets: in files, in the settings, in containers and volumes."""

from __future__ import annotations

import glob
import os
import re
from typing import TYPE_CHECKING, Any

from src.ops.deployment.audit import read_trail
from src.ops.deployment.dotenv import read_dotenv
from src.ops.store_kinds import all_kinds, kind_of
from src.utils.secrets.errors import SecretsError
from src.utils.secrets.settings import SecretsBackend

from .options import START_OVER
from .summary import names_set, names_store

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from src.ops.containers.stack import Stack
    from src.ops.deployment.deployment import Deployment
    from src.ops.store_kinds.base import StoreKind
    from src.utils.secrets.catalog import SecretSpec
    from src.utils.secrets.snapshot import Snapshot

_NO_COPY = re.compile(r"\.(sum|lock)$|\.tmp$")


def docker_files(deployment: Deployment, folder: str = "") -> dict[str, str]:
    """Path of each Docker file that holds a value, by the name of its secret.

    Args:
        deployment: Whose.
        folder: Another folder with such files than the one in use.
    """
    directory = folder or deployment.docker_directory
    paths = {spec.name: os.path.join(directory, spec.docker_file) for spec in deployment.catalog.secrets}
    return {name: path for name, path in paths.items() if os.path.isfile(path) and os.path.getsize(path)}


def closed_docker_files(deployment: Deployment) -> list[str]:
    """The Docker files that this user may not read."""
    return [path for path in docker_files(deployment).values() if not os.access(path, os.R_OK)]


def kept_folders(deployment: Deployment) -> list[str]:
    """The folders in which earlier values of the Docker files were put aside; the newest first."""
    return sorted(glob.glob(os.path.join(glob.escape(deployment.docker_directory), "lost-*")), reverse=True)


def kept_dotenv_files(deployment: Deployment) -> list[str]:
    """The dotenv files that were put aside; the newest first."""
    return [path for path in copies_of(deployment.compose_file) if path.startswith(f"{deployment.compose_file}.lost-")]


def copies_of(path: str) -> list[str]:
    """What lies beside a file and is named after it: ``.bak``, ``.lost-TIME`` and so on; the newest first."""
    return _newest_first(copy for copy in glob.glob(glob.escape(path) + "?*") if not _NO_COPY.search(copy))


def backups(deployment: Deployment) -> list[str]:
    """The backups that lie where backups are made, or in the project's folder; the newest first."""
    kept = os.path.join(glob.escape(deployment.backup_directory), f"{deployment.environment}-*.backup")
    here = os.path.join(glob.escape(deployment.project_directory), "*.backup")
    return _newest_first(path for form in (here, kept) for path in glob.glob(form))


def _newest_first(paths: Iterable[str]) -> list[str]:
    """The files among ``paths``; a link that leads nowhere, and a folder, are none."""
    return sorted(filter(os.path.isfile, paths), key=os.path.getmtime, reverse=True)


def stack_of(deployment: Deployment) -> Stack | None:
    """The containers, which are not waited for long; ``None`` where Compose would take another environment's for them.

    Without its own settings, Compose reads those of production.
    """
    from src.ops.containers.stack import SECONDS_FOR_DOCKER, Stack

    names_its_project = bool(read_dotenv(deployment.compose_file).get("COMPOSE_PROJECT_NAME"))
    if not (deployment.is_production or names_its_project):
        return None
    return Stack(deployment, seconds=SECONDS_FOR_DOCKER)


def containers(deployment: Deployment) -> list[str]:
    """The services that have a container, running or not; none when Docker does not say."""
    stack = stack_of(deployment)
    try:
        return sorted(stack.services()) if stack else []
    except SecretsError:
        return []


def volumes(deployment: Deployment) -> list[str]:
    """The volumes of earlier containers; none when Docker does not say."""
    stack = stack_of(deployment)
    try:
        name = stack.configuration().get("name") if stack else None
        return list(stack.resources(name).volumes) if stack and name else []
    except SecretsError:
        return []


def was_set_up(deployment: Deployment, kind: StoreKind[Any]) -> bool:
    """Whether anything shows that a store has held the secrets of this deployment: this one, or one before it.

    Where secrets were moved to it from another store, the summary may still name that one. Development secrets in a
    dotenv file are no sign of others.
    """
    dotenv = kind_of(SecretsBackend.ENV)
    if kind is not dotenv and names_set(deployment) and not names_store(deployment, dotenv):
        return True
    return was_set_up_in(deployment, kind)


def was_set_up_in(deployment: Deployment, kind: StoreKind[Any]) -> bool:
    """Whether anything on this machine shows that a store of this kind has held the secrets of this deployment."""
    if names_store(deployment, kind) or docker_files(deployment) or _names_key(deployment, kind):
        return True
    return _has_stack(deployment)


def store_named(deployment: Deployment) -> StoreKind[Any] | None:
    """The store that the summary of an earlier set-up names, if any."""
    return next((kind for kind in all_kinds() if names_store(deployment, kind)), None)


def has_encrypted_file(deployment: Deployment) -> bool:
    """Whether the encrypted file is there, or something that lies beside it."""
    path = deployment.settings(SecretsBackend.FILE).file_path
    return os.path.lexists(path) or bool(copies_of(path)) or os.path.exists(f"{path}.sum")


def names_that_had_a_value(deployment: Deployment, snapshot: Snapshot, specs: Iterable[SecretSpec]) -> list[str]:
    """Of secrets that a store lacks: those that have had a value in it, in a file, or in a running container.

    Args:
        deployment: Whose.
        snapshot: What the store holds.
        specs: The secrets that it lacks.
    """
    specs = list(specs)
    if not specs:
        return []
    known = {*snapshot.metadata, *docker_files(deployment), *names_set(deployment)}
    found = [spec.name for spec in specs if spec.name in known]
    return found + _mounted_names(deployment, [spec for spec in specs if spec.name not in known])


def optional_that_are_lost(deployment: Deployment, snapshot: Snapshot) -> list[str]:
    """The optional secrets that had a value here, that a store lacks, and that nobody has removed.

    Args:
        deployment: Whose.
        snapshot: What the store holds.
    """
    absent = [spec.name for spec in deployment.catalog.secrets if not (spec.required or snapshot.values.get(spec.name))]
    known = {*docker_files(deployment), *names_set(deployment)}
    found = [name for name in absent if name in known]
    changes = _changes(deployment) if found else []
    return [name for name in found if not _was_removed(name, changes)]


def _changes(deployment: Deployment) -> list[dict[str, Any]]:
    """What the audit trail has about this environment's secrets; the newest first."""
    try:
        entries = read_trail(deployment).entries
    except SecretsError:
        return []
    wanted = {"environment": deployment.environment, "result": "done"}
    return [e for e in reversed(entries) if wanted.items() <= e.items() and e.get("command") != "backup"]


def _was_removed(name: str, changes: Iterable[Mapping[str, Any]]) -> bool:
    """Whether the last command that changed a secret removed it or gave it up."""
    for entry in changes:
        command, is_named = entry.get("command"), name in entry.get("names", ())
        if is_named or command == START_OVER:
            return command == "remove" or not is_named
    return False


def read_mounted(stack: Stack, spec: SecretSpec, running: Collection[str]) -> Iterator[str]:
    """What each of the running containers has of a secret; nothing of those that have none.

    Args:
        stack: The containers.
        spec: The secret.
        running: The services that run.
    """
    values = (stack.read_secret(service, spec.mount_name) for service in spec.consumers if service in running)
    return filter(None, values)


def _names_key(deployment: Deployment, kind: StoreKind[Any]) -> bool:
    """Whether the settings, or what lies beside it, speak of an encrypted file that was written."""
    if not kind.has_master_key:
        return False
    path = deployment.settings(kind.backend).file_path
    return bool(read_dotenv(deployment.settings_file).get("SECRETS_MASTER_KEY_ID")) or any(
        os.path.exists(path + suffix) for suffix in (".bak", ".sum")
    )


def _has_stack(deployment: Deployment) -> bool:
    """Whether there are containers or volumes, which keep the password that their database was made with."""
    stack = stack_of(deployment)
    try:
        return stack is not None and stack.exists()
    except SecretsError:
        return False  # what Docker does not say is no reason to refuse a first set


def _mounted_names(deployment: Deployment, specs: Sequence[SecretSpec]) -> list[str]:
    """Of some secrets: those that a running container has."""
    stack = stack_of(deployment) if specs else None
    if stack is None:
        return []
    try:
        running = stack.running()
    except SecretsError:
        return []
    return [spec.name for spec in specs if _is_mounted(stack, spec, running)]


def _is_mounted(stack: Stack, spec: SecretSpec, running: Collection[str]) -> bool:
    try:
        return any(read_mounted(stack, spec, running))
    except SecretsError:
        return False
