"""Where secrets lie in plain text on this machine, and when they were last backed up."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from src.ops.deployment.audit import read_trail
from src.ops.deployment.dotenv import read_dotenv
from src.ops.setup.traces import docker_files, kept_dotenv_files, kept_folders
from src.utils.secrets.errors import SecretsError

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment
    from src.utils.secrets.snapshot import Snapshot

_IN_MEMORY = ("tmpfs", "ramfs")


@dataclass(frozen=True)
class PlainText:
    """Secrets that anyone who can read the disk can read.

    Attributes:
        path: The file or folder.
        count: How many secrets are in it.
        is_on_disk: Whether it is on a disk, rather than in memory.
    """

    path: str
    count: int
    is_on_disk: bool


@dataclass(frozen=True)
class LastBackup:
    """The last backup that was read back and compared.

    Attributes:
        made_at: When, ISO 8601 in UTC; ``None``: there never was one.
        changed_since: The secrets that have changed since then.
    """

    made_at: str | None
    changed_since: tuple[str, ...] = ()


def find_plain_text(deployment: Deployment) -> list[PlainText]:
    """Where secrets of ``deployment`` lie in plain text, as far as these tools put them there."""
    found = []
    files = docker_files(deployment)
    if files:
        folder = deployment.docker_directory
        found.append(PlainText(folder, len(files), _is_on_disk(folder)))
    for folder in kept_folders(deployment):
        kept = docker_files(deployment, folder)
        if kept:
            found.append(PlainText(folder, len(kept), _is_on_disk(folder)))
    for path in (deployment.compose_file, *kept_dotenv_files(deployment)):
        held = _names_in(deployment, path)
        if held:
            found.append(PlainText(path, len(held), _is_on_disk(path)))
    return found


def _names_in(deployment: Deployment, path: str) -> list[str]:
    try:
        lines = read_dotenv(path)
    except SecretsError:
        return []  # a check of the doctor says that it cannot be understood
    return [name for name in deployment.catalog.names if lines.get(name)]


def find_last_backup(deployment: Deployment, store: str, snapshot: Snapshot) -> LastBackup:
    """What the audit trail says of backups of this store.

    Args:
        deployment: Whose store.
        store: The store as the trail names it.
        snapshot: What it holds now.
    """
    try:
        entries = read_trail(deployment).entries
    except SecretsError:
        entries = []  # a check of the doctor says that it cannot be read
    wanted = {"command": "backup", "result": "done", "environment": deployment.environment, "store": store}
    times = [str(entry.get("time")) for entry in entries if wanted.items() <= entry.items()]
    if not times:
        return LastBackup(None)
    made_at = max(times)
    written = {
        name
        for entry in entries
        if entry.get("store") == store and entry.get("command") != "backup" and str(entry.get("time")) > made_at
        for name in entry.get("names", ())
    }
    changed = [name for name in deployment.catalog.names if _is_newer(snapshot, name, made_at, written)]
    return LastBackup(made_at, tuple(changed))


def _is_newer(snapshot: Snapshot, name: str, made_at: str, written: set[str]) -> bool:
    """Whether a secret has changed since; where the store keeps no times, the trail says."""
    metadata = snapshot.metadata.get(name)
    if metadata is not None and metadata.updated_at:
        return metadata.updated_at > made_at
    return name in written


def _is_on_disk(path: str) -> bool:
    """Whether a path is on a disk: https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html."""
    device = os.stat(path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
            lines = [line.split() for line in file]
    except OSError:
        return True  # not Linux
    return not any(line[2] == number and line[line.index("-") + 1] in _IN_MEMORY for line in lines)
