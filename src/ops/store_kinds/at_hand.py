"""What this machine already has set for a store on a server."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from src.utils.secrets.settings import SecretsBackend

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment

_SETTINGS = {
    SecretsBackend.AWS: ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"),
    SecretsBackend.VAULT: ("VAULT_ADDR",),
    SecretsBackend.AZURE: ("AZURE_KEYVAULT_URL",),
}


def what_is_at_hand(backend: SecretsBackend, deployment: Deployment) -> str:
    """What is set for ``backend``, for its line in the menu; empty when nothing is."""
    variables = deployment.variables()
    found = [f"{name}={variables[name]}" for name in _SETTINGS.get(backend, ()) if variables.get(name)]
    if backend is SecretsBackend.AWS and not found and os.path.exists(aws_file(deployment, "config")):
        found = ["~/.aws/config"]
    return f"found {', '.join(found)}" if found else ""


def aws_file(deployment: Deployment, name: str) -> str:
    """Where the AWS SDK looks for the file that it calls ``name``: ``config`` or ``credentials``."""
    variable = {"config": "AWS_CONFIG_FILE", "credentials": "AWS_SHARED_CREDENTIALS_FILE"}[name]
    path = deployment.environ.get(variable)
    return path or os.path.join(deployment.environ.get("HOME") or os.path.expanduser("~"), ".aws", name)
