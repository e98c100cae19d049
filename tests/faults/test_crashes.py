"""Commands that are killed, or get an error, at each system call that changes a file leave the old or the new state."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from tests import figures
from tests.conftest import PROJECT, Project, need_root
from tests.support.forms import IN_FULL

from .commands import CATALOG, NEW, OLD
from .interpreter import Done
from .stage import Stage
from .states import read_state
from .steps import (
    REMOVING,
    Point,
    first_of_each_kind,
    last_of_each_kind,
)

pytestmark = pytest.mark.timeout(7200)

ERRORS = ("ENOSPC", "EIO", "EACCES", "EROFS", "EDQUOT", "EMFILE")
REPEATED = "EINTR"
"""Python repeats an interrupted call, so the command must complete."""
Item = tuple[Point, str]


def faults_of(points: list[Point]) -> list[Item]:
    """Return each error at each point; in the short form one error at each point, and an interruption of each call."""
    if IN_FULL:
        return [(point, error) for point in points for error in (*ERRORS, REPEATED)]
    refused = [(point, ERRORS[number % len(ERRORS)]) for number, point in enumerate(points)]
    first_of_call = {point.call.name: point for point in reversed(points)}
    return refused + [(point, REPEATED) for point in first_of_call.values()]


def check_each(items: Iterable[Item], check: Callable[[Point, str], None]) -> None:
    """Check every item, and fail with all problems."""
    wrong = []
    for point, fault in items:
        try:
            check(point, fault)
        except AssertionError as error:
            wrong.append(f"{fault} at {point}: {error}")
    if wrong:
        pytest.fail("\n\n".join(wrong), pytrace=False)


def test_a_kill_at_each_step_leaves_the_old_or_new_state_and_the_next_run_works(stage: Stage) -> None:
    points = stage.points if IN_FULL else last_of_each_kind(stage.points)
    assert len(points) >= 4

    def check(point: Point, fault: str) -> None:
        done = stage.disturb(point, fault)
        assert done.returncode != 0, "not killed"
        stage.assert_old_or_new(read_state(stage.project))
        stage.assert_next_run_finishes()

    check_each([(point, "signal=KILL") for point in points], check)
    figures.add("killed at a system call", len(points), "points")


def assert_one_error(done: Done) -> None:
    assert done.returncode == 1, f"exit code {done.returncode}: {done.stderr}"
    assert [line[:7] for line in done.stderr.splitlines()].count("error: ") == 1, done.stderr
    assert "hint: " in done.stderr, done.stderr


def test_an_error_at_each_step_leaves_the_old_state_and_is_reported(stage: Stage) -> None:
    # If the removal of a file is refused, the file stays.
    points = stage.points if IN_FULL else first_of_each_kind(stage.points)
    items = faults_of([point for point in points if point.call.name not in REMOVING])

    def check(point: Point, error: str) -> None:
        done = stage.disturb(point, f"error={error}")
        state = read_state(stage.project)
        assert NEW not in done.stderr + done.stdout
        assert "Traceback" not in done.stderr
        stage.assert_old_or_new(state)
        if done.returncode == 0:
            stage.assert_done_except_reported(state, done)
            return
        assert_one_error(done)
        if stage.command.has_steps:
            stage.assert_next_run_finishes()
        else:
            stage.assert_old(state)

    check_each(items, check)
    figures.add("refused at a system call", len(items), "points")


# --- A full disk --------------------------------------------------------------------------------------


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


# --- Read-only places, and links ---------------------------------------------------


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


def test_the_file_opens_without_this_project(project: Project) -> None:
    project.set_up()
    key = Fernet(project.key_file.read_text().strip())
    assert json.loads(key.decrypt(project.secrets_file.read_bytes()))["secrets"].keys() >= set(CATALOG.required_names)
