"""The commands that write, the state that each starts from, and what has to be true after it, whatever happens."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.fernet import Fernet, MultiFernet

from src.utils.secrets.catalog import load_catalog
from tests.conftest import PROJECT, Project

CATALOG = load_catalog()
OLD = "old-canary-0815"
NEW = "new-canary-4711"
GIVEN = "NEW"
"""A file of the test's own, with the new value in it."""
BACKUP = "secrets.backup"
BACKUP_KEY = "backup.key"

Preparation = Callable[[Project], None]


@dataclass(frozen=True)
class Command:
    """One writing command.

    Attributes:
        name: For the test's name.
        script: The script, or the module that a shell script runs.
        arguments: Its own.
        prepare: Makes the state before.
        after: What ``SECRET_KEY`` may be afterwards besides what it was before.
        plain_files: Files that are meant to hold values.
        standard_input: What it asks for.
        has_steps: Whether it may stop between two of its steps, to be finished by the next run.
    """

    name: str
    script: str
    arguments: tuple[str, ...]
    prepare: Preparation
    after: str | None = NEW
    plain_files: tuple[str, ...] = ()
    standard_input: str = ""
    has_steps: bool = False

    def line(self, project: Project) -> list[str]:
        """Its command line, as one process where that can be."""
        arguments = [*self.arguments, "--project-directory", str(project.directory)]
        if self.script.startswith("src."):
            return [sys.executable, "-m", self.script, *arguments]
        return [sys.executable, str(PROJECT / "scripts" / self.script), *arguments]


def _nothing(project: Project) -> None:
    """The first run of all."""


def _file_store(project: Project) -> None:
    project.set_up("--import", "-", standard_input=f"SECRET_KEY={OLD}\n")


def _outdated_docker_files(project: Project) -> None:
    _file_store(project)
    _run(project, "generate_docker_secrets.sh")
    project.set_up("--import", GIVEN, "--replace")


def _docker_files(project: Project) -> None:
    _file_store(project)
    _run(project, "generate_docker_secrets.sh")


def _dotenv(project: Project) -> None:
    project.set_up("--backend", "env", "--import", "-", standard_input=f"SECRET_KEY={OLD}\n")


def _backup_of_new(project: Project) -> None:
    """A store with the old value, and a backup with the new one."""
    _file_store(project)
    key = project.directory / BACKUP_KEY
    key.write_bytes(Fernet.generate_key())
    key.chmod(0o600)
    _run(project, "manage_secrets.py", "set", "SECRET_KEY", "--file", "value")
    _run(project, "manage_secrets.py", "backup", "--output", BACKUP, "--key-file", BACKUP_KEY)
    (project.directory / "value").write_text(OLD)
    _run(project, "manage_secrets.py", "set", "SECRET_KEY", "--file", "value")


def _backup_key(project: Project) -> None:
    _file_store(project)
    key = project.directory / BACKUP_KEY
    key.write_bytes(Fernet.generate_key())
    key.chmod(0o600)


def _run(project: Project, script: str, *arguments: str) -> None:
    done = project.run(script, *arguments)
    assert done.returncode == 0, done.stderr


_SETUP, _MANAGE = "setup_secrets.py", "manage_secrets.py"
_DOCKER_FILES = ("secrets/",)
COMMANDS = (
    Command("first set-up", _SETUP, ("--non-interactive", "--import", GIVEN), _nothing),
    Command("later set-up", _SETUP, ("--non-interactive", "--import", GIVEN, "--replace"), _file_store),
    Command(
        *("set-up for development", _SETUP, ("--non-interactive", "--backend", "env", "--import", GIVEN), _nothing),
        plain_files=(".env",),
    ),
    Command(
        *("Docker files", "src.ops.docker_command", (), _outdated_docker_files),
        plain_files=_DOCKER_FILES,
    ),
    Command("set", _MANAGE, ("set", "SECRET_KEY", "--file", "value"), _file_store),
    Command(
        *("set in a dotenv file", _MANAGE, ("set", "SECRET_KEY", "--file", "value"), _dotenv),
        plain_files=(".env",),
    ),
    Command(
        "rotate",
        _MANAGE,
        ("rotate", "SECRET_KEY", "--store-only", "--yes", "--set-file", "SECRET_KEY=value"),
        _docker_files,
        plain_files=_DOCKER_FILES,
        has_steps=True,
    ),
    Command("rotate-master-key", _MANAGE, ("rotate-master-key", "--yes"), _file_store, after=None, has_steps=True),
    Command(
        "migrate to the file",
        _MANAGE,
        ("migrate", "--to", "file", "--apply", "--yes"),
        _dotenv,
        after=None,
        plain_files=(".env",),
        has_steps=True,
    ),
    Command(
        "migrate and empty the source",
        _MANAGE,
        ("migrate", "--to", "file:config/other.enc", "--apply", "--delete-source", "--yes"),
        _file_store,
        after=None,
        standard_input="delete\n",
        has_steps=True,
    ),
    Command("backup", _MANAGE, ("backup", "--output", BACKUP, "--key-file", BACKUP_KEY), _backup_key, after=None),
    Command("restore", _MANAGE, ("restore", BACKUP, "--key-file", BACKUP_KEY, "--yes"), _backup_of_new),
)


