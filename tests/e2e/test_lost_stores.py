"""A store that has lost its secrets: no command replaces what is left of them."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from tests.conftest import Project
from tests.servers.aws import Aws
from tests.servers.keyvault import KeyVault
from tests.servers.vault import Vault
from tests.support.files import write_read_only
from tests.support.kept import Kept
from tests.support.terminal import DOWN, ENTER, Terminal

READERS = [
    ("manage_secrets.py", "status"),
    ("manage_secrets.py", "status", "--json"),
    ("manage_secrets.py", "get", "SECRET_KEY"),
    ("manage_secrets.py", "set", "SMTP_PASSWORD", "--file", "value"),
    ("manage_secrets.py", "rotate", "SECRET_KEY", "--yes"),
    ("manage_secrets.py", "export", "--format", "json"),
    ("manage_secrets.py", "backup", "--output", "new.backup", "--key-file", "key"),
    ("generate_docker_secrets.sh",),
    ("generate_docker_secrets.sh", "--check"),
    ("setup_secrets.py", "--non-interactive"),
    ("setup_secrets.py", "--non-interactive", "--dry-run"),
    ("setup_secrets.py", "--non-interactive", "--backend", "env"),
]


def lose(project: Project) -> None:
    project.set_up("--import", "-", standard_input="SMTP_PASSWORD=first\n")
    (project.directory / "value").write_text("second")
    assert project.run("manage_secrets.py", "set", "SMTP_PASSWORD", "--file", "value").returncode == 0
    assert project.run("generate_docker_secrets.sh").returncode == 0
    project.secrets_file.unlink()


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    return Kept(tmp_path_factory.mktemp("lost"), lose)


@pytest.fixture
def lost(kept: Kept) -> Project:
    """A deployment whose encrypted file was deleted; the previous file and the Docker files are still there."""
    return kept.put_back()


@pytest.mark.parametrize("command", READERS, ids=" ".join)
def test_nothing_is_written_and_the_error_names_what_is_left(command: tuple[str, ...], lost: Project) -> None:
    before = lost.state()
    done = lost.run(*command)
    assert done.returncode == 1, done.stdout
    assert done.stdout.strip() in ("", "[]")
    assert "but secrets were set up here before" in done.stderr
    assert "config/secrets.enc.bak" in done.stderr
    assert "secrets/ has the values" in done.stderr
    assert lost.state() == before


def test_the_program_that_run_starts_is_not_started(lost: Project) -> None:
    command = [*lost.script("manage_secrets.py", "run"), "--", "echo", "started"]
    done = subprocess.run(command, env=lost.environ(), capture_output=True, text=True, check=False)
    assert done.returncode == 125
    assert "started" not in done.stdout
    assert "secrets were set up here before" in done.stderr


def test_another_store_that_is_missing_is_not_reported_as_the_lost_one(project: Project, tmp_path: Path) -> None:
    project.set_up()
    assert project.run("generate_docker_secrets.sh").returncode == 0
    done = project.run("manage_secrets.py", "migrate", "--from", f"file:{tmp_path}/secrets.other.enc", "--to", "env")
    assert done.returncode == 1
    assert "does not exist" in done.stderr
    assert "were set up here before" not in done.stderr


def test_the_doctor_finds_the_lost_store(lost: Project) -> None:
    done = lost.run("manage_secrets.py", "doctor", "--only", "store")
    assert done.returncode == 1
    assert "secrets were set up here before" in done.stdout.replace("\n", " ")


def test_the_wizard_offers_what_is_left_and_stopping_changes_nothing(lost: Project) -> None:
    before = lost.state()
    terminal = wizard(lost)
    terminal.answer("Where do you want to store the secrets")
    terminal.answer("What next", "3" + ENTER)
    assert terminal.finish() == 1
    assert "secrets were set up here before" in " ".join(terminal.text.split())
    assert lost.state() == before
    terminal = wizard(lost)
    terminal.answer("Where do you want to store the secrets")
    terminal.answer("What next")
    terminal.answer("Where do you want to restore the secrets from", "5" + ENTER)
    assert terminal.finish() == 1
    assert lost.state() == before


def test_starting_over_keeps_what_is_left_in_a_safe_place(lost: Project) -> None:
    key = lost.key_file.read_bytes()
    left = {path.read_bytes() for path in (lost.directory / "secrets").glob("*.txt")}
    left.add((lost.directory / "config/secrets.enc.bak").read_bytes())
    terminal = wizard(lost)
    terminal.answer("Where do you want to store the secrets")
    terminal.answer("What next", DOWN + ENTER)
    terminal.answer("Type 'start over'", "start over" + ENTER)
    for question in ("Name of the first", "Password of the first", "send SMS", "send e-mail", "save the master key"):
        terminal.answer(question)
    terminal.answer("Write this now")
    assert terminal.finish() == 0
    for arguments in (["set", "SMTP_PASSWORD", "--file", "value"], ["set", "SECRET_KEY", "--generate"]):
        assert lost.run("manage_secrets.py", *arguments).returncode == 0
    assert lost.run("generate_docker_secrets.sh").returncode == 0
    present = {path.read_bytes() for path in lost.directory.rglob("*") if path.is_file()}
    assert left <= present
    assert lost.key_file.read_bytes() == key


def test_each_source_restores_its_own_state(lost: Project) -> None:
    values = {path.name: path.read_text() for path in (lost.directory / "secrets").glob("*.txt")}
    assert type_in(lost, rescue(lost, "--from", f"{lost.secrets_file}.bak", "--yes")) == 0
    assert lost.values()["SMTP_PASSWORD"] == "first"
    lost.secrets_file.unlink()
    assert type_in(lost, rescue(lost, "--from", "secrets", "--yes")) == 0
    assert lost.values()["SMTP_PASSWORD"] == "second"
    assert lost.run("generate_docker_secrets.sh").returncode == 0
    assert {path.name: path.read_text() for path in (lost.directory / "secrets").glob("*.txt")} == values


def test_a_backup_is_named_and_restores_everything(lost: Project) -> None:
    key = lost.home / "key"
    key.write_bytes(lost.key_file.read_bytes())
    key.chmod(0o600)
    (lost.directory / "config/secrets.enc.bak").rename(lost.secrets_file)
    made = lost.run("manage_secrets.py", "backup", "--output", "a.backup", "--key-file", str(key))
    assert made.returncode == 0, made.stderr
    lost.secrets_file.unlink()
    assert any("a.backup" in hint for hint in advice(lost))
    command = rescue(lost, "--from", str(lost.directory / "a.backup"), "--key-file", str(key), "--yes")
    assert type_in(lost, command) == 0
    assert lost.values()["SMTP_PASSWORD"] == "first"


@pytest.mark.parametrize(
    "remove",
    [
        lambda config: None,
        lambda config: [path.unlink() for path in config.glob("secrets.enc*")],
        lambda config: [path.unlink() for path in config.iterdir() if path.name != "catalog.toml"],
    ],
    ids=["the file alone", "everything of it", "the whole volume"],
)
def test_other_missing_files_do_not_make_it_a_first_run(remove: Callable[[Path], object], lost: Project) -> None:
    for path in (lost.directory / "secrets").iterdir():
        path.unlink()
    remove(lost.directory / "config")
    before = lost.state()
    for command in (READERS[0], READERS[9]):
        done = lost.run(*command)
        assert done.returncode == 1
        assert "secrets were set up here before" in done.stderr
    assert lost.state() == before


def test_docker_files_without_any_settings_are_no_first_run(lost: Project) -> None:
    for path in (".env.production", ".env", "config/SETUP.md", "config/secrets.enc.bak", "config/secrets.enc.sum"):
        (lost.directory / path).unlink()
    before = lost.state()
    done = lost.run("setup_secrets.py", "--non-interactive")
    assert done.returncode == 1
    assert "secrets/ has the values" in done.stderr
    assert lost.state() == before


def test_prepared_settings_without_anything_else_are_a_first_run(project: Project) -> None:
    (project.directory / ".env.production").write_text("SECRETS_BACKEND=file\nSECRETS_FILE_PATH=config/secrets.enc\n")
    project.set_up()
    assert project.run("manage_secrets.py", "status").returncode == 0


@pytest.mark.parametrize("name", ["aws", "vault", "keyvault"])
def test_an_empty_server_is_no_first_run(name: str, project: Project, request: pytest.FixtureRequest) -> None:
    server: Aws | Vault | KeyVault = request.getfixturevalue(name)
    environ = server.environ()
    empty(server)
    project.set_up(environ=environ)
    assert project.run("generate_docker_secrets.sh", environ=environ).returncode == 0
    empty(server)
    before = project.state()
    for command in (READERS[0], READERS[9], READERS[7], (*READERS[9], "--backend", "file")):
        done = project.run(*command, environ={**environ, "SECRETS_BACKEND": ""})
        assert done.returncode == 1, done.stdout
        assert "secrets were set up here before" in done.stderr
        assert "secrets/ has the values" in done.stderr
    assert project.state() == before
    assert type_in(project, rescue(project, "--yes"), {**environ, "SECRETS_BACKEND": ""}) == 0
    assert project.run("generate_docker_secrets.sh", "--check", environ=environ).returncode == 0


@pytest.mark.parametrize("summary", ["as it is now", "of the store before"])
def test_a_store_that_everything_was_moved_to_is_no_first_run_when_it_is_empty(
    summary: str, project: Project, vault: Vault
) -> None:
    environ = {name: value for name, value in vault.environ().items() if name != "SECRETS_BACKEND"}
    project.set_up()
    before = (project.directory / "config/SETUP.md").read_text()
    done = project.run(
        *("manage_secrets.py", "migrate", "--to", "vault", "--delete-source", "--apply", "--yes"),
        environ=environ,
        standard_input="delete\n",
    )
    assert done.returncode == 0, done.stderr
    assert "HashiCorp Vault" in (project.directory / "config/SETUP.md").read_text()
    if summary == "of the store before":
        (project.directory / "config/SETUP.md").write_text(before)
    empty(vault)
    state = project.state()
    for command in (READERS[0], READERS[9], (*READERS[9], "--backend", "file")):
        done = project.run(*command, environ=environ)
        assert done.returncode == 1, done.stdout
        assert "secrets were set up here before" in done.stderr
    assert project.state() == state


def test_a_store_that_a_backup_was_brought_to_is_no_first_run_when_it_is_empty(
    project: Project, vault: Vault, tmp_path: Path
) -> None:
    environ = vault.environ()
    (tmp_path / "passphrase").write_text("seven wombats ride a slow train")
    opens = ("--passphrase-file", str(tmp_path / "passphrase"))
    project.set_up(environ=environ)
    assert project.run("manage_secrets.py", "backup", "--output", "a.backup", *opens, environ=environ).returncode == 0
    empty(vault)
    (project.directory / "config/SETUP.md").unlink()
    done = project.run("manage_secrets.py", "restore", "a.backup", *opens, "--yes", environ=environ)
    assert done.returncode == 0, done.stderr
    empty(vault)
    done = project.run("setup_secrets.py", "--non-interactive", environ=environ)
    assert done.returncode == 1
    assert "secrets were set up here before" in done.stderr


def test_settings_that_are_gone_do_not_turn_a_server_into_a_file(project: Project, vault: Vault) -> None:
    environ = vault.environ()
    project.set_up(environ=environ)
    values = vault.client().secrets.kv.v2.read_secret_version(path="cctv", raise_on_deleted_version=False)
    project.settings_file.unlink()
    before = project.state()
    for command in (READERS[0], READERS[2], READERS[9], ("manage_secrets.py", "rescue", "--yes")):
        done = project.run(*command)
        assert done.returncode == 1, done.stdout
        assert "SETUP.md says that the secrets are in HashiCorp Vault" in done.stderr
        assert "--backend vault" in done.stderr
    assert project.state() == before
    del environ["SECRETS_BACKEND"]
    project.set_up("--backend", "vault", environ=environ)
    again = vault.client().secrets.kv.v2.read_secret_version(path="cctv", raise_on_deleted_version=False)
    assert again["data"]["data"] == values["data"]["data"]


def test_settings_that_are_gone_are_written_again_by_a_set_up_that_keeps_everything(project: Project) -> None:
    project.set_up()
    values, settings = project.values(), project.settings_file.read_text()
    project.settings_file.unlink()
    environ = {"JWT_SECRET_KEY": "a value of the shell alone"}
    for command in (READERS[0], READERS[2], READERS[5]):
        done = project.run(*command, environ=environ)
        assert done.returncode == 1, done.stdout
        assert "cannot be opened without its key" in done.stderr
    project.set_up(environ=environ)
    assert project.values() == values
    assert project.settings_file.read_text() == settings
    assert not (project.directory / ".env").exists()


def test_an_error_about_one_secret_is_not_explained_by_the_loss_of_another(project: Project) -> None:
    catalog = project.directory / "config/catalog.toml"
    optional = (
        '\n[[secret]]\nname = "OLD_SECRET_KEY"\ngroup = "New"\ndescription = "A key of before"\n'
        'input = "ask"\nfeature = "twilio"\ndocker_file = "old_secret_key.txt"\n'
    )
    catalog.write_text(catalog.read_text() + optional)
    project.set_up()
    assert project.run("generate_docker_secrets.sh").returncode == 0
    content = project.decrypt()
    del content["secrets"]["SECRET_KEY"]  # type: ignore[attr-defined]
    fernet = Fernet(project.key_file.read_bytes().strip())
    write_read_only(project.secrets_file, fernet.encrypt(json.dumps(content).encode()))
    (project.directory / "config/secrets.enc.sum").unlink()
    assert "but had a value here" in project.run("manage_secrets.py", "get", "SECRET_KEY").stderr
    assert (
        "error: OLD_SECRET_KEY is not in the encrypted file"
        in project.run("manage_secrets.py", "get", "OLD_SECRET_KEY").stderr
    )


def wizard(project: Project) -> Terminal:
    return Terminal(
        project.script("setup_secrets.py"), environ=project.environ(), cwd=str(project.directory), columns=120
    )


def rescue(project: Project, *arguments: str) -> str:
    return shlex.join(project.script("manage_secrets.py", "rescue", *arguments))


def advice(project: Project) -> list[str]:
    lines = project.run("setup_secrets.py", "--non-interactive").stderr.splitlines()
    return [line.removeprefix("hint: ") for line in lines if line.startswith("hint: ")]


def type_in(project: Project, command: str, environ: dict[str, str] | None = None) -> int:
    """Run a command that a user copied from the screen, in the project's folder."""
    done = subprocess.run(
        ["sh", "-c", command], cwd=project.directory, env=project.environ(environ), check=False, capture_output=True
    )
    assert b"Traceback" not in done.stderr
    return done.returncode


def empty(server: Aws | Vault | KeyVault) -> None:
    if isinstance(server, Vault):
        server.client().secrets.kv.v2.delete_metadata_and_all_versions("cctv")
    else:
        server.clear()
