"""Deployments of earlier code: the current code works with them, and the earlier code with the current code's files."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PROJECT, Project, need_program
from tests.servers.postgres import running_postgres
from tests.support.app import running_app
from tests.support.old_code import OldProject, unpack

from .deployment import BACKUP, BACKUP_KEY, FOLDER, KINDS, Server, environ_of, restore, wait_for_a_new_second

COMMITS = ("375f724",)
SERVERS = {"aws": "aws", "vault": "vault", "azure": "keyvault"}


@dataclass(frozen=True)
class Deployed:
    """A deployment as earlier code left it.

    Attributes:
        kind: Its store.
        project: Its folders; commands run the current code.
        old: The same folders; commands run the code that made it.
        environ: The variables of its machine.
        values: Its secrets when it was made.
    """

    kind: str
    project: Project
    old: OldProject
    environ: dict[str, str]
    values: dict[str, str]

    def run(self, script: str, *arguments: str, code: int = 0, given: str = "") -> str:
        done = self.project.run(script, *arguments, environ=self.environ, standard_input=given)
        assert done.returncode == code, (done.stdout, done.stderr)
        return done.stdout

    def run_old(self, script: str, *arguments: str, given: str = "") -> str:
        catalog = self.project.directory / "config/catalog.toml"
        shutil.copy(self.old.code / "config/catalog.toml", catalog)  # each commit brings its own
        done = self.old.run(script, *arguments, environ=self.environ, standard_input=given)
        shutil.copy(PROJECT / "config/catalog.toml", catalog)
        assert done.returncode == 0, (done.stdout, done.stderr)
        return done.stdout

    def present(self) -> dict[str, str]:
        values: dict[str, str] = json.loads(self.run("manage_secrets.py", "export", "--format", "json"))
        return values


@pytest.fixture(scope="session", params=COMMITS)
def code(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A commit, and its code."""
    return request.param, unpack(request.param, tmp_path_factory.mktemp("code"))


@pytest.fixture(params=KINDS)
def deployed(request: pytest.FixtureRequest, code: tuple[str, Path], project: Project) -> Deployed:
    """A deployment of each kind."""
    commit, folder = code
    server: Server | None = request.getfixturevalue(SERVERS[request.param]) if request.param in SERVERS else None
    document = read(commit, request.param)
    restore(document, project, server)
    old = OldProject(project.directory, project.home, folder)
    return Deployed(request.param, project, old, environ_of(request.param, server), document["values"])


def read(commit: str, kind: str) -> Any:
    return json.loads((FOLDER / f"{commit}-{kind}.json").read_text())


def test_the_current_code_reads_everything(deployed: Deployed) -> None:
    assert deployed.present() == deployed.values
    status = json.loads(deployed.run("manage_secrets.py", "status", "--json"))
    assert all(row["state"] == "set" for row in status["secrets"])
    if deployed.kind != "env":
        assert all(row["updated_at"] for row in status["secrets"])
        history = json.loads(deployed.run("manage_secrets.py", "history", "ENCRYPTION_KEY", "--json"))
        assert len(history["versions"]) == 3
    assert "Each line follows" in deployed.run("manage_secrets.py", "status", "--audit")
    before = deployed.project.state()
    deployed.run("setup_secrets.py", "--non-interactive")
    changed = {path for path, state in deployed.project.state().items() if before.get(path) != state}
    allowed = ["config/SETUP.md"]
    if deployed.kind in SERVERS:
        allowed.append(".env.production")  # the address of the server differs between runs
    assert changed <= {str(deployed.project.directory / name) for name in allowed}


def test_the_current_code_continues_an_earlier_deployment(deployed: Deployed) -> None:
    wait_for_a_new_second()
    finished = deployed.run("manage_secrets.py", "rotate", "--yes")
    assert "WEBHOOK_SECRET" in finished
    deployed.run("manage_secrets.py", "rotate", "SECRET_KEY", "--yes")
    deployed.run("manage_secrets.py", "set", "SMTP_PASSWORD", given="another one\n")
    deployed.run("generate_docker_secrets.sh")
    deployed.run("generate_docker_secrets.sh", "--check")
    present = deployed.present()
    changed = {name for name, value in present.items() if value != deployed.values[name]}
    assert changed == {"SECRET_KEY", "SMTP_PASSWORD"}
    if deployed.kind != "env":
        deployed.run("manage_secrets.py", "rollback", "SECRET_KEY", "--yes")
        assert deployed.present()["SECRET_KEY"] == deployed.values["SECRET_KEY"]


