"""The secrets as other tools want them."""

from __future__ import annotations

import base64
import json
import shlex
from typing import TYPE_CHECKING

from src.ops.deployment.dotenv import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from src.ops.deployment.deployment import Deployment


def render(form: str, values: Mapping[str, str], deployment: Deployment) -> str:
    """``values`` as text.

    Args:
        form: ``dotenv``, ``json``, ``shell`` or ``kubernetes``.
        values: The secrets by name.
        deployment: Names the Kubernetes object.

    Raises:
        InvalidSecretError: A value cannot be written to a dotenv file so that everybody reads it back the same.
    """
    if form == "json":
        return json.dumps(dict(values), indent=2, ensure_ascii=False) + "\n"
    if form == "shell":
        return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in values.items())
    if form == "kubernetes":
        return _kubernetes(values, deployment)
    return "".join(f"{name}={quote(name, value)}\n" for name, value in values.items())


def _kubernetes(values: Mapping[str, str], deployment: Deployment) -> str:
    """A Secret object: https://kubernetes.io/docs/concepts/configuration/secret/. JSON is YAML."""
    content = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": deployment.compose_project_name},
        "type": "Opaque",
        "data": {name: base64.b64encode(value.encode()).decode() for name, value in values.items()},
    }
    return json.dumps(content, indent=2) + "\n"
