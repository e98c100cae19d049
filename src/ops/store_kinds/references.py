"""Stores as the command line names them: ``file``, ``file:PATH``, ``aws:REGION/ID``, ``vault:MOUNT/PATH`` and so on."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from src.ops.deployment.deployment import Deployment
from src.ops.deployment.stores import open_writable_store
from src.utils.secrets.errors import ConfigurationError
from src.utils.secrets.settings import SecretsBackend

if TYPE_CHECKING:
    from src.utils.secrets.backends.base import Backend


@dataclass(frozen=True)
class StoreReference:
    """A store that somebody named.

    Attributes:
        text: What was typed.
        backend: Its kind.
        deployment: The deployment, as if this store were the one in its settings.
    """

    text: str
    backend: SecretsBackend
    deployment: Deployment

    def open(self) -> Backend:
        """Open it.

        Raises:
            SecretsError: A setting is missing or wrong.
        """
        return open_writable_store(self.deployment, self.backend)


def parse_reference(text: str, deployment: Deployment, *, key_file: str | None = None) -> StoreReference:
    """Understand ``text``.

    Args:
        text: A store's name, alone or with a place; ``environment:NAME`` is the store of another environment.
        deployment: Gives everything that ``text`` does not say.
        key_file: For an encrypted file: its master key, where it is not the deployment's own.

    Raises:
        ConfigurationError: It cannot be understood.
    """
    name, _, place = text.partition(":")
    if name == "environment" and place:
        other = Deployment.locate(
            project_directory=deployment.project_directory,
            environment=place,
            catalog=deployment.catalog.path,
            environ=deployment.environ,
        )
        other.require_set_up()
        return StoreReference(text, other.settings().backend, other)
    backend = SecretsBackend.from_name(name)
    answers = dict(deployment.answers) | (_answers(backend, place) if place else {})
    if key_file is not None:
        if backend is not SecretsBackend.FILE:
            raise ConfigurationError(f"{backend.title} has no master key", hint="Leave the key file out")
        answers |= {
            "SECRETS_MASTER_KEY": "",
            "SECRETS_MASTER_KEY_COMMAND": "",
            "SECRETS_MASTER_KEY_FILE": os.path.abspath(os.path.expanduser(key_file)),
        }
    if place and backend is SecretsBackend.FILE:
        answers["SECRETS_MASTER_KEY_ID"] = ""
    return StoreReference(text, backend, replace(deployment, answers=answers))


def _answers(backend: SecretsBackend, place: str) -> dict[str, str]:
    if backend is SecretsBackend.FILE:
        return {"SECRETS_FILE_PATH": os.path.abspath(os.path.expanduser(place))}
    if backend is SecretsBackend.AZURE:
        return {"AZURE_KEYVAULT_URL": place}
    first, separator, rest = place.partition("/")
    if not (first and separator and rest) or backend is SecretsBackend.ENV:
        raise ConfigurationError(
            "What was given does not name a store",
            hint="Use file:PATH, aws:REGION/ID, vault:MOUNT/PATH, azure:URL, environment:NAME,\n"
            "or the name alone: file, aws, vault, azure, env",
        )
    if backend is SecretsBackend.AWS:
        return {"AWS_REGION": first, "SECRETS_AWS_SECRET_ID": rest}
    return {"VAULT_MOUNT_POINT": first, "VAULT_SECRET_PATH": rest}
