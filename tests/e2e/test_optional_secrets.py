"""Optional secrets that are lost from a store that can be read: their last copy stays, and comes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Project
from tests.support.commands import error_of, manage
from tests.support.files import write_read_only

WRITE = "generate_docker_secrets.sh"
NAMES = ("TWILIO_SID", "TWILIO_TOKEN")


@pytest.fixture
def earlier(project: Project, tmp_path: Path) -> Project:
    """A deployment with Twilio, whose encrypted file of the day before was put back."""
    project.set_up()
    before = project.secrets_file.read_bytes()
    for name in NAMES:
        (tmp_path / name).write_text(f"the value of {name}")
    project.set_up(*(word for name in NAMES for word in ("--set-file", f"{name}={tmp_path / name}")))
    assert project.run(WRITE).returncode == 0
    write_read_only(project.secrets_file, before)
    for suffix in (".bak", ".sum"):
        Path(f"{project.secrets_file}{suffix}").unlink()
    return project


def test_no_command_empties_the_last_copy(earlier: Project) -> None:
    before = earlier.state()
    for command in ((WRITE,), (WRITE, "--check"), ("setup_secrets.py", "--non-interactive")):
        text = error_of(earlier.run(*command))
        assert "TWILIO_SID, TWILIO_TOKEN are no longer in the store, but had a value here" in text
        assert "rescue" in text
        assert "remove TWILIO_SID" in text
    assert "rescue" in manage(earlier, "status").stdout
    assert earlier.state() == before


def test_the_rescue_restores_them(earlier: Project) -> None:
    manage(earlier, "rescue", "--yes")
    assert [earlier.values()[name] for name in NAMES] == [f"the value of {name}" for name in NAMES]
    assert earlier.run(WRITE).returncode == 0
    assert earlier.run(WRITE, "--check").returncode == 0


def test_what_nobody_wants_any_more_is_given_up_by_name(earlier: Project) -> None:
    for name in NAMES:
        manage(earlier, "remove", name, "--yes")
    assert earlier.run(WRITE).returncode == 0
    assert (earlier.docker_directory / "twilio_sid.txt").read_text() == ""
    assert "nothing has to be restored" in manage(earlier, "rescue").stdout


def test_a_secret_that_was_removed_is_not_lost(project: Project, tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).write_text(f"the value of {name}")
    project.set_up(*(word for name in NAMES for word in ("--set-file", f"{name}={tmp_path / name}")))
    assert project.run(WRITE).returncode == 0
    manage(project, "remove", "TWILIO_SID", "--yes")
    project.set_up()
    assert project.run(WRITE).returncode == 0
    assert (project.docker_directory / "twilio_token.txt").read_text() == ""