def prepare(project: Project, command: Command) -> None:
    """Make the state before the command."""
    for folder in (project.directory, project.home):
        shutil.rmtree(folder, ignore_errors=True)
    (project.directory / "config").mkdir(parents=True)
    project.home.mkdir()
    shutil.copy(PROJECT / "config/catalog.toml", project.directory / "config/catalog.toml")
    (project.directory / GIVEN).write_text(f"SECRET_KEY={NEW}\n")
    (project.directory / "value").write_text(NEW)
    command.prepare(project)
    (project.directory / "value").write_text(NEW)


def values_in_use(project: Project) -> dict[str, str] | None:
    """What the application would read now; ``None`` when nothing was set up."""
    settings = [project.directory / name for name in (".env.production", ".env")]
    if not any(path.exists() for path in settings):
        return None
    done = project.run(_MANAGE, "export", "--format", "json")
    assert done.returncode == 0, done.stderr
    values: dict[str, str] = json.loads(done.stdout)
    return values


def assert_old_or_new(project: Project, command: Command, before: dict[str, str] | None) -> None:
    """Everything can be read, is whole, is hidden from others, and is in plain text nowhere that it should not be."""
    now = values_in_use(project)
    if before is not None:
        assert now is not None
        others = {name: value for name, value in before.items() if name != "SECRET_KEY"}
        assert {name: now.get(name) for name in others} == others
        assert now["SECRET_KEY"] in (before["SECRET_KEY"], command.after)
    elif now is not None:
        assert now["SECRET_KEY"] == command.after
        assert set(CATALOG.required_names) <= set(now)
    if project.secrets_file.exists() and before is None:
        key = MultiFernet([Fernet(line) for line in project.key_file.read_text().split()])
        assert json.loads(key.decrypt(project.secrets_file.read_bytes()))["secrets"]["SECRET_KEY"] == NEW
    assert_docker_files_belong_together(project, now)
    assert_modes(project)
    assert plain_files(project, command) == []


def assert_docker_files_belong_together(project: Project, now: dict[str, str] | None) -> None:
    """Each file holds the old value or the new one, whole."""
    folder = project.directory / "secrets"
    if not folder.exists():
        return
    assert now is not None
    for spec in CATALOG.secrets:
        content = (folder / spec.docker_file).read_text()
        assert content in ({OLD, NEW} if spec.name == "SECRET_KEY" else {now.get(spec.name, "")}), spec.docker_file
        if spec.previous_file:
            json.loads((folder / spec.previous_file).read_text())


def assert_modes(project: Project) -> None:
    """Nobody else may read what a command of ours wrote."""
    for path in (*project.directory.rglob("*"), *project.home.rglob("*")):
        if path.name in (GIVEN, "value", "catalog.toml", "config") or path.is_symlink():
            continue
        if path.is_dir() and path.name in (".config", ".local", "state"):
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode & 0o077 == 0, f"{path} has mode {mode:04o}"


def plain_files(project: Project, command: Command) -> list[str]:
    """Where a value can be read that has no business there."""
    found = []
    for root in (project.directory, project.home):
        for path in root.rglob("*"):
            name = str(path.relative_to(root))
            if not path.is_file() or name in (GIVEN, "value") or name.startswith(command.plain_files or "\0"):
                continue
            if any(value.encode() in path.read_bytes() for value in (OLD, NEW)) and not _is_part_of(name, command):
                found.append(name)
    return found


def _is_part_of(name: str, command: Command) -> bool:
    """Whether it is a temporary file of one that is meant to hold values."""
    return name.endswith(".tmp") and any(Path(plain).name.strip("/") in name for plain in command.plain_files)


def leftovers(project: Project) -> list[Path]:
    """Temporary files that somebody left."""
    return [*project.directory.rglob(".*.tmp"), *project.home.rglob(".*.tmp")]


def environ_of(project: Project) -> dict[str, str]:
    """What the command runs with, so that two runs make the same calls in the same order."""
    fixed = {"PYTHONPATH": str(PROJECT), "PYTHONHASHSEED": "0"}
    found = {**project.environ(), **fixed}
    return {name: value for name, value in found.items() if not name.startswith("COVERAGE_")} | {
        "PATH": os.environ["PATH"]
    }
