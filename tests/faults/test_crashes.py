"""Killed, or refused by the system, at each file-changing system call in turn: the old state or the new one, always."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from src.utils.secrets.catalog import load_catalog
from tests.conftest import PROJECT, Project, need_program, need_root

CATALOG = load_catalog()
SYSCALLS = ("mkdir", "fchmod", "fchown", "fsync", "link", "linkat", "rename", "unlink", "rmdir")
OLD = "old-canary-0815"
NEW = "new-canary-4711"


@dataclass
class Command:
    """One writing command, and the state that it starts from."""

    name: str
    script: str
    arguments: tuple[str, ...]
    existing: bool


COMMANDS = [
    Command("the first set-up", "setup_secrets.py", ("--non-interactive", "--import", "NEW"), False),
    Command("a later set-up", "setup_secrets.py", ("--non-interactive", "--import", "NEW", "--replace"), True),
    Command("a first set-up for development", "setup_secrets.py", ("--non-interactive", "--backend", "env"), False),
    Command("the Docker secrets", "generate_docker_secrets.sh", (), True),
]


def prepare(project: Project, command: Command) -> None:
    """The state before the command."""
    for folder in (project.directory, project.home):
        shutil.rmtree(folder, ignore_errors=True)
    (project.directory / "config").mkdir(parents=True)
    project.home.mkdir()
    shutil.copy(PROJECT / "config/catalog.toml", project.directory / "config/catalog.toml")
    (project.directory / "NEW").write_text(f"SECRET_KEY={NEW}\n")
    if not command.existing:
        return
    project.set_up("--import", "-", standard_input=f"SECRET_KEY={OLD}\n")
    if command.script.endswith(".sh"):
        assert project.run("generate_docker_secrets.sh").returncode == 0
        project.set_up("--import", "NEW", "--replace")


def command_line(project: Project, command: Command) -> list[str]:
    """The command as one process, so that its calls can be counted."""
    arguments = [*command.arguments, "--project-directory", str(project.directory)]
    if command.script.endswith(".sh"):
        return [sys.executable, "-m", "src.ops.docker_command", *arguments]
    return [sys.executable, str(PROJECT / "scripts" / command.script), *arguments]


def trace(project: Project, command: Command, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the command under strace."""
    # Much faster, but strace delivers no injected signal with it.
    filtered = [] if "signal=" in " ".join(options) else ["--seccomp-bpf"]
    environ = project.environ({"PYTHONPATH": str(PROJECT), "PYTHONDONTWRITEBYTECODE": "1"})
    environ = {name: value for name, value in environ.items() if not name.startswith("COVERAGE_")}
    return subprocess.run(
        [
            "strace",
            "-qq",
            "-f",
            *filtered,
            "-e",
            f"trace={','.join(SYSCALLS)}",
            *options,
            *command_line(project, command),
        ],
        env=environ,
        cwd=project.directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def points_of(project: Project, command: Command, log: Path) -> list[tuple[str, int]]:
    """Name and position of each call that changes something in an undisturbed run."""
    prepare(project, command)
    done = trace(project, command, "-o", str(log))
    assert done.returncode == 0, done.stderr
    seen: dict[str, int] = {}
    points = []
    for name, result in re.findall(r"^(?:\d+ +)?(\w+)\(.*\) += (-?\d+)", log.read_text(), re.MULTILINE):
        seen[name] = seen.get(name, 0) + 1
        if result == "0":
            points.append((name, seen[name]))
    return points


@pytest.fixture(params=COMMANDS, ids=lambda command: command.name)
def command(request: pytest.FixtureRequest) -> Command:
    need_root()
    need_program("strace", "strace")
    chosen: Command = request.param
    return chosen


def assert_modes(project: Project) -> None:
    for path in (*project.directory.rglob("*"), *project.home.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        if path.name.startswith((".env", "secrets.enc", "master.key", ".master", ".secrets")) or "/secrets/" in str(
            path
        ):
            assert mode & 0o077 == 0, f"{path} has mode {mode:04o}"


def plaintext_files(project: Project) -> set[str]:
    """Where a value can be read without the key."""
    found = set()
    for path in (*project.directory.rglob("*"), *project.home.rglob("*")):
        if path.is_file() and path.name != "NEW":
            content = path.read_bytes()
            if any(value.encode() in content for value in (OLD, NEW)):
                found.add(str(path.relative_to(project.directory)))
    return found


def stored_value(project: Project) -> str | None:
    if not project.secrets_file.exists():
        return None
    return project.values()["SECRET_KEY"]


def leftovers(project: Project) -> list[Path]:
    return [*project.directory.rglob(".*.tmp"), *project.home.rglob(".*.tmp")]


def assert_old_or_new(project: Project, command: Command) -> None:
    assert_modes(project)
    if command.script.endswith(".sh"):
        folder = project.directory / "secrets"
        names = {spec.docker_file for spec in CATALOG.secrets} | {
            s.previous_file for s in CATALOG.secrets if s.previous_file
        }
        assert names <= set(os.listdir(folder))
        assert (folder / "secret_key.txt").read_text() in (OLD, NEW)
        assert (folder / "db_password.txt").read_text() == project.values()["DATABASE_PASSWORD"]
        assert stored_value(project) == NEW
    elif "env" in command.arguments:
        path = project.directory / ".env"
        assert not path.exists() or all(f"{name}=" in path.read_text() for name in CATALOG.required_names)
    else:
        assert stored_value(project) in ((OLD, NEW) if command.existing else (None, NEW))
        assert plaintext_files(project) == set()


def assert_next_run_works(project: Project, command: Command) -> None:
    kept = project.values() if project.secrets_file.exists() else {}
    done = trace(project, command, "-o", os.devnull)
    assert done.returncode == 0, done.stderr
    assert leftovers(project) == []
    assert_modes(project)
    if command.script.endswith(".sh"):
        assert (project.directory / "secrets/secret_key.txt").read_text() == NEW
    elif "env" not in command.arguments:
        assert stored_value(project) == NEW
        after = project.values()
        lost = [name for name, value in kept.items() if name != "SECRET_KEY" and after.get(name) != value]
        assert lost == []


def test_killed_at_each_step_the_old_or_the_new_state_is_there_and_the_next_run_works(
    project: Project, command: Command, tmp_path: Path
) -> None:
    points = points_of(project, command, tmp_path / "log")
    for name, number in points:
        prepare(project, command)
        done = trace(project, command, "-e", f"inject={name}:signal=KILL:when={number}", "-o", os.devnull)
        assert done.returncode != 0, f"not killed at {name} {number}"
        try:
            assert_old_or_new(project, command)
            assert_next_run_works(project, command)
        except AssertionError as error:
            raise AssertionError(f"killed at {name} {number}: {error}") from error
    print(f"{command.name}: killed at {len(points)} points")  # noqa: T201
    assert len(points) >= 4


def assert_changed(project: Project, command: Command, where: str) -> None:
    if "env" in command.arguments:
        assert "SECRET_KEY=" in (project.directory / ".env").read_text(), where
    else:
        assert stored_value(project) == NEW, where


@pytest.mark.parametrize("error", ["ENOSPC", "EIO", "EACCES"])
def test_refused_at_each_step_nothing_has_changed_and_one_error_says_why(
    project: Project, command: Command, error: str, tmp_path: Path
) -> None:
    # What cleans up cannot be undone when it is refused itself: what could not be removed stays.
    points = [point for point in points_of(project, command, tmp_path / "log") if point[0] not in ("unlink", "rmdir")]
    for name, number in points:
        prepare(project, command)
        before = project.state()
        done = trace(project, command, "-e", f"inject={name}:error={error}:when={number}", "-o", os.devnull)
        where = f"{error} at {name} {number}"
        if (name, error, done.returncode) == ("fchmod", "EACCES", 0):
            # The lock library sets its file's mode once more after making it with that mode, and can do without.
            assert_changed(project, command, where)
            continue
        if done.returncode == 0:
            # The audit trail comes when everything else is done.
            assert done.stderr.startswith("warning: the audit trail"), where
            assert_changed(project, command, where)
            continue
        assert done.returncode == 1, f"{where}: exit code {done.returncode}\n{done.stderr}"
        assert done.stderr.startswith("error: "), f"{where}: {done.stderr}"
        assert done.stderr.count("error: ") == 1, where
        assert "hint: " in done.stderr, where
        assert NEW not in done.stderr + done.stdout, where
        after = project.state()
        changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
        assert not changed, f"{where}: {changed}"
    print(f"{command.name}: {error} at {len(points)} points")  # noqa: T201
    assert len(points) >= 4


# --- A disk that is really full --------------------------------------------------------------------------------------


def test_a_full_disk_leaves_everything_as_it_was(project: Project, small_disk: Path) -> None:
    full = Project(small_disk / "project", project.home)
    shutil.copytree(project.directory, full.directory)
    full.set_up("--import", "-", standard_input=f"SECRET_KEY={OLD}\n")
    assert full.run("generate_docker_secrets.sh").returncode == 0
    (full.directory / "filler").write_bytes(b"")
    with (full.directory / "filler").open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(b"x" * 4096)
        except OSError:
            pass
    before = full.state()
    large = json.dumps({"SMTP_PASSWORD": base64.b64encode(os.urandom(60_000)).decode()})
    done = full.run("setup_secrets.py", "--non-interactive", "--import", "-", standard_input=large)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Free some space" in done.stderr
    assert full.state() == before
    (full.directory / "filler").unlink()
    full.set_up("--import", "-", standard_input=large)
    with (full.directory / "filler").open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(b"x" * 4096)
        except OSError:
            pass
    before = full.state()
    done = full.run("generate_docker_secrets.sh")
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert full.state() == before


# --- Places that cannot be written, and places that lead elsewhere ---------------------------------------------------


def test_a_read_only_folder_is_one_clear_error(project: Project) -> None:
    need_root()
    subprocess.run(["mount", "--bind", project.directory, project.directory], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", project.directory], check=True)
        before = project.state()
        done = project.run("setup_secrets.py", "--non-interactive")
        assert done.returncode == 1
        assert "Read-only file system" in done.stderr
        assert "mount it writable" in done.stderr
        assert project.state() == before
    finally:
        subprocess.run(["umount", project.directory], check=True)


def test_a_linked_config_folder_is_written_into(project: Project, tmp_path: Path) -> None:
    (project.directory / "config").rename(tmp_path / "elsewhere")
    (project.directory / "config").symlink_to(tmp_path / "elsewhere")
    project.set_up()
    assert (tmp_path / "elsewhere/secrets.enc").exists()
    assert len(project.values()["SECRET_KEY"]) == 64


@pytest.mark.parametrize("name", ["config/secrets.enc", ".env.production"])
def test_a_link_in_place_of_a_file_is_not_written_through(name: str, project: Project, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("")
    (project.directory / name).symlink_to(victim)
    before = project.state()
    done = project.run("setup_secrets.py", "--non-interactive")
    assert done.returncode == 1, done.stdout
    assert done.stderr.startswith("error: ")
    assert victim.read_text() == ""
    assert project.state() == before


@pytest.mark.parametrize("name", ["config/secrets.enc", ".env.production", "config"])
def test_a_fifo_or_file_in_a_wrong_place_is_one_clear_error(name: str, project: Project) -> None:
    path = project.directory / name
    if path.is_dir():
        shutil.rmtree(path)
        path.write_text("not a folder")
        (project.home / "catalog.toml").write_text((PROJECT / "config/catalog.toml").read_text())
    else:
        os.mkfifo(path)
    done = project.run("setup_secrets.py", "--non-interactive", "--catalog", str(PROJECT / "config/catalog.toml"))
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert not project.key_file.exists()


def test_the_file_opens_with_nothing_of_ours_installed(project: Project) -> None:
    project.set_up()
    key = Fernet(project.key_file.read_text().strip())
    assert json.loads(key.decrypt(project.secrets_file.read_bytes()))["secrets"].keys() >= set(CATALOG.required_names)
