"""Giving secrets up: what is left of them stays, and what was asked for is done."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from tests.conftest import Project
from tests.servers.vault import Vault
from tests.support.commands import error_of, manage
from tests.support.states import SERVERS, make_ready
from tests.support.terminal import ENTER, Terminal

FIRST_QUESTIONS = ("Name of the first", "Password of the first", "send SMS", "send e-mail")
START_OVER = ("--start-over", "--confirm", "start over")


def test_earlier_values_that_only_the_docker_files_have_are_kept(project: Project) -> None:
    project.set_up()
    first = project.values()["ENCRYPTION_KEY"]
    manage(project, "rotate", "ENCRYPTION_KEY", "--store-only", "--yes")
    assert project.run("generate_docker_secrets.sh").returncode == 0
    assert first in (project.docker_directory / "encryption_key_previous.json").read_text()
    for path in project.directory.glob("config/secrets.enc*"):
        path.unlink()
    project.set_up(*START_OVER)
    assert project.run("generate_docker_secrets.sh").returncode == 0
    assert first not in (project.docker_directory / "encryption_key_previous.json").read_text()
    kept = next(project.docker_directory.glob("lost-*"))
    manage(project, "rescue", "--from", str(kept), "--replace", "--yes")
    assert project.run("generate_docker_secrets.sh").returncode == 0
    assert first in (project.docker_directory / "encryption_key_previous.json").read_text()


def test_what_a_rescue_restores_is_not_kept_once_more(project: Project) -> None:
    project.set_up()
    manage(project, "rotate", "ENCRYPTION_KEY", "--store-only", "--yes")
    assert project.run("generate_docker_secrets.sh").returncode == 0
    for path in project.directory.glob("config/secrets.enc*"):
        path.unlink()
    manage(project, "rescue", "--from", "secrets", "--yes")
    assert not list(project.docker_directory.glob("lost-*"))


@pytest.mark.parametrize("kind", ["file", "env", *SERVERS])
@pytest.mark.parametrize("has_docker_files", [True, False])
def test_nothing_is_lost_however_often(
    kind: str, has_docker_files: bool, project: Project, request: pytest.FixtureRequest
) -> None:
    case = make_ready(project, kind, request)
    expected = set(case.originals.values())
    if not has_docker_files:
        shutil.rmtree(project.docker_directory)
    for _ in range(3):
        code, _output, errors = case.run("setup_secrets.py", "--non-interactive", *START_OVER)
        assert code == 0, errors
        if has_docker_files:
            assert case.run("generate_docker_secrets.sh")[0] == 0
        expected |= {value for value in case.values().values() if len(value) >= 12 and not value.startswith("{")}
        case.originals = {value: value for value in expected}
        assert case.surviving() == expected
    shown = case.run("manage_secrets.py", "status")[1]
    # Of the encrypted file, what is put aside is encrypted, too.
    assert ("lost-" in shown) is (has_docker_files or kind != "file")


def test_the_key_file_that_is_named_is_taken(project: Project, tmp_path: Path) -> None:
    project.set_up()
    place = tmp_path / "a disk of its own/chosen.key"
    project.set_up(*START_OVER, "--master-key-file", str(place))
    assert f"SECRETS_MASTER_KEY_FILE='{place}'" in project.settings_file.read_text()
    assert Fernet(place.read_bytes().strip()).decrypt(project.secrets_file.read_bytes())


@pytest.mark.parametrize("line", ["SECRETS_MASTER_KEY", "SECRETS_MASTER_KEY_FILE"])
@pytest.mark.parametrize("exported", [True, False])
def test_the_settings_name_the_key_of_the_new_file_alone(
    line: str, exported: bool, project: Project, tmp_path: Path
) -> None:
    own = tmp_path / "somewhere else/own.key"
    project.set_up("--master-key-file", str(own))
    key = own.read_text().strip()
    if line == "SECRETS_MASTER_KEY":
        lines = [text for text in project.settings_file.read_text().splitlines() if "MASTER_KEY_FILE" not in text]
        project.settings_file.write_text("\n".join([*lines, f"SECRETS_MASTER_KEY={key}", ""]))
        own.unlink()
    before = project.run("manage_secrets.py", "export", "--format", "json").stdout
    environ = {"SECRETS_MASTER_KEY": Fernet.generate_key().decode()} if exported else {}
    project.set_up(*START_OVER, environ=environ)
    assert project.run("manage_secrets.py", "status", environ=environ).returncode == 0
    settings = project.settings_file.read_text()
    assert key not in settings
    assert str(own) not in settings
    assert ("SECRETS_MASTER_KEY_FILE=" in settings) is not exported
    # The old file opens with the old key, which is found although nothing that is in use names it any more.
    [lost] = project.directory.glob("config/secrets.enc.lost-*Z")
    done = project.run("manage_secrets.py", "rescue", "--from", str(lost), "--replace", "--yes", environ=environ)
    assert done.returncode == 0, done.stderr
    assert project.run("manage_secrets.py", "export", "--format", "json", environ=environ).stdout == before


def test_a_dotenv_file_that_names_files_for_its_secrets_gets_values(project: Project, tmp_path: Path) -> None:
    project.set_up("--backend", "env")
    (tmp_path / "value").write_text("the value of a file of somebody's own")
    lines = [text for text in project.compose_file.read_text().splitlines() if not text.startswith("SECRET_KEY=")]
    project.compose_file.write_text("\n".join([*lines, f"SECRET_KEY_FILE={tmp_path}/value", ""]))
    before = project.run("manage_secrets.py", "export", "--format", "json").stdout
    project.set_up(*START_OVER)
    assert "SECRET_KEY_FILE" not in project.compose_file.read_text()
    assert project.run("manage_secrets.py", "export", "--format", "json").stdout != before
    [lost] = project.directory.glob(".env.lost-*")
    manage(project, "rescue", "--from", str(lost), "--replace", "--yes")
    assert project.run("manage_secrets.py", "export", "--format", "json").stdout == before


def test_a_dotenv_file_that_cannot_be_read_any_more_can_be_given_up(project: Project) -> None:
    project.set_up("--backend", "env")
    with project.compose_file.open("a") as file:
        file.write(f"WEBHOOK_SECRET_FILE={'/nowhere'}\n")
    before = project.compose_file.read_bytes()
    assert project.run("setup_secrets.py", "--non-interactive").returncode == 1
    project.set_up(*START_OVER)
    assert [path.read_bytes() for path in project.directory.glob(".env.lost-*")] == [before]


def test_the_wizard_keeps_what_was_typed_to_sign_in_and_copies_nothing(project: Project, vault: Vault) -> None:
    project.set_up()
    token = vault.environ()["VAULT_TOKEN"]
    terminal = Terminal(
        project.script("setup_secrets.py", "--start-over", "--backend", "vault"),
        environ=project.environ(),
        cwd=str(project.directory),
    )
    terminal.answer("Address of Vault", "\x15" + vault.url + ENTER)
    terminal.answer("How do you sign in")
    terminal.answer("Token:", token + ENTER)
    for question in ("Keep it for later", "Secrets engine", "Path in it"):
        terminal.answer(question)
    terminal.answer("Type 'start over'", "start over" + ENTER)
    for question in FIRST_QUESTIONS:
        terminal.answer(question)
    terminal.answer("Write this now")
    assert terminal.finish() == 0, terminal.text
    assert "Copy" not in terminal.text
    assert "VAULT_TOKEN_FILE=" in project.settings_file.read_text()
    assert project.run("manage_secrets.py", "status").returncode == 0


def test_a_failure_puts_everything_back(project: Project, tmp_path: Path) -> None:
    project.set_up()
    assert project.run("generate_docker_secrets.sh").returncode == 0
    project.settings_file.rename(tmp_path / "settings")
    project.settings_file.symlink_to(tmp_path / "settings")  # which is read, and not written through
    before = project.state()
    done = project.run("setup_secrets.py", "--non-interactive", *START_OVER)
    assert "is a symbolic link" in error_of(done)
    assert project.state() == before
