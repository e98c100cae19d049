"""A real PostgreSQL server for a test run."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from tests.conftest import need

from .ports import free_port

START_SECONDS = 60


@dataclass(frozen=True)
class Postgres:
    """The server's addresses, and access as its superuser."""

    port: int
    socket_directory: str

    def execute(self, statement: str, *parameters: object) -> list[tuple[object, ...]]:
        """Run one statement as the superuser; returns its rows."""
        with psycopg.connect(
            host=self.socket_directory, port=self.port, user="postgres", dbname="cctv", autocommit=True
        ) as connection:
            cursor = connection.execute(statement, parameters or None)
            return list(cursor.fetchall()) if cursor.description else []

    def set_password(self, password: str) -> None:
        """Set the password of the application's role."""
        from psycopg import sql

        with psycopg.connect(
            host=self.socket_directory, port=self.port, user="postgres", dbname="cctv", autocommit=True
        ) as connection:
            connection.execute(sql.SQL("ALTER ROLE cctv PASSWORD {}").format(sql.Literal(password)))


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Start a server with the database and role ``cctv``, and stop it at the end by its process id."""
    binaries = next(iter(sorted(glob.glob("/usr/lib/postgresql/*/bin"))), os.path.dirname(shutil.which("initdb") or ""))
    need("PostgreSQL's server", bool(binaries), "apt-get install postgresql")
    folder = tempfile.mkdtemp(prefix="postgres-")
    data = os.path.join(folder, "data")
    become: list[str] = []
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
        become = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--"]
    subprocess.run(
        [
            *become,
            f"{binaries}/initdb",
            "-D",
            data,
            "-U",
            "postgres",
            "--encoding=UTF8",
            "--no-locale",
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
        ],
        check=True,
        capture_output=True,
        cwd="/",
    )
    port = free_port()
    options = ["-p", str(port), "-k", folder, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
    server = subprocess.Popen(
        [*become, f"{binaries}/postgres", "-D", data, *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
    )
    try:
        postgres = Postgres(port, folder)
        with _first_connection(folder, port, server) as connection:
            connection.execute("CREATE ROLE cctv LOGIN")
            connection.execute("CREATE DATABASE cctv OWNER cctv")
        yield postgres
    finally:
        server.terminate()
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _first_connection(
    folder: str, port: int, server: subprocess.Popen[bytes]
) -> psycopg.Connection[tuple[object, ...]]:
    """Wait until it accepts logins; shortly after it opens its port it still refuses them."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return psycopg.connect(host=folder, port=port, user="postgres", dbname="postgres", autocommit=True)
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
