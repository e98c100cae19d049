"""The summary of a set-up that can be read again, on the next morning: ``config/SETUP.md``. It holds no secret."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from src.utils.secrets.atomicfile import remove_stale_temporaries, replace_file
from src.utils.secrets.settings import SecretsBackend

if TYPE_CHECKING:
    from collections.abc import Collection

    from src.ops.deployment.deployment import Deployment

    from .inspect import Store

SUMMARY_MODE = 0o600
_LOCAL_MARKS = {SecretsBackend.FILE: "` (encrypted)", SecretsBackend.ENV: "` (plain text, readable by you only)"}


def summary_file(deployment: Deployment) -> str:
    """Where the summary of this deployment is."""
    name = "SETUP.md" if deployment.is_production else f"SETUP.{deployment.environment}.md"
    return os.path.join(deployment.project_directory, "config", name)


def write_summary(deployment: Deployment, store: Store, names: Collection[str]) -> str:
    """Write the summary, unless it says the same already.

    Args:
        deployment: What was set up.
        store: Where the secrets are.
        names: Those that have a value now.

    Returns:
        Its path.

    Raises:
        StoreError: It could not be written.
    """
    path = summary_file(deployment)
    text = render_summary(deployment, store, names)
    remove_stale_temporaries([path])
    if _read(path) != text:
        replace_file(path, text.encode(), mode=SUMMARY_MODE)
    return path


def names_store(deployment: Deployment, backend: SecretsBackend) -> bool:
    """Whether the summary of an earlier set-up says that the secrets are in a store of this kind."""
    mark = _LOCAL_MARKS.get(backend, f"- Secrets: {backend.title}, ")
    return mark in (_read(summary_file(deployment)) or "")


def render_summary(deployment: Deployment, store: Store, names: Collection[str]) -> str:
    """What was set up, where everything is, and the next commands."""
    flag = deployment.command_flag
    lines = [
        f"# {deployment.catalog.application}: secrets of {deployment.environment}",
        "",
        "Written by the set-up. No secret is in here.",
        "",
        "## Where everything is",
        "",
        *_places(deployment, store),
        "",
        "## The secrets",
        "",
        "| name | what it is for | |",
        "| --- | --- | --- |",
    ]
    for spec in deployment.catalog.secrets:
        lines.append(f"| `{spec.name}` | {spec.description} | {'set' if spec.name in names else 'not used'} |")
    lines += ["", "## Next", "", "```sh"]
    if store.backend is SecretsBackend.ENV:
        lines += ["python3 main.py"]
    else:
        lines += [f"./scripts/generate_docker_secrets.sh{flag}", deployment.start_command]
    lines += [
        f"./scripts/manage_secrets.py status{flag}    # how is everything?",
        f"./scripts/manage_secrets.py doctor{flag}    # what is wrong, and what mends it",
        f"./scripts/manage_secrets.py backup{flag}    # one encrypted file, for a safe place",
        "```",
    ]
    return "\n".join(lines) + "\n"


def _places(deployment: Deployment, store: Store) -> list[str]:
    if store.backend is SecretsBackend.ENV:
        return [f"- Secrets: `{deployment.shown(deployment.compose_file)}{_LOCAL_MARKS[SecretsBackend.ENV]}"]
    settings = f"- Settings: `{deployment.shown(deployment.settings_file)}`"
    if store.key is None:
        kept = [
            f"- Sign-in for {credential.setting}: `{deployment.shown(credential.path)}`"
            for credential in store.credentials
        ]
        return [f"- Secrets: {store.backend.title}, {store.place}", *kept, settings]
    path = deployment.settings(SecretsBackend.FILE).file_path
    key = f"`{deployment.shown(store.key.file)}`" if store.key.file else "where you have stored it"
    return [
        f"- Secrets: `{deployment.shown(path)}{_LOCAL_MARKS[SecretsBackend.FILE]}",
        f"- Master key: {key}. Keep a copy away from this machine: without it nobody can open the secrets.",
        settings,
    ]


def _read(path: str) -> str | None:
    if not os.path.isfile(path):
        return None
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()
