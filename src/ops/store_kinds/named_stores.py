"""Stores as the command line names them: ``file``, ``file:PATH``, ``aws:REGION/ID``, ``vault:MOUNT/PATH`` and so on."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from src.ops.deployment.deployment import Deployment
from src.utils.secrets.errors import ConfigurationError
from src.utils.secrets.settings import SecretsBackend

from . import all_kinds, kind_in_use, kind_of, open_store, open_store_to_change

if TYPE_CHECKING:
    from src.utils.secrets.backends.base import Backend

    from .base import StoreKind

OTHER_ENVIRONMENT = "environment"


@dataclass(frozen=True)
class NamedStore:
    """A store that somebody named.

    Attributes:
        text: What was typed.
        kind: Its kind.
        deployment: The deployment, as if this store were the one in its settings.
    """

    text: str
    kind: StoreKind[Any]
    deployment: Deployment

    def open(self) -> Backend:
        """Open it.

        Raises:
            SecretsError: A setting is missing or wrong.
        """
        return open_store(self.deployment, self.kind)

    def open_to_change(self) -> Backend:
        """Open it for a command that changes it. See :func:`src.ops.store_kinds.open_store_to_change`.

        Raises:
            SecretsError: A setting is missing or wrong.
        """
        return open_store_to_change(self.deployment, self.kind)


def reference_forms() -> str:
    """How a store is named on the command line, for the help and for hints."""
    return ", ".join(form for kind in all_kinds() for form in kind.reference_forms)


def names_environment(text: str) -> bool:
    """Whether a reference is to the store of another environment."""
    name, _, place = text.partition(":")
    return name == OTHER_ENVIRONMENT and bool(place)


def parse_store_name(text: str, deployment: Deployment, *, key_file: str | None = None) -> NamedStore:
    """Understand ``text``.

    Args:
        text: A store's name, alone or with a place; ``environment:NAME`` is the store of another environment.
        deployment: Gives everything that ``text`` does not say.
        key_file: For an encrypted file: its master key, where it is not the deployment's own.

    Raises:
        ConfigurationError: It cannot be understood.
    """
    name, _, place = text.partition(":")
    if names_environment(text):
        other = Deployment.locate(
            project_directory=deployment.project_directory,
            environment=place,
            catalog=deployment.catalog.path,
            environ=deployment.environ,
        )
        return NamedStore(text, kind_in_use(other), other)
    kind = _find_kind(name)
    answers = dict(deployment.answers) | (kind.parse_place(place) if place else {})
    if key_file is not None:
        if not kind.has_master_key:
            raise ConfigurationError(f"{kind.title} has no master key", hint="Leave the key file out")
        answers |= {
            "SECRETS_MASTER_KEY": "",
            "SECRETS_MASTER_KEY_COMMAND": "",
            "SECRETS_MASTER_KEY_FILE": os.path.abspath(os.path.expanduser(key_file)),
        }
    if place and kind.has_master_key:
        answers["SECRETS_MASTER_KEY_ID"] = ""
    return NamedStore(text, kind, replace(deployment, answers=answers))


def _find_kind(name: str) -> StoreKind[Any]:
    try:
        return kind_of(SecretsBackend.from_name(name))
    except ConfigurationError:
        raise ConfigurationError(
            "What was given does not name a store", hint=f"Use one of: {reference_forms()}"
        ) from None
