"""What people write into their settings files survives every command."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.ops.deployment.deployment import Deployment
from src.ops.setup.state import Inspection, State, inspect_deployment
from tests.conftest import Project, need_root
from tests.servers.vault import Vault
from tests.support.commands import error_of, manage

COMMENT = "# do not touch: ask Anna before changing the region"
OWN = [
    COMMENT,
    "",
    "export COMPANY='Wombat & Sons'",
    "SENTRY_DSN=https://example.org/1   # for errors",
    "  INDENTED=yes",
]


@pytest.fixture
def own(project: Project) -> Project:
    """A deployment with lines of its owner in both settings files."""
    project.set_up()
    assert project.run("generate_docker_secrets.sh").returncode == 0
    for path in (project.settings_file, project.compose_file):
        path.write_text("\n".join(OWN) + "\n" + path.read_text() + "LAST=line without an end")
    return project


def check(project: Project, path: Path | None = None) -> None:
    for file in (project.settings_file, project.compose_file) if path is None else (path,):
        lines = file.read_text().splitlines()
        assert [line for line in lines if line in OWN] == OWN, file
        assert "LAST=line without an end" in lines


def test_every_command_keeps_them(own: Project) -> None:
    key = own.key_file.read_text()
    (own.directory / "value").write_text("a mail password 1")
    for arguments in (
        ("setup_secrets.py", "--non-interactive"),
        ("setup_secrets.py", "--non-interactive", "--set-file", "SMTP_PASSWORD=value"),
        ("generate_docker_secrets.sh",),
        ("generate_docker_secrets.sh", "--output", "elsewhere"),
        ("manage_secrets.py", "set", "JWT_SECRET_KEY", "--generate"),
        ("manage_secrets.py", "rotate", "--all", "--yes"),
        ("manage_secrets.py", "rotate-master-key", "--yes"),
        ("manage_secrets.py", "rotate-master-key", "--forget", "--yes"),
        ("manage_secrets.py", "doctor", "--fix"),
        ("setup_secrets.py", "--non-interactive", "--start-over", "--confirm", "start over"),
    ):
        done = own.run(*arguments)
        assert done.returncode == 0 or "doctor" in arguments, done.stderr
        check(own)
    own.secrets_file.unlink()
    manage(own, "rescue", "--yes")
    check(own)
    own.key_file.with_name("master-2.key").unlink(missing_ok=True)
    assert key != own.key_file.read_text()
    check(own)


def test_moving_to_a_server_and_back_keeps_them(own: Project, vault: Vault) -> None:
    environ = {name: value for name, value in vault.environ().items() if name != "SECRETS_BACKEND"}
    for target in ("vault", "file"):
        done = own.run("manage_secrets.py", "migrate", "--to", target, "--apply", "--yes", environ=environ)
        assert done.returncode == 0, done.stderr
        assert "its other lines stay" in done.stdout
        check(own)


def test_moving_to_a_dotenv_file_carries_them_over(own: Project) -> None:
    before = own.settings_file.read_text()
    (own.directory / ".env.production.before-migration").write_text("an earlier one")
    own.compose_file.write_text("APP_UID=1\n")
    done = manage(own, "migrate", "--to", "env", "--apply", "--yes")
    assert "kept as .env.production.before-migration" in done.stdout
    kept = [path.read_text() for path in own.directory.glob(".env.production.before-migration*")]
    assert sorted(kept) == sorted(["an earlier one", before])
    text = own.compose_file.read_text()
    for line in OWN:
        assert line in text.splitlines()
    assert "APP_UID=1" in text
    assert "SECRETS_FILE_PATH" not in text
    assert "No secret belongs in here" not in text


def test_what_was_about_another_store_or_a_secret_is_not_carried_over(own: Project) -> None:
    with own.settings_file.open("a") as file:
        file.writelines(["\n", "VAULT_TOKEN=of-a-vault\n", "SMTP_PASSWORD_FILE=/run/smtp\n"])
    manage(own, "migrate", "--to", "env", "--apply", "--yes")
    text = own.compose_file.read_text()
    assert "of-a-vault" not in text
    assert "/run/smtp" not in text


def test_a_dotenv_store_beside_settings_of_another_says_what_to_do(own: Project) -> None:
    before = own.state()
    text = error_of(own.run("setup_secrets.py", "--non-interactive", "--backend", "env"))
    assert ".env.production names another store and comes first" in text
    assert "migrate --to env" in text
    assert own.state() == before


def test_a_new_master_key_of_a_migration_is_named(project: Project) -> None:
    project.set_up("--backend", "env")
    plan = manage(project, "migrate", "--to", "file").stdout
    assert "A new master key is written to ~/.config/cctv-face-detection/master.key" in plan
    assert not project.key_file.exists()
    done = manage(project, "migrate", "--to", "file", "--apply", "--yes")
    assert "Keep a copy of it away from this machine" in done.stdout


@pytest.fixture
def open_project() -> Iterator[Project]:
    """A deployment in a folder that every user may look into."""
    need_root()
    base = Path(tempfile.mkdtemp(prefix="open-"))
    base.chmod(0o755)
    try:
        (base / "project/config").mkdir(parents=True)
        (base / "home").mkdir()
        shutil.copy(Path(__file__).parents[2] / "config/catalog.toml", base / "project/config/catalog.toml")
        made = Project(base / "project", base / "home")
        made.set_up()
        yield made
    finally:
        shutil.rmtree(base)


def inspect_as_nobody(project: Project, monkeypatch: pytest.MonkeyPatch) -> Inspection:
    """What another user finds, who may not read everything."""
    for name, value in project.environ().items():
        monkeypatch.setenv(name, value)
    deployment = Deployment.locate(
        project_directory=str(project.directory),
        catalog=str(Path(__file__).parents[2] / "config/catalog.toml"),
    )
    os.seteuid(65534)
    try:
        return inspect_deployment(deployment)
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("closed", [".env.production", "config", "config/secrets.enc", "the key's folder"])
def test_a_file_of_another_user_is_no_first_run(
    closed: str, open_project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_project.settings_file.chmod(0o644)
    open_project.secrets_file.chmod(0o444)
    open_project.key_file.parent.chmod(0o755)
    path = open_project.key_file.parent if closed == "the key's folder" else open_project.directory / closed
    path.chmod(0o700)
    found = inspect_as_nobody(open_project, monkeypatch)
    assert found.state is State.FOREIGN
    assert "may not be read by this user (uid 65534)" in str(found.error)
    assert "belongs to uid 0" in str(found.error)


def test_a_closed_file_of_ones_own_is_opened_by_its_owner(
    open_project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = open_project.settings_file
    os.chown(path, 65534, 65534)
    path.chmod(0)
    found = inspect_as_nobody(open_project, monkeypatch)
    assert found.error is not None
    assert "though it is yours: the mode of" in str(found.error)
    assert f"chmod u+r '{path}'" in found.error.hint or f"chmod u+r {path}" in found.error.hint