def test_a_backup_of_the_earlier_code_is_restored(deployed: Deployed) -> None:
    key = str(deployed.project.home / BACKUP_KEY)
    deployed.run("manage_secrets.py", "set", "SMTP_PASSWORD", given="another one\n")
    deployed.run("manage_secrets.py", "restore", BACKUP, "--key-file", key, "--yes")
    present = deployed.present()
    unchanged = {"SMTP_PASSWORD", "DATABASE_PASSWORD", "ADMIN_PASSWORD", "TWILIO_SID", "TWILIO_TOKEN"}
    assert {name: present[name] for name in unchanged} == {name: deployed.values[name] for name in unchanged}
    assert present["SECRET_KEY"] != deployed.values["SECRET_KEY"]  # it was changed after the backup


def test_the_earlier_code_continues_after_the_current_code(deployed: Deployed) -> None:
    wait_for_a_new_second()
    deployed.run("manage_secrets.py", "rotate", "--yes")
    deployed.run("manage_secrets.py", "rotate", "SECRET_KEY", "--yes")
    deployed.run("generate_docker_secrets.sh")
    backup, key = deployed.project.directory / "new.backup", str(deployed.project.home / BACKUP_KEY)
    deployed.run("manage_secrets.py", "backup", "--output", str(backup), "--key-file", key)
    present = deployed.present()
    assert json.loads(deployed.run_old("manage_secrets.py", "export", "--format", "json")) == present
    deployed.run_old("manage_secrets.py", "status")
    deployed.run_old("generate_docker_secrets.sh", "--check")
    deployed.run_old("manage_secrets.py", "set", "SMTP_PASSWORD", given="by the earlier code\n")
    assert deployed.present() == present | {"SMTP_PASSWORD": "by the earlier code"}
    deployed.run_old("manage_secrets.py", "restore", str(backup), "--key-file", key, "--yes")
    assert deployed.present() == present


@pytest.fixture
def database(code: tuple[str, Path]) -> Iterator[tuple[dict[str, str], int]]:
    """The values of the deployment with the file, and the port of its database."""
    document = read(code[0], "file")
    psql = need_program("psql", "postgresql-client")
    with running_postgres() as server:
        command = [psql, "-q", "-v", "ON_ERROR_STOP=1", "-h", server.socket_directory, "-p", str(server.port)]
        done = subprocess.run(
            [*command, "-U", "postgres", "cctv"],
            input=document["database"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        server.execute("ALTER TABLE accounts OWNER TO cctv")
        server.set_password(document["values"]["DATABASE_PASSWORD"])
        yield document["values"], server.port


def test_the_application_opens_the_database_of_the_earlier_one(
    database: tuple[dict[str, str], int], tmp_path: Path
) -> None:
    values, port = database
    environ = values | {"DATABASE_HOST": "127.0.0.1", "DATABASE_PORT": str(port)}
    with running_app(environ, tmp_path) as app:
        app.wait_until(lambda: app.login(values["ADMIN_PASSWORD"]).status_code == 200)
        me = app.client.get("/me").json()
        assert me["username"] == "admin"
        assert me["last_login_address"] == "127.0.0.1"


def test_every_store_has_a_deployment_of_every_commit() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == {f"{commit}-{kind}" for commit in COMMITS for kind in KINDS}


def test_no_folder_of_the_machine_that_made_them_is_in_them() -> None:
    import base64

    for path in FOLDER.glob("*.json"):
        for entry in json.loads(path.read_text())["files"]:
            assert not re.search(rb"/(tmp|home|root)/", base64.b64decode(entry["data"])), entry["path"]
