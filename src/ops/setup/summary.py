"""The summary of a set-up that can be read again, on the next morning: ``config/SETUP.md``. It holds no secret."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from src.utils.secrets.atomicfile import remove_stale_temporaries, replace_file
from src.utils.secrets.command import compose, manage, write_docker_files
from src.utils.secrets.errors import SecretsError
from src.utils.secrets.settings import open_regular

from .places import MASTER_KEY, SECRETS, find_places

if TYPE_CHECKING:
    from collections.abc import Collection

    from src.ops.deployment.deployment import Deployment
    from src.ops.store_kinds.base import StoreKind

    from .inspect import FoundStore

SUMMARY_MODE = 0o600
_KEEP_KEY = "- Keep a copy of the master key away from this machine: without it nobody can open the secrets."


def summary_file(deployment: Deployment) -> str:
    """Where the summary of this deployment is."""
    name = "SETUP.md" if deployment.is_production else f"SETUP.{deployment.environment}.md"
    return os.path.join(deployment.project_directory, "config", name)


def write_summary(deployment: Deployment, found: FoundStore, names: Collection[str]) -> str:
    """Write the summary, unless it says the same already.

    Args:
        deployment: What was set up.
        found: Where the secrets are.
        names: Those that have a value now.

    Returns:
        Its path.

    Raises:
        StoreError: It could not be written.
    """
    path = summary_file(deployment)
    text = render_summary(deployment, found, names)
    remove_stale_temporaries([path])
    if _read(path) != text:
        replace_file(path, text.encode(), mode=SUMMARY_MODE)
    return path


def try_to_write_summary(deployment: Deployment, found: FoundStore, names: Collection[str]) -> str:
    """The same after everything else was done: what went wrong, in one line, or an empty text."""
    try:
        write_summary(deployment, found, names)
    except (SecretsError, OSError) as error:
        return f"The summary was not written: {error}"
    return ""


def update_summary(deployment: Deployment, names: Collection[str]) -> str:
    """Let the summary name the store in use, after secrets were moved or brought there.

    Args:
        deployment: What was set up.
        names: Those that have a value there. The ones that the summary had until now stay in it.

    Returns:
        What went wrong, in one line, or an empty text.
    """
    from .inspect import store_in_use

    try:
        found = store_in_use(deployment)
    except SecretsError as error:
        return f"The summary was not written: {error}"
    return try_to_write_summary(deployment, found, {*names, *names_set(deployment)})


def names_store(deployment: Deployment, kind: StoreKind[Any]) -> bool:
    """Whether the summary of an earlier set-up says that the secrets are in a store of this kind."""
    mark = f"` {kind.place_note}" if kind.place_note else f"- {SECRETS}: {kind.title}, "
    return mark in (_read(summary_file(deployment)) or "")


def names_set(deployment: Deployment) -> list[str]:
    """The secrets that had a value at the end of an earlier set-up, as its summary says."""
    return re.findall(r"^\| `(\w+)` \|.*\| set \|$", _read(summary_file(deployment)) or "", re.MULTILINE)


def encrypted_file_named(deployment: Deployment, kind: StoreKind[Any]) -> str:
    """Where the encrypted file was at the end of an earlier set-up, as its summary says; empty when it does not."""
    return _file_named(deployment, SECRETS) if kind.has_master_key and names_store(deployment, kind) else ""


def key_file_named(deployment: Deployment) -> str:
    """The same for the file of its master key."""
    return _file_named(deployment, MASTER_KEY)


def render_summary(deployment: Deployment, found: FoundStore, names: Collection[str]) -> str:
    """What was set up, where everything is, and the next commands."""
    lines = [
        f"# {deployment.catalog.application}: secrets of {deployment.environment}",
        "",
        "Written by the set-up. No secret is in here.",
        "",
        "## Where everything is",
        "",
        *(f"- {place.label}: {place.in_markdown()}" for place in find_places(deployment, found)),
        *([_KEEP_KEY] if found.kind.has_master_key else []),
        "",
        "## The secrets",
        "",
        "| name | what it is for | |",
        "| --- | --- | --- |",
    ]
    for spec in deployment.catalog.secrets:
        lines.append(f"| `{spec.name}` | {spec.description} | {'set' if spec.name in names else 'not used'} |")
    spell = deployment.spelling_from(deployment.project_directory).spell
    start = ["python3 main.py"] if found.kind.is_dotenv else [spell(write_docker_files()), spell(compose("up", "-d"))]
    lines += [
        "",
        "## Next",
        "",
        "```sh",
        *start,
        f"{spell(manage('status'))}    # the state of each secret",
        f"{spell(manage('doctor'))}    # what is wrong, and how to fix it",
        f"{spell(manage('backup'))}    # one encrypted file, for a safe place",
        "```",
    ]
    return "\n".join(lines) + "\n"


def _read(path: str) -> str | None:
    try:
        with open_regular(path) as file:
            return file.read().decode(errors="replace")
    except OSError:
        return None  # what is wrong with it is said when it is written; without it, other signs count


def _file_named(deployment: Deployment, label: str) -> str:
    found = re.search(rf"^- {label}: `([^`]+)`", _read(summary_file(deployment)) or "", re.MULTILINE)
    return os.path.join(deployment.project_directory, os.path.expanduser(found[1])) if found else ""
