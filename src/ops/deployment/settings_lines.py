"""The lines of ``.env.production`` that say where the secrets are. None of them is secret."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from src.utils.secrets.settings import SecretsBackend

if TYPE_CHECKING:
    from collections.abc import Sequence

    from src.utils.secrets.masterkey import MasterKey

    from .deployment import Deployment


def file_settings(
    deployment: Deployment, path: str, master_key: MasterKey, key_file: str | None
) -> dict[str, str | None]:
    """The lines for an encrypted file.

    Args:
        deployment: Whose settings.
        path: The file.
        master_key: Its key.
        key_file: The file with the key; ``None`` leaves the line as it is.
    """
    lines: dict[str, str | None] = {
        "SECRETS_BACKEND": SecretsBackend.FILE.value,
        "SECRETS_FILE_PATH": _relative(path, deployment.project_directory),
        "SECRETS_MASTER_KEY_ID": master_key.ids[0],
    }
    if key_file is not None:
        # Never both: a key that stands in the settings is another one, or the same one once too often.
        lines |= {"SECRETS_MASTER_KEY_FILE": os.path.abspath(key_file), "SECRETS_MASTER_KEY": None}
    return lines


def connection_settings(deployment: Deployment, store: str, names: Sequence[str]) -> dict[str, str | None]:
    """The lines for a store that is connected to: what the person, the environment and the file say about it.

    Args:
        deployment: Whose settings.
        store: Its value of ``SECRETS_BACKEND``.
        names: The variables that a later run needs; none of them secret.
    """
    variables = deployment.variables()
    lines: dict[str, str | None] = {"SECRETS_BACKEND": store}
    for name in names:
        if variables.get(name) or name in deployment.answers:
            lines[name] = variables.get(name) or None
    return lines


def settings_heading(deployment: Deployment) -> str:
    """The comment at the top of a new settings file."""
    return f"# Settings of {deployment.catalog.application} ({deployment.environment}). No secret belongs in here.\n"


def _relative(path: str, directory: str) -> str:
    relative = os.path.relpath(path, directory)
    return path if relative.startswith("..") else relative
