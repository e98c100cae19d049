"""The commands that a rotation runs in the application's container, here with real servers."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import redis

from src.app import credentials
from src.app.settings import AppSettings
from tests.conftest import PROJECT
from tests.servers.ports import free_port
from tests.servers.postgres import Postgres
from tests.servers.redis import running_redis
from tests.support.app import running_app

OLD, NEW = "old-'password'-\\", 'new-"password"-$HOME'


@pytest.fixture
def redis_port() -> Iterator[int]:
    with running_redis("old-password") as port:
        yield port


def run(action: str, passwords: list[str], environ: dict[str, str], **content: str) -> tuple[int, str]:
    kept = {name: value for name, value in os.environ.items() if name.startswith(("COVERAGE_", "PATH"))}
    done = subprocess.run(
        [sys.executable, "-m", "src.app.credentials", action],
        input=json.dumps({"passwords": passwords} | content),
        cwd=PROJECT,
        env=kept | environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert not any(password in done.stdout + done.stderr for password in passwords)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout.strip() or done.stderr.strip()


def database(postgres: Postgres) -> dict[str, str]:
    return {"DATABASE_HOST": "127.0.0.1", "DATABASE_PORT": str(postgres.port)}


def sign_in(postgres: Postgres, password: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(
        host="127.0.0.1", port=postgres.port, user="cctv", dbname="cctv", password=password, connect_timeout=5
    )


def accepts(postgres: Postgres, password: str) -> bool:
    try:
        sign_in(postgres, password).close()
    except psycopg.OperationalError as error:
        assert "password authentication failed" in str(error)  # noqa: PT017
        return False
    return True


def test_the_database_gets_the_first_password_from_any_current_one(postgres: Postgres) -> None:
    postgres.set_password(OLD)
    assert run("database", [NEW, "another", OLD], database(postgres)) == (0, "changed")
    assert accepts(postgres, NEW)
    assert not accepts(postgres, OLD)
    assert run("database", [NEW, OLD], database(postgres)) == (0, "unchanged")
    assert run("database-check", [NEW], database(postgres)) == (0, "accepted")


def test_sessions_from_before_end_with_the_earlier_password(postgres: Postgres) -> None:
    postgres.set_password(OLD)
    with sign_in(postgres, OLD) as idle, sign_in(postgres, OLD) as busy:
        idle.rollback()
        busy.execute("SELECT 1")  # in a transaction that nobody ends
        assert run("database", [NEW, OLD], database(postgres)) == (0, "changed")
        for connection in (idle, busy):
            with pytest.raises(psycopg.OperationalError, match="terminat"):
                connection.execute("SELECT 1")
    with sign_in(postgres, NEW) as later:
        later.rollback()
        assert run("database", [NEW, OLD], database(postgres)) == (0, "unchanged")
        with pytest.raises(psycopg.OperationalError, match="terminat"):
            later.execute("SELECT 1")


# What a server may ask for: https://www.postgresql.org/docs/current/protocol-message-formats.html
@pytest.mark.parametrize(
    "question",
    [
        pytest.param(struct.pack("!cII", b"R", 8, 3), id="the password as it is"),
        pytest.param(struct.pack("!cII4s", b"R", 12, 5, b"salt"), id="its MD5"),
        pytest.param(struct.pack("!cII", b"R", 8, 0), id="nothing"),
    ],
)
@pytest.mark.parametrize("action", ["database", "database-check", "the application"])
def test_a_false_database_gets_no_password(
    question: bytes, action: str, tmp_path: Path, values: dict[str, str]
) -> None:
    received = bytearray()

    def answer(connection: socket.socket) -> None:
        while part := connection.recv(65536):
            received.extend(part)
            is_about_tls = part[4:8] in (struct.pack("!I", 80877103), struct.pack("!I", 80877104))
            connection.sendall(b"N" if is_about_tls else question)

    with running_false_server(answer) as port:
        environ = {"DATABASE_HOST": "127.0.0.1", "DATABASE_PORT": str(port)}
        if action == "the application":
            with running_app(values | environ | {"DATABASE_PASSWORD": "x" * 40}, tmp_path) as app:
                app.wait_until(lambda: "does not ask for a proof by SCRAM" in app.log())
                assert app.get("/ready").status_code == 503
        else:
            code, text = run(action, [NEW, OLD], environ)
            assert code == 1
            assert "does not ask for a proof by SCRAM" in text
    assert b"cctv" in received
    known = [NEW, OLD, "x" * 40]
    hashes = [hashlib.md5(f"{each}cctv".encode()).hexdigest() for each in known]
    salted = [hashlib.md5(f"{each}salt".encode()).hexdigest() for each in hashes]
    assert not any(text.encode() in received for text in known + hashes + salted)


@contextmanager
def running_false_server(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), connection:
                answer(connection)

    with socket.create_server(("127.0.0.1", 0)) as server:
        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            serving.join(10)


def test_a_database_that_accepts_none_of_them_is_left_as_it_is(postgres: Postgres) -> None:
    postgres.set_password("that nobody knows")
    code, text = run("database", [NEW, OLD], database(postgres))
    assert (code, text) == (1, "PostgreSQL accepts none of the passwords that are known for cctv")
    assert run("database-check", [NEW], database(postgres))[0] == 1
    assert accepts(postgres, "that nobody knows")


def test_an_unreachable_server_is_reported() -> None:
    port = str(free_port())
    code, text = run("database", [NEW], {"DATABASE_HOST": "127.0.0.1", "DATABASE_PORT": port})
    assert (code, text.partition(":")[0]) == (1, "PostgreSQL cannot be reached")
    code, text = run("redis-check", [NEW], {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": port})
    assert (code, text) == (1, "Redis cannot be reached: ConnectionError")


def redis_accepts(port: int, password: str) -> bool:
    with redis.Redis(port=port, password=password) as client:
        try:
            return bool(client.ping())
        except redis.AuthenticationError:
            return False


def test_redis_accepts_both_passwords_and_then_the_new_one_alone(redis_port: int) -> None:
    environ = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(redis_port)}
    assert run("redis-only", ["new-password"], environ)[0] == 1  # the wrong order locks nobody out
    assert run("redis-accept", ["new-password", "old-password"], environ) == (0, "changed")
    assert run("redis-accept", ["new-password", "old-password"], environ) == (0, "unchanged")
    assert redis_accepts(redis_port, "old-password")
    assert run("redis-only", ["new-password"], environ) == (0, "changed")
    assert run("redis-check", ["new-password"], environ) == (0, "accepted")
    assert not redis_accepts(redis_port, "old-password")
    code, text = run("redis-check", ["old-password"], environ)
    assert (code, text) == (1, "Redis accepts none of the passwords that are known")


def test_the_administrator_logs_in_like_a_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {"SECRET_KEY": "k" * 64, "JWT_SECRET_KEY": "j" * 64, "ENCRYPTION_KEY": "e" * 32}
    secrets |= {"WEBHOOK_SECRET": "w" * 43, "ADMIN_USERNAME": "admin", "ADMIN_PASSWORD": NEW}
    secrets |= {"DATABASE_PASSWORD": "d" * 43, "REDIS_PASSWORD": "r" * 43}
    monkeypatch.setattr(credentials, "LOGIN_ATTEMPTS", 2)
    with running_app(secrets, tmp_path) as app:
        app.wait_until_ready()
        environ = {"APP_PORT": str(app.client.base_url.port)}
        assert run("login", [NEW], environ, username="admin") == (0, "accepted")
        with pytest.raises(credentials.CredentialsError, match=r"does not let admin in \(answer 401\)"):
            credentials.log_in(AppSettings.from_environment(environ), "admin", OLD)


def test_an_unknown_action_is_refused() -> None:
    assert run("drop", [NEW], {}) == (1, "That is not something this program does")
