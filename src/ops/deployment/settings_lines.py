"""The lines of ``.env.production`` that say where the secrets are. None of them is secret."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from src.utils.secrets.settings import SecretsBackend

if TYPE_CHECKING:
    from src.utils.secrets.masterkey import MasterKey

    from .deployment import Deployment

# What a later run, the other scripts and the application need to find a store on a server. None of it is secret.
CONNECTION_SETTINGS = {
    SecretsBackend.AWS: (
        *("AWS_REGION", "AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SECRETS_MANAGER", "AWS_CA_BUNDLE"),
        "SECRETS_AWS_SECRET_ID",
    ),
    SecretsBackend.VAULT: (
        *("VAULT_ADDR", "VAULT_NAMESPACE", "VAULT_CACERT", "VAULT_MOUNT_POINT", "VAULT_SECRET_PATH"),
        *("VAULT_TOKEN_FILE", "VAULT_ROLE_ID", "VAULT_SECRET_ID_FILE"),
    ),
    SecretsBackend.AZURE: (
        *("AZURE_KEYVAULT_URL", "AZURE_KEYVAULT_VERIFY_CHALLENGE", "AZURE_AUTHORITY_HOST", "REQUESTS_CA_BUNDLE"),
        *("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_CERTIFICATE_PATH"),
    ),
}


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
        lines["SECRETS_MASTER_KEY_FILE"] = os.path.abspath(key_file)
    return lines


def remote_settings(deployment: Deployment, backend: SecretsBackend) -> dict[str, str | None]:
    """The lines for a store on a server: what the person, the environment and the file say about it."""
    variables = deployment.variables()
    lines: dict[str, str | None] = {"SECRETS_BACKEND": backend.value}
    for name in CONNECTION_SETTINGS[backend]:
        if variables.get(name) or name in deployment.answers:
            lines[name] = variables.get(name) or None
    return lines


def settings_heading(deployment: Deployment) -> str:
    """The comment at the top of a new settings file."""
    return f"# Settings of {deployment.catalog.application} ({deployment.environment}). No secret belongs in here.\n"


def _relative(path: str, directory: str) -> str:
    relative = os.path.relpath(path, directory)
    return path if relative.startswith("..") else relative
