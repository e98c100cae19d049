"""Values that come from another place: no newer one, and no earlier one that is still accepted, is lost."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.conftest import Project
from tests.servers.vault import Vault
from tests.support.commands import error_of, manage

PASSPHRASE = "seven wombats ride a slow train"
KEY = "ENCRYPTION_KEY"


@pytest.fixture
def environ(vault: Vault) -> dict[str, str]:
    """How to sign in to Vault; the settings say which store is in use."""
    return {name: value for name, value in vault.environ().items() if name != "SECRETS_BACKEND"}


@pytest.fixture
def rotated(project: Project) -> Project:
    """An encrypted file whose encryption key has an earlier value that old data needs."""
    project.set_up()
    manage(project, "rotate", KEY, "--store-only", "--yes")
    return project


def earlier(project: Project, name: str = KEY, environ: dict[str, str] | None = None) -> list[str]:
    """The earlier values that the application accepts, as its Docker file has them."""
    assert project.run("generate_docker_secrets.sh", environ=environ or {}).returncode == 0
    path = project.docker_directory / f"{name.lower()}_previous.json"
    return [entry["value"] for entry in json.loads(path.read_text())]


def values(project: Project, environ: dict[str, str] | None = None) -> dict[str, str]:
    done = project.run("manage_secrets.py", "export", "--format", "json", environ=environ or {})
    assert done.returncode == 0, done.stderr
    content: dict[str, str] = json.loads(done.stdout)
    return content


def backup(project: Project, folder: Path, *arguments: str) -> tuple[str, str, str]:
    (folder / "passphrase").write_text(PASSPHRASE)
    opens = ("--passphrase-file", str(folder / "passphrase"))
    manage(project, "backup", "--output", str(folder / "a.backup"), *opens, *arguments)
    return (str(folder / "a.backup"), *opens)


@pytest.mark.parametrize("command", ["restore", "rescue"])
def test_a_backup_brings_the_earlier_values_into_a_new_set(command: str, rotated: Project, tmp_path: Path) -> None:
    before, kept = values(rotated), earlier(rotated)
    path, *opens = backup(rotated, tmp_path)
    rotated.set_up("--start-over", "--confirm", "start over")
    made = values(rotated)[KEY]
    if command == "restore":
        manage(rotated, "restore", path, *opens, "--yes")
    else:
        manage(rotated, "rescue", "--from", path, *opens, "--replace", "--yes")
    assert values(rotated) == before
    assert set(kept) < {*earlier(rotated)}
    assert made in earlier(rotated)


@pytest.mark.parametrize("command", ["restore", "rescue"])
def test_a_backup_of_equal_values_brings_the_earlier_ones_too(command: str, rotated: Project, tmp_path: Path) -> None:
    before, kept = values(rotated), earlier(rotated)
    path, *opens = backup(rotated, tmp_path)
    (tmp_path / "import.json").write_text(json.dumps(before))
    rotated.set_up("--start-over", "--confirm", "start over", "--import", str(tmp_path / "import.json"))
    assert earlier(rotated) == []
    arguments = ("restore", path) if command == "restore" else ("rescue", "--from", path, "--replace")
    manage(rotated, *arguments, *opens, "--yes")
    assert values(rotated) == before
    assert earlier(rotated) == kept


def test_a_set_up_in_another_store_takes_the_earlier_values_along(rotated: Project, environ: dict[str, str]) -> None:
    before, kept = values(rotated), earlier(rotated)
    rotated.set_up("--backend", "vault", environ=environ)
    assert values(rotated, environ) == before
    assert earlier(rotated, environ=environ) == kept


def test_a_file_does_not_replace_what_the_store_in_use_has(
    project: Project, environ: dict[str, str], tmp_path: Path
) -> None:
    project.set_up()
    before = values(project)
    imported = "wombats import values of last year, slowly"
    (tmp_path / "old.json").write_text(json.dumps({"WEBHOOK_SECRET": imported}))
    done = project.set_up("--backend", "vault", "--import", str(tmp_path / "old.json"), environ=environ)
    assert "another value is kept" in " ".join(done.stdout.split())
    assert values(project, environ) == before


def test_an_older_store_does_not_come_back_into_use(project: Project, environ: dict[str, str]) -> None:
    project.set_up()
    project.set_up("--backend", "vault", environ=environ)
    done = project.run("manage_secrets.py", "rotate", "SECRET_KEY", "--store-only", "--yes", environ=environ)
    assert done.returncode == 0, done.stderr
    now = values(project, environ)
    text = error_of(project.run("setup_secrets.py", "--non-interactive", "--backend", "file", environ=environ))
    assert "SECRET_KEY: Encrypted File has other values than the store in use" in text
    assert "migrate --to file" in text
    assert values(project, environ) == now


def test_settings_that_are_gone_bring_no_older_store_back(project: Project, environ: dict[str, str]) -> None:
    project.set_up()
    done = project.run("manage_secrets.py", "migrate", "--to", "vault", "--apply", "--yes", environ=environ)
    assert done.returncode == 0, done.stderr
    now = values(project, environ)
    project.settings_file.unlink()
    before = project.state()
    to_file = ("setup_secrets.py", "--non-interactive", "--backend", "file")
    for command, signed_in in (
        (("setup_secrets.py", "--non-interactive"), {}),
        (to_file, {}),
        (to_file, environ),
        (("manage_secrets.py", "status"), {}),
        (("manage_secrets.py", "status"), environ),
    ):
        text = error_of(project.run(*command, environ=signed_in))
        assert "SETUP.md says that the secrets are in HashiCorp Vault" in text
        assert "--backend vault" in text
        assert project.state() == before
    project.set_up(environ=environ)
    assert values(project, environ) == now


def test_emptying_the_store_before_replaces_nothing_in_use(project: Project, environ: dict[str, str]) -> None:
    project.set_up()
    for arguments in (("migrate", "--to", "vault", "--apply"), ("rotate", KEY, "SECRET_KEY", "--store-only")):
        done = project.run("manage_secrets.py", *arguments, "--yes", environ=environ)
        assert done.returncode == 0, done.stderr
    before, now = project.state(), values(project, environ)
    done = project.run(
        *("manage_secrets.py", "migrate", "--from", "file", "--to", "vault", "--delete-source", "--apply", "--yes"),
        environ=environ,
        standard_input="delete\n",
    )
    assert "is in use, and has other values than the source" in error_of(done)
    assert project.state() == before
    assert values(project, environ) == now


def test_values_that_a_migration_replaces_become_the_earlier_ones(project: Project, tmp_path: Path) -> None:
    project.set_up()
    old = values(project)
    copy = tmp_path / "old.enc"
    copy.write_bytes(project.secrets_file.read_bytes())
    os.chmod(copy, 0o400)
    manage(project, "rotate", KEY, "--store-only", "--yes")
    newer = values(project)[KEY]
    options = ("--from", f"file:{copy}", "--from-key-file", str(project.key_file), "--to", "file", "--apply", "--yes")
    manage(project, "migrate", *options)
    assert values(project)[KEY] == old[KEY]
    assert "2" in manage(project, "history", KEY).stdout or newer in json.dumps(project.decrypt()["metadata"])
    assert newer in json.dumps(project.decrypt()["metadata"])


def test_a_store_that_keeps_no_earlier_values_does_not_take_the_last_copy(rotated: Project) -> None:
    before = rotated.state()
    done = rotated.run(
        *("manage_secrets.py", "migrate", "--to", "env", "--apply", "--delete-source", "--yes"),
        standard_input="delete\n",
    )
    assert f"{KEY}: earlier values are still accepted, and the target keeps none" in error_of(done)
    assert rotated.state() == before
    assert f"{KEY}: earlier values are still accepted" in manage(rotated, "migrate", "--to", "env").stdout


def test_a_name_outside_the_catalogue_is_refused_before_anything_is_in_plain_text(project: Project) -> None:
    catalog = project.directory / "config/catalog.toml"
    text = catalog.read_text()
    more = '\n[[secret]]\nname = "EXTRA_KEY"\ngroup = "New"\ndescription = "A key"\ninput = "generate"\nlength = 43\n'
    catalog.write_text(f'{text}{more}docker_file = "extra_key.txt"\n')
    project.set_up()
    catalog.write_text(text)
    before = project.state()
    done = project.run("manage_secrets.py", "migrate", "--to", "env", "--apply", "--yes")
    assert "EXTRA_KEY: not in the catalogue" in error_of(done)
    assert project.state() == before


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_secrets_in_a_dotenv_file_that_are_no_development_secrets_move_along(
    environment: str, project: Project
) -> None:
    flags = ("--environment", environment)
    if environment == "production":
        project.set_up()
        manage(project, "migrate", "--to", "env", "--apply", "--delete-source", "--yes", standard_input="delete\n")
    else:
        project.set_up("--backend", "env", *flags)
    before = project.run("manage_secrets.py", "export", "--format", "json", *flags).stdout
    project.set_up("--backend", "file", *flags)
    assert project.run("manage_secrets.py", "export", "--format", "json", *flags).stdout == before


def test_a_backup_of_another_environment_is_not_taken_by_itself(project: Project, tmp_path: Path) -> None:
    project.set_up()
    project.set_up("--environment", "staging")
    path, *opens = backup(project, project.directory)
    for file in project.directory.glob("config/secrets.staging.enc*"):
        file.unlink()
    staging = ("--environment", "staging")
    done = project.run("manage_secrets.py", "rescue", "--yes", *opens, *staging)
    assert "Nothing was found that still has the secrets" in error_of(done)
    shown = manage(project, "rescue", "--from", path, "--dry-run", *opens, *staging).stdout
    assert "It is a backup of cctv-face-detection, production, not of this deployment" in " ".join(shown.split())


def test_a_new_key_does_not_hide_below_a_disk_that_is_not_mounted(project: Project, tmp_path: Path) -> None:
    stick = tmp_path / "usb"
    project.set_up("--master-key-file", str(stick / "master.key"))
    assert project.run("generate_docker_secrets.sh").returncode == 0
    before = values(project)
    stick.rename(tmp_path / "unplugged")
    manage(project, "rescue", "--yes")
    assert not stick.exists()
    assert project.key_file.exists()
    assert values(project) == before


def test_a_key_that_systemd_gives_is_named_when_it_is_the_wrong_one(project: Project, tmp_path: Path) -> None:
    from cryptography.fernet import Fernet

    project.set_up()
    path = tmp_path / "secrets_master_key"
    path.write_bytes(Fernet.generate_key())
    path.chmod(0o400)
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    before = project.state()
    text = error_of(project.run("manage_secrets.py", "rescue", "--yes", environ=environ))
    assert f"{path} would outrank the key that opens the file" in text
    assert project.state() == before


def test_a_file_from_before_a_migration_is_opened_with_its_own_key_or_it_is_asked_for(
    project: Project, tmp_path: Path
) -> None:
    project.set_up("--master-key-file", str(tmp_path / "own.key"))
    manage(project, "migrate", "--to", "env", "--apply", "--yes")
    before = values(project)
    for path in project.directory.glob(".env.production*"):
        path.unlink()
    (project.directory / "config/SETUP.md").unlink()
    text = error_of(project.run("manage_secrets.py", "migrate", "--to", "file", "--apply", "--yes"))
    assert "no key that is here opens it" in text
    assert "--to-key-file PATH" in text
    manage(project, "migrate", "--to", "file", "--to-key-file", str(tmp_path / "own.key"), "--apply", "--yes")
    assert values(project) == before


def test_a_file_without_a_name_of_the_catalogue_gets_its_key_back(project: Project) -> None:
    from cryptography.fernet import Fernet

    project.set_up()
    key = project.key_file.read_text()
    content = {"version": 1, "secrets": {"SOMETHING": "else"}, "metadata": {}}
    os.chmod(project.secrets_file, 0o600)
    project.secrets_file.write_bytes(Fernet(key.strip()).encrypt(json.dumps(content).encode()))
    Path(f"{project.secrets_file}.sum").unlink()
    project.key_file.unlink()
    done = project.run("manage_secrets.py", "key", "paste", "--key-file", "-", "--yes", standard_input=key)
    assert "Unexpected" not in done.stderr
    assert project.key_file.read_text() == key
