"""Environment variables, which the tools keep in a dotenv file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from src.utils.secrets.settings import SecretsBackend

from .base import StoreKind

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment
    from src.ops.deployment.dotenv_store import DotenvStore


class EnvironmentKind(StoreKind["DotenvStore"]):
    """See the module."""

    backend = SecretsBackend.ENV
    note = "a .env file, for development"
    place_note = "(plain text, readable by you only)"
    keeps_history = False
    copies_history = False
    is_read_by_app = False
    is_dotenv = True

    def open(self, deployment: Deployment) -> DotenvStore:
        """The variables of the process and of the dotenv file; written is the file."""
        from src.ops.deployment.dotenv_store import DotenvStore

        return DotenvStore(deployment.compose_file, deployment.catalog.names, deployment.environ)

    def files(self, deployment: Deployment) -> list[str]:
        """The dotenv file, too."""
        return [*super().files(deployment), deployment.compose_file]

    def check_storable(self, name: str, value: str) -> None:
        """Refuse what no quoting carries through every reader of a dotenv file."""
        from src.ops.deployment.dotenv import quote

        quote(name, value)


KIND = EnvironmentKind()
