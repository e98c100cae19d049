"""Carrying a plan out: each step verified, all of them undone when one fails."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from src.ops.deployment.audit import recorded
from src.ops.deployment.dotenv import read_dotenv
from src.ops.deployment.interrupts import deferred_interrupts
from src.ops.deployment.settings_lines import connection_settings, file_settings, settings_heading
from src.ops.deployment.undo import (
    aside_name,
    copy_aside,
    make_directories,
    write_private_file,
    write_settings,
)
from src.ops.store_kinds import open_store
from src.utils.secrets.atomicfile import remove_stale_temporaries
from src.utils.secrets.backends.file import FileBackend
from src.utils.secrets.changes import require_stored
from src.utils.secrets.settings import SecretsBackend

from .leftovers import put_aside
from .master_key import KEY_FILE_MODE, write_key_file
from .options import START_OVER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from src.ops.deployment.deployment import Deployment

    from .inspect import FoundStore
    from .master_key import KeyChoice
    from .plan import Plan

SET_UP = "set up"


@dataclass(frozen=True)
class Credential:
    """What somebody typed to sign in to a store, to be kept in a file.

    Attributes:
        setting: The setting that it is for; ``..._FILE`` names the file.
        path: The file.
        value: The credential.
    """

    setting: str
    path: str
    value: str = field(repr=False)


@dataclass(frozen=True)
class Report:
    """What was done.

    Attributes:
        written_files: The files that are there now.
        kept: Where what is left of secrets that were given up was put aside.
        place: Where on a server the secrets are now.
    """

    written_files: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    place: str = ""


def apply_setup(
    deployment: Deployment,
    found: FoundStore,
    plan: Plan,
    progress: Callable[[str], None] | None = None,
    *,
    action: str = SET_UP,
) -> Report:
    """Write the plan to the store, and put it down in the audit trail.

    Args:
        deployment: What is set up.
        found: Where the secrets go.
        plan: What to write.
        progress: Called with the name of each secret once it is stored.
        action: What the audit trail calls it.

    Raises:
        SecretsError: A step failed; what was there before is there again.
        KeyboardInterrupt: Ctrl-C came in time; the same.
    """
    if found.start_over and action == SET_UP:
        action = START_OVER
    with recorded(deployment, action, plan.written_names, found.place or found.kind.title), ExitStack() as undo:
        kept = put_aside(deployment, found, plan, undo) if found.start_over else []
        # Before any secret: a stack that started now would make data of its own.
        write_compose_settings(deployment, plan, undo)
        if found.key is not None:
            report = _apply_to_file(deployment, plan, found, found.key)
        elif found.kind.is_dotenv:
            report = _apply_to_dotenv(deployment, plan, found)
        else:
            report = _apply_connected(deployment, plan, found, progress)
        undo.pop_all()
    return replace(report, kept=[*report.kept, *kept])


def write_compose_settings(deployment: Deployment, plan: Plan, undo: ExitStack) -> None:
    """Set the lines for Compose that differ."""
    present = read_dotenv(deployment.compose_file)
    lines: dict[str, str | None] = {n: v for n, v in plan.compose_settings.items() if present.get(n) != v}
    if lines:
        heading = f"# Settings of {deployment.catalog.application} for Compose.\n"
        write_settings(deployment.compose_file, lines, heading, undo)


def _apply_to_file(deployment: Deployment, plan: Plan, found: FoundStore, key: KeyChoice) -> Report:
    """Write the key file, the encrypted file and the settings, in this order, and read everything back."""
    path = deployment.settings(SecretsBackend.FILE).file_path
    with deferred_interrupts() as check, ExitStack() as undo:
        written = []
        check()
        remove_stale_temporaries(filter(None, (path, key.file)))
        if key.new_file is not None:
            write_key_file(key.new_file, key.key, undo)
            written.append(key.new_file)
        check()
        make_directories(os.path.dirname(path), undo)
        kept = _save(path, plan, found, key, undo) if plan.written_names else []
        written.append(path)
        check()
        lines = file_settings(deployment, path, key.key, key.file)
        if key.file is None and (key.is_new or found.start_over) and not _have_key(deployment, key):
            lines |= {"SECRETS_MASTER_KEY_FILE": None, "SECRETS_MASTER_KEY": None}
        kept += _keep_key_lines(deployment.settings_file, lines, undo)
        write_settings(deployment.settings_file, lines, settings_heading(deployment), undo)
        written.append(deployment.settings_file)
        check()
        # Once more, the way the application will open it.
        opened = FileBackend(path, key.key) if key.file is None else open_store(deployment, found.kind)
        _compare(plan, opened.load().values, path)
        check()
        undo.pop_all()
    return Report(written, kept)


def _apply_to_dotenv(deployment: Deployment, plan: Plan, found: FoundStore) -> Report:
    """Write the secrets into the dotenv file, and read them back."""
    path = deployment.compose_file
    lines: dict[str, str | None] = {"SECRETS_BACKEND": found.kind.name}
    for name, change in plan.changes().items():
        lines |= {name: change.value, f"{name}_FILE": None}
    heading = f"# Development secrets of {deployment.catalog.application}. Never commit.\n"
    with deferred_interrupts() as check, ExitStack() as undo:
        check()
        is_replaced = found.start_over or any(lines.get(name, "") is None for name in read_dotenv(path))
        kept = copy_aside(path, undo) if is_replaced else []
        write_settings(path, lines, heading, undo)
        check()
        _compare(plan, open_store(deployment, found.kind).load().values, path)
        check()
        undo.pop_all()
    return Report([path], kept)


def _apply_connected(
    deployment: Deployment, plan: Plan, found: FoundStore, progress: Callable[[str], None] | None
) -> Report:
    """Write the settings, then the secrets to the store, and read everything back.

    The store comes last, since what is written on a server cannot be taken back everywhere; from then on an interrupt
    comes too late.

    Raises:
        PartlyWrittenError: Some secrets are stored and others not; the files are as they were.
    """
    with deferred_interrupts() as check, ExitStack() as undo:
        check()
        for credential in found.credentials:
            write_private_file(credential.path, f"{credential.value}\n".encode(), KEY_FILE_MODE, undo)
        lines = connection_settings(deployment, found.kind.name, found.kind.kept_settings)
        lines |= {f"{credential.setting}_FILE": credential.path for credential in found.credentials}
        write_settings(deployment.settings_file, lines, settings_heading(deployment), undo)
        check()
        store = open_store(deployment, found.kind)
        if plan.written_names:
            store.save(plan.changes(), expected_revision=found.snapshot.revision, progress=progress)
        _compare(plan, open_store(deployment, found.kind).load().values, found.place)
        undo.pop_all()
    files = [credential.path for credential in found.credentials]
    return Report([*files, deployment.settings_file], place=found.place)


def _have_key(deployment: Deployment, key: KeyChoice) -> bool:
    """Whether this key itself stands in the settings; a line about a key is about another one otherwise."""
    return read_dotenv(deployment.settings_file).get("SECRETS_MASTER_KEY") == key.key.text()


def _keep_key_lines(path: str, lines: Mapping[str, str | None], undo: ExitStack) -> list[str]:
    """Keep the settings file, when it is about to lose a key, or its word where the file of one is."""
    present = read_dotenv(path)
    key_file = os.path.expanduser(present.get("SECRETS_MASTER_KEY_FILE") or "")
    new_key_file = lines.get("SECRETS_MASTER_KEY_FILE", key_file)
    loses_key = bool(present.get("SECRETS_MASTER_KEY")) and lines.get("SECRETS_MASTER_KEY", "") is None
    loses_place = new_key_file != key_file and os.path.lexists(key_file)
    return copy_aside(path, undo) if loses_key or loses_place else []


def _save(path: str, plan: Plan, found: FoundStore, key: KeyChoice, undo: ExitStack) -> list[str]:
    """Write the encrypted file; returns what was put aside for it."""
    store = FileBackend(path, key.key)
    if found.start_over:
        aside = aside_name(path)
        saved = store.start_over(plan.changes(), aside)
        undo.callback(store.take_back, aside, written=saved.revision)
        return [kept for kept in (aside, f"{aside}.bak") if os.path.exists(kept)]
    before = found.snapshot.revision
    saved = store.save(plan.changes(), expected_revision=before)
    undo.callback(store.revert, written=saved.revision, before=before)
    return []


def _compare(plan: Plan, stored: Mapping[str, str], where: str) -> None:
    require_stored(
        plan.values() | {name: change.value for name, change in plan.others.items()},
        stored,
        where,
        hint="A variable of that name may be set in this shell: check with `env`, unset it, and run this again",
    )
