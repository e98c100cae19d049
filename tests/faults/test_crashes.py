"""Killed, or refused by the system, at each file-changing system call in turn: the old state or the new one, always."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from tests import figures
from tests.conftest import PROJECT, Project, need_program, need_root

from .commands import (
    BACKUP,
    BACKUP_KEY,
    CATALOG,
    COMMANDS,
    NEW,
    OLD,
    Command,
    assert_old_or_new,
    leftovers,
    values_in_use,
)
from .steps import Point, Workshop, chosen, disturb, run

pytestmark = pytest.mark.timeout(7200)

ERRORS = ("ENOSPC", "EIO", "EACCES", "EROFS", "EDQUOT", "EMFILE", "EINTR")
REMOVING = ("unlink", "unlinkat", "rmdir")


@pytest.fixture(params=COMMANDS, ids=lambda command: command.name)
def command(request: pytest.FixtureRequest) -> Command:
    need_root()
    need_program("strace", "strace")
    made: Command = request.param
    return made


def assert_next_run_finishes(project: Project, command: Command, before: dict[str, str] | None) -> None:
    backup = project.directory / BACKUP
    if command.name == "backup" and backup.exists():
        opened = project.run("manage_secrets.py", "restore", BACKUP, "--key-file", BACKUP_KEY, "--dry-run")
        assert opened.returncode == 0, opened.stderr
        backup.unlink()  # complete, so the next run would refuse to write over it
    again = run(project, command)
    assert again.returncode == 0, again.stderr
    assert leftovers(project) == []
    assert_old_or_new(project, command, before)
    if command.after:
        assert (values_in_use(project) or {})["SECRET_KEY"] == command.after


def test_killed_at_each_step_the_old_or_the_new_state_is_there_and_the_next_run_works(
    command: Command, tmp_path: Path
) -> None:
    workshop = Workshop(tmp_path, command)
    points = chosen(workshop.points(tmp_path / "log"))
    assert len(points) >= 4

    def check(project: Project, point: Point, fault: str, before: dict[str, str] | None) -> None:
        done = disturb(project, command, point, fault)
        assert done.returncode != 0, "not killed"
        assert_old_or_new(project, command, before)
        assert_next_run_finishes(project, command, before)

    wrong = list(workshop.each([(point, "signal=KILL") for point in points], check))
    assert wrong == [], "\n".join(wrong)
    figures.add("killed at a system call", len(points), "points")


def test_refused_at_each_step_the_old_state_is_there_and_one_error_says_why(command: Command, tmp_path: Path) -> None:
    workshop = Workshop(tmp_path, command)
    # What cleans up cannot be undone when it is refused itself: what could not be removed stays.
    points = [point for point in workshop.points(tmp_path / "log") if point.syscall not in REMOVING]
    items = [(point, f"error={error}") for point in chosen(points) for error in ERRORS]

    def check(project: Project, point: Point, fault: str, before: dict[str, str] | None) -> None:
        state = project.state()
        done = disturb(project, command, point, fault)
        assert NEW not in done.stderr + done.stdout
        assert "Traceback" not in done.stderr
        assert_old_or_new(project, command, before)
        if done.returncode == 0:
            # Python repeats an interrupted call; some calls can be done without; the audit trail comes last.
            if command.after:
                assert (values_in_use(project) or {})["SECRET_KEY"] == command.after
            return
        assert done.returncode == 1, f"exit code {done.returncode}: {done.stderr}"
        assert [line[:7] for line in done.stderr.splitlines()].count("error: ") == 1, done.stderr
        assert "hint: " in done.stderr, done.stderr
        if command.has_steps:
            assert_next_run_finishes(project, command, before)
            return
        now = project.state()
        changed = {path for path in state.keys() | now.keys() if state.get(path) != now.get(path)}
        assert not changed, f"{changed}: {done.stderr}"

    wrong = list(workshop.each(items, check))
    assert wrong == [], "\n".join(wrong)
    figures.add("refused at a system call", len(items), "points")


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
