"""The wizard, at a real pseudo-terminal."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from dotenv import dotenv_values

from src.utils.secrets.catalog import load_catalog
from tests.conftest import Project
from tests.support.terminal import CTRL_C, CTRL_D, DOWN, ENTER, Terminal
from tests.support.wizard import FIRST_RUN, store_shown_key, wizard

CATALOG = load_catalog()
STRONG = "correct horse $'\" #battery"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_pressing_only_enter_makes_a_complete_set(project: Project, columns: int) -> None:
    terminal = wizard(project, columns=columns)
    for question in FIRST_RUN:
        terminal.answer(question.replace(" ", r"\s+"))
    assert terminal.finish() == 0
    values = project.values()
    assert {name: len(values[name]) for name in CATALOG.required_names} == {
        "SECRET_KEY": 64,
        "JWT_SECRET_KEY": 64,
        "ENCRYPTION_KEY": 32,
        "WEBHOOK_SECRET": 43,
        "DATABASE_PASSWORD": 43,
        "REDIS_PASSWORD": 43,
        "ADMIN_USERNAME": 5,
        "ADMIN_PASSWORD": 24,
    }
    assert set(values) == set(CATALOG.required_names)
    assert mode(project.secrets_file) == 0o400
    assert mode(project.key_file) == 0o400
    assert mode(project.key_file.parent) == 0o700
    assert mode(project.directory / ".env.production") == 0o600
    assert not (project.directory / ".env").exists()
    key = project.key_file.read_text().strip()
    shown = [name for name, value in values.items() if len(value) > 8 and value in terminal.text]
    assert shown == ["ADMIN_PASSWORD"]
    assert terminal.text.count(values["ADMIN_PASSWORD"]) == 1
    assert key not in terminal.text
    assert "scripts/generate_docker_secrets.sh" in terminal.text
    assert re.search("docker[ -]compose up -d", terminal.text)


def test_no_line_is_wider_than_a_terminal_of_40_columns(project: Project) -> None:
    terminal = wizard(project, columns=40)
    for question in FIRST_RUN:
        terminal.answer(question.replace(" ", r"\s+"))
    assert terminal.finish() == 0
    for name in CATALOG.names:
        assert re.search(rf"^{name}\s+(generated|typed|skipped)\s+(\d+|-)$", terminal.text, re.MULTILINE), name


@pytest.mark.parametrize("key", [CTRL_C, CTRL_D], ids=["Ctrl-C", "Ctrl-D"])
@pytest.mark.parametrize("question", range(len(FIRST_RUN)), ids=FIRST_RUN)
def test_leaving_at_any_question_changes_nothing_and_exits_130(project: Project, question: int, key: str) -> None:
    before = project.state()
    terminal = wizard(project)
    for text in FIRST_RUN[:question]:
        terminal.answer(text)
    terminal.answer(FIRST_RUN[question], key)
    assert terminal.finish() == 130
    assert "Nothing was changed" in terminal.text
    assert "Traceback" not in terminal.text
    assert project.state() == before


def test_leaving_in_the_middle_of_typing_works_too(project: Project) -> None:
    before = project.state()
    terminal = wizard(project)
    terminal.answer(FIRST_RUN[0])
    terminal.answer(FIRST_RUN[1], "abc" + CTRL_D)
    assert terminal.finish() == 130
    assert project.state() == before


def test_no_at_the_confirmation_changes_nothing(project: Project) -> None:
    before = project.state()
    terminal = wizard(project)
    for question in FIRST_RUN[:-1]:
        terminal.answer(question)
    terminal.answer(FIRST_RUN[-1], "3" + ENTER)
    assert terminal.finish() == 1
    assert project.state() == before


def test_typed_values_are_checked_asked_twice_and_stored_exactly(project: Project) -> None:
    terminal = wizard(project)
    terminal.answer(FIRST_RUN[0], "1" + ENTER)
    terminal.answer(FIRST_RUN[1], "-person" + ENTER)
    terminal.answer(FIRST_RUN[2], DOWN + ENTER)
    terminal.answer(r"\(ADMIN_PASSWORD\)", "short" + ENTER)
    terminal.wait_for("use at least 12")
    terminal.process.send("\x15michael1990!" + ENTER)
    terminal.wait_for("too easy to guess")
    terminal.process.send("\x15" + STRONG + ENTER)
    terminal.answer("Repeat it", "different" + ENTER)
    terminal.wait_for("The two entries do not match")
    terminal.process.send("\x15" + STRONG + ENTER)
    terminal.answer(FIRST_RUN[3], "y")
    for name in ("TWILIO_SID", "TWILIO_TOKEN"):
        terminal.answer(rf"\({name}\)", ENTER)
        terminal.wait_for("This cannot be empty")
        terminal.process.send(f"{name} value" + ENTER)
        terminal.answer("Repeat it", f"{name} value" + ENTER)
    terminal.answer(FIRST_RUN[4])
    terminal.answer(FIRST_RUN[5])
    terminal.answer(FIRST_RUN[6])
    assert terminal.finish() == 0
    values = project.values()
    assert values["ADMIN_USERNAME"] == "admin-person"
    assert values["ADMIN_PASSWORD"] == STRONG
    assert values["TWILIO_SID"] == "TWILIO_SID value"
    assert STRONG not in terminal.text
    assert "TWILIO_TOKEN value" not in terminal.text


def test_choice_five_writes_a_private_dotenv_file_for_development(project: Project) -> None:
    terminal = wizard(project)
    terminal.answer(FIRST_RUN[0], "5" + ENTER)
    for question in (*FIRST_RUN[1:5], FIRST_RUN[6]):
        terminal.answer(question)
    assert terminal.finish() == 0
    path = project.directory / ".env"
    assert mode(path) == 0o600
    values = dotenv_values(path, interpolate=False)
    assert values["SECRETS_BACKEND"] == "environment"
    assert len(values["SECRET_KEY"] or "") == 64
    assert not project.secrets_file.exists()
    assert not project.key_file.exists()
    assert not (project.directory / ".env.production").exists()


def test_the_key_can_go_to_another_file(project: Project) -> None:
    terminal = wizard(project)
    for question in FIRST_RUN[:5]:
        terminal.answer(question)
    terminal.answer(FIRST_RUN[5], "3" + ENTER)
    terminal.answer("Path of the key file", f"{project.directory}/master.key" + ENTER)
    terminal.wait_for("may not be in the project")
    terminal.process.send("\x15~/keys/my key" + ENTER)
    terminal.answer(FIRST_RUN[6])
    assert terminal.finish() == 0
    key_file = project.home / "keys/my key"
    assert mode(key_file) == 0o400
    content = json.loads(Fernet(key_file.read_text().strip()).decrypt(project.secrets_file.read_bytes()))
    assert project.run("manage_secrets.py", "get", "SECRET_KEY").stdout == content["secrets"]["SECRET_KEY"]


def test_the_key_can_be_shown_once_and_stored_by_the_user(project: Project) -> None:
    terminal = wizard(project)
    for question in FIRST_RUN[:5]:
        terminal.answer(question)
    terminal.answer(FIRST_RUN[5], "4" + ENTER)
    store_shown_key(terminal)
    terminal.answer(FIRST_RUN[6])
    assert terminal.finish() == 0
    match = re.search(r"^\s*([A-Za-z0-9_-]{43}=)$", terminal.text, re.MULTILINE)
    assert match
    assert not project.key_file.exists()
    assert "SECRETS_MASTER_KEY_FILE" not in (project.directory / ".env.production").read_text()
    refused = project.run("manage_secrets.py", "get", "SECRET_KEY")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "error: SECRETS_MASTER_KEY not set" in refused.stderr
    given = project.run("manage_secrets.py", "get", "SECRET_KEY", environ={"SECRETS_MASTER_KEY": match[1]})
    assert len(given.stdout) == 64


def test_a_key_that_is_not_stored_yet_stops_the_run(project: Project) -> None:
    before = project.state()
    terminal = wizard(project)
    for question in FIRST_RUN[:5]:
        terminal.answer(question)
    terminal.answer(FIRST_RUN[5], "4" + ENTER)
    terminal.answer("Have you stored it")
    assert terminal.finish() == 1
    assert project.state() == before


# --- The second run --------------------------------------------------------------------------------------------------


def test_a_second_run_keeps_everything(project: Project) -> None:
    project.set_up()
    before = project.state()
    terminal = wizard(project)
    terminal.answer(FIRST_RUN[0])
    terminal.answer("What do you want to do")
    terminal.answer("Write this now")
    assert terminal.finish() == 0
    assert "Found config/secrets.enc" in terminal.text
    assert "Every secret already has a value" in terminal.text
    assert project.state() == before


def test_a_second_run_adds_changes_and_rotates(project: Project) -> None:
    project.set_up()
    before = project.values()
    terminal = wizard(project)
    terminal.answer(FIRST_RUN[0])
    terminal.answer("What do you want to do", "2" + ENTER)  # add
    terminal.answer("Do you send SMS")
    terminal.answer("Do you send e-mail", "y")
    terminal.answer(r"\(SMTP_PASSWORD\)", "mail-secret" + ENTER)
    terminal.answer("Repeat it", "mail-secret" + ENTER)
    terminal.answer("What do you want to do", "4" + ENTER)  # rotate
    terminal.answer("Which secret do you want to regenerate", "2" + ENTER)  # JWT_SECRET_KEY
    terminal.answer("What do you want to do", "3" + ENTER)  # change
    terminal.answer("Which secret do you want to change", "5" + ENTER)  # DATABASE_PASSWORD
    terminal.answer(r"\(DATABASE_PASSWORD\)", "given by the provider" + ENTER)
    terminal.answer("Repeat it", "given by the provider" + ENTER)
    terminal.answer("What do you want to do")
    terminal.answer("Write this now")
    assert terminal.finish() == 0
    after = project.values()
    changed = {"SMTP_PASSWORD", "JWT_SECRET_KEY", "DATABASE_PASSWORD"}
    assert {name for name in after if after[name] != before.get(name)} == changed
    assert after["DATABASE_PASSWORD"] == "given by the provider"
    metadata = project.decrypt()["metadata"]
    assert isinstance(metadata, dict)
    assert metadata["JWT_SECRET_KEY"]["previous"][0]["value"] == before["JWT_SECRET_KEY"]
    assert "make database-password" in terminal.text


def test_a_second_run_leads_to_a_backup(project: Project) -> None:
    first = project.set_up()
    assert "manage_secrets.py backup" in first.stdout
    terminal = wizard(project)
    terminal.answer(FIRST_RUN[0])
    terminal.answer("What do you want to do", "7" + ENTER)
    terminal.answer("passphrase for the backup", "several unlikely words together 7" + ENTER)
    terminal.answer("Repeat it", "several unlikely words together 7" + ENTER)
    assert terminal.finish() == 0, terminal.text
    assert "read back and compared" in " ".join(terminal.text.split())
    assert len(list((project.home / ".local/state/cctv-face-detection/backups").iterdir())) == 1


def test_a_second_run_leads_to_another_store(project: Project) -> None:
    project.set_up()
    values = project.values()
    terminal = wizard(project)
    terminal.answer(FIRST_RUN[0])
    terminal.answer("What do you want to do", "6" + ENTER)
    terminal.answer("Which store do you want to move to", "4" + ENTER)  # environment variables
    terminal.answer("Move them")
    assert terminal.finish() == 0, terminal.text
    assert values.items() <= dotenv_values(project.directory / ".env").items()


def test_a_second_run_leads_to_a_rotation_of_everything(project: Project) -> None:
    project.set_up()
    before = project.values()
    terminal = wizard(project)
    terminal.answer(FIRST_RUN[0])
    terminal.answer("What do you want to do", "5" + ENTER)
    terminal.answer("Rotate them now")
    assert terminal.finish() == 0, terminal.text
    after = project.values()
    assert {name for name in after if after[name] == before[name]} == {"ADMIN_USERNAME"}


def _other_key(project: Project) -> None:
    project.key_file.chmod(0o600)
    project.key_file.write_text(Fernet.generate_key().decode())
    project.key_file.chmod(0o400)


def _lost_key(project: Project) -> None:
    project.key_file.unlink()


def _garbage(project: Project) -> None:
    project.secrets_file.chmod(0o600)
    project.secrets_file.write_bytes(b"garbage")


@pytest.mark.parametrize("damage", [_other_key, _lost_key, _garbage])
def test_a_file_that_cannot_be_decrypted_is_never_overwritten(
    project: Project, damage: Callable[[Project], None]
) -> None:
    project.set_up()
    damage(project)
    before = project.state()
    terminal = wizard(project)
    terminal.answer(FIRST_RUN[0])
    terminal.answer("The secrets file is unchanged", "4" + ENTER)
    assert terminal.finish() == 1
    assert project.state() == before
    done = project.run("setup_secrets.py", "--non-interactive")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "hint: " in done.stderr
    assert project.state() == before


@pytest.mark.parametrize("damage", [_other_key, _lost_key, _garbage])
def test_starting_over_keeps_the_old_file_and_the_old_key(project: Project, damage: Callable[[Project], None]) -> None:
    project.set_up()
    damage(project)
    old = project.secrets_file.read_bytes()
    old_key = project.key_file.read_bytes() if project.key_file.exists() else None
    terminal = wizard(project)
    terminal.answer(FIRST_RUN[0])
    terminal.answer("The secrets file is unchanged", "3" + ENTER)
    terminal.answer("Type 'start over'", "yes" + ENTER)
    terminal.wait_for("Type: start over")
    terminal.process.send("\x15start over" + ENTER)
    for question in FIRST_RUN[1:]:
        terminal.answer(question)
    assert terminal.finish() == 0
    [lost] = project.directory.glob("config/secrets.enc.lost-*Z")
    assert lost.read_bytes() == old
    assert old_key is None or project.key_file.read_bytes() == old_key
    assert len(project.run("manage_secrets.py", "get", "SECRET_KEY").stdout) == 64


def test_starting_over_with_a_key_that_is_only_shown_forgets_the_old_key_file(project: Project) -> None:
    project.set_up()
    _garbage(project)
    terminal = wizard(project)
    terminal.answer(FIRST_RUN[0])
    terminal.answer("The secrets file is unchanged", "3" + ENTER)
    terminal.answer("Type 'start over'", "start over" + ENTER)
    for question in FIRST_RUN[1:5]:
        terminal.answer(question)
    terminal.answer(FIRST_RUN[5], "4" + ENTER)
    store_shown_key(terminal)
    terminal.answer(FIRST_RUN[6])
    assert terminal.finish() == 0
    assert "SECRETS_MASTER_KEY_FILE" not in (project.directory / ".env.production").read_text()


def test_starting_over_keeps_an_exported_key(project: Project) -> None:
    project.set_up()
    key = Fernet.generate_key().decode()
    terminal = wizard(project, environ={"SECRETS_MASTER_KEY": key})
    terminal.answer(FIRST_RUN[0])
    terminal.answer("The secrets file is unchanged", "3" + ENTER)
    terminal.answer("Type 'start over'", "start over" + ENTER)
    for question in (*FIRST_RUN[1:5], FIRST_RUN[6]):
        terminal.answer(question)
    assert terminal.finish() == 0
    assert Fernet(key).decrypt(project.secrets_file.read_bytes())
    assert key not in terminal.text


def test_another_key_file_can_be_named(project: Project) -> None:
    project.set_up()
    values = project.values()
    moved = project.home / "moved.key"
    project.key_file.rename(moved)
    terminal = wizard(project)
    terminal.answer(FIRST_RUN[0])
    terminal.answer("The secrets file is unchanged", "2" + ENTER)
    terminal.answer("Path of the key file", "/no/such/file" + ENTER)
    terminal.wait_for("There is no such file")
    terminal.process.send("\x15~/moved.key" + ENTER)
    terminal.answer("What do you want to do")
    terminal.answer("Write this now")
    assert terminal.finish() == 0
    assert project.run("manage_secrets.py", "get", "SECRET_KEY").stdout == values["SECRET_KEY"]


def test_two_wizards_at_once_lose_nothing(project: Project) -> None:
    first, second = wizard(project), wizard(project)
    for terminal in (first, second):
        for question in FIRST_RUN[:-1]:
            terminal.answer(question)
    first.answer(FIRST_RUN[-1])
    assert first.finish() == 0
    after_first = project.state()
    second.answer(FIRST_RUN[-1])
    assert second.finish() == 1
    assert "exists already" in second.text
    assert project.state() == after_first


def test_two_second_runs_at_once_lose_nothing(project: Project) -> None:
    project.set_up()
    first, second = wizard(project), wizard(project)
    for terminal, number in ((first, "1"), (second, "2")):
        terminal.answer(FIRST_RUN[0])
        terminal.answer("What do you want to do", "4" + ENTER)
        terminal.answer("Which secret do you want to regenerate", number + ENTER)
        terminal.answer("What do you want to do")
    first.answer("Write this now")
    assert first.finish() == 0
    after_first = project.state()
    second.answer("Write this now")
    assert second.finish() == 1
    assert "was changed by another writer meanwhile" in " ".join(second.text.split())
    assert project.state() == after_first


def test_a_dry_run_shows_the_plan_and_writes_nothing(project: Project) -> None:
    before = project.state()
    terminal = wizard(project, "--dry-run")
    for question in FIRST_RUN[:-1]:
        terminal.answer(question)
    assert terminal.finish() == 0
    assert "Dry run: nothing was written" in terminal.text
    assert project.state() == before


def test_without_colour_no_colour_is_sent(project: Project) -> None:
    terminal = wizard(project, environ={"NO_COLOR": "1"})
    for question in FIRST_RUN:
        terminal.answer(question)
    assert terminal.finish() == 0
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", terminal.transcript)


def test_another_environment_is_set_up_beside_production(project: Project) -> None:
    project.set_up()
    production = project.values()
    terminal = wizard(project, "--environment", "staging")
    for question in FIRST_RUN:
        terminal.answer(question)
    assert terminal.finish() == 0
    assert "--env-file .env.staging up -d" in terminal.text
    staging = project.run("manage_secrets.py", "get", "SECRET_KEY", "--environment", "staging").stdout
    assert len(staging) == 64
    assert staging != production["SECRET_KEY"]
    assert project.values() == production
    assert (project.home / ".config/cctv-face-detection/staging.key").exists()


def test_a_value_is_shown_on_a_terminal_only_when_asked_for(project: Project) -> None:
    project.set_up()
    value = project.values()["ADMIN_PASSWORD"]
    get = project.script("manage_secrets.py", "get", "ADMIN_PASSWORD")
    refused = Terminal(get, environ=project.environ(), cwd=str(project.directory))
    assert refused.finish() == 2
    assert value not in refused.text
    assert "--show" in refused.text
    shown = Terminal([*get, "--show"], environ=project.environ(), cwd=str(project.directory))
    assert shown.finish() == 0
    assert value in shown.text
