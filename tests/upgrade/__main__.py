"""Makes the deployments of a commit: ``python -m tests.upgrade COMMIT``, as root, with the servers of the tests.

They are made with another machine name and in a separate folder, because the audit trail contains both.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cryptography.fernet import Fernet

from tests.servers.aws import running_aws
from tests.servers.keyvault import running_keyvault
from tests.servers.ports import free_port
from tests.servers.postgres import running_postgres
from tests.servers.vault import running_vault
from tests.support.app import App
from tests.support.old_code import OldProject, unpack

from .deployment import BACKUP, BACKUP_KEY, FOLDER, KINDS, Server, environ_of, save

HOST = "server"
JOURNAL = """
import sys
from src.ops.deployment.deployment import Deployment
from src.ops.deployment.journal import Journal
Journal(Deployment.locate(project_directory=sys.argv[1]), "rotate").write(names=["WEBHOOK_SECRET"], revision="earlier")
"""


def main(commit: str) -> None:
    """Make one document for each store."""
    with ExitStack() as running:
        base = running.enter_context(_folder(Path("/srv/cctv")))
        code = unpack(commit, base / "code")
        servers: dict[str, Server] = {
            "aws": running.enter_context(running_aws()),
            "vault": running.enter_context(running_vault()),
            "azure": running.enter_context(running_keyvault(base)),
        }
        for kind in KINDS:
            project = OldProject(base / kind / "project", base / kind / "home", code)
            (project.directory / "config").mkdir(parents=True)
            project.home.mkdir()
            shutil.copy(code / "config/catalog.toml", project.directory / "config/catalog.toml")
            values = make(project, kind, environ_of(kind, servers.get(kind)))
            database = dump_of_database(values, code, base) if kind == "file" else None
            save(FOLDER / f"{commit}-{kind}.json", project, servers.get(kind), values=values, database=database)


@contextmanager
def _folder(path: Path) -> Iterator[Path]:
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path)


def make(project: OldProject, kind: str, environ: dict[str, str]) -> dict[str, str]:
    """Use a deployment for a while; returns its values."""

    def run(script: str, *arguments: str, given: str = "") -> str:
        done = project.run(script, *arguments, environ=environ, standard_input=given)
        assert done.returncode == 0, (arguments, done.stderr)
        return done.stdout

    (project.home / BACKUP_KEY).write_bytes(Fernet.generate_key())
    (project.home / BACKUP_KEY).chmod(0o600)
    password = "it's a $HOME # of \\ its own" if kind != "env" else "a $HOME # of its own"
    import_text = json.dumps({"SMTP_PASSWORD": password, "TWILIO_SID": "AC" + "0" * 32, "TWILIO_TOKEN": "t" * 32})
    run("setup_secrets.py", "--non-interactive", "--backend", kind, "--import", "-", given=import_text)
    run("manage_secrets.py", "backup", "--output", BACKUP, "--key-file", str(project.home / BACKUP_KEY))
    run("manage_secrets.py", "set", "SECRET_KEY", "--generate")
    run("manage_secrets.py", "rotate", "JWT_SECRET_KEY", "ENCRYPTION_KEY", "--yes")
    run("manage_secrets.py", "rotate", "ENCRYPTION_KEY", "--yes")
    if kind == "file":
        run("manage_secrets.py", "rotate-master-key", "--yes")
    run("generate_docker_secrets.sh")
    subprocess.run(
        [sys.executable, "-c", JOURNAL, str(project.directory)],
        env=project.environ() | {"PYTHONPATH": str(project.code)},
        check=True,
    )
    values: dict[str, str] = json.loads(run("manage_secrets.py", "export", "--format", "json"))
    return values


def dump_of_database(values: dict[str, str], code: Path, folder: Path) -> str:
    """Return the application's database after a login, as pg_dump writes it."""
    with running_postgres() as server:
        server.set_password(values["DATABASE_PASSWORD"])
        environ = values | {"DATABASE_HOST": "127.0.0.1", "DATABASE_PORT": str(server.port)}
        port, log = free_port(), folder / "app.log"
        base = {"PATH": os.environ["PATH"], "HOME": str(folder), "APP_PORT": str(port), "SECRETS_BACKEND": "env"}
        with (
            log.open("wb") as output,
            subprocess.Popen(
                [sys.executable, code / "main.py"], env=base | environ, stdout=output, stderr=output, cwd=folder
            ) as process,
        ):
            app = App(process, port, log)
            try:
                app.wait_until(lambda: _logs_in(app, values["ADMIN_PASSWORD"]))
            finally:
                app.client.close()
                process.terminate()
        command = ["pg_dump", "-h", server.socket_directory, "-p", str(server.port), "-U", "postgres"]
        done = subprocess.run([*command, "--no-owner", "cctv"], check=True, capture_output=True, text=True)
        # Lines that differ between runs, or that only a newer psql understands.
        kept = [line for line in done.stdout.splitlines() if not line.startswith(("--", "\\restrict", "\\unrestrict"))]
        return "\n".join(line for line in kept if line) + "\n"


def _logs_in(app: App, password: str) -> bool:
    import httpx

    try:
        return app.login(password).status_code == 200
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    if socket.gethostname() != HOST:
        again = [
            "unshare",
            "--uts",
            "sh",
            "-c",
            f'hostname {HOST} && exec "$@"',
            "sh",
            sys.executable,
            "-m",
            "tests.upgrade",
        ]
        os.execvp(again[0], [*again, sys.argv[1]])
    main(sys.argv[1])
