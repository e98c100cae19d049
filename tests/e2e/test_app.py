"""main.py with a real PostgreSQL and a real Redis, over real sockets."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.conftest import PROJECT
from tests.servers.ports import free_port, wait_for_port
from tests.servers.postgres import Postgres
from tests.servers.redis import running_redis
from tests.support.app import running_app

# --- Development: neither database nor Redis -------------------------------------------------------------------------


def test_without_its_secrets_it_refuses_to_start_and_names_them(tmp_path: Path, values: dict[str, str]) -> None:
    del values["SECRET_KEY"], values["REDIS_PASSWORD"]
    with running_app(values | {"JWT_SECRET_KEY": ""}, tmp_path, wait=False) as app:
        assert app.process.wait(30) == 1
    assert "SECRET_KEY, JWT_SECRET_KEY, REDIS_PASSWORD not set in environment variables" in app.log()
    assert re.search(r"^hint: .*: make (-C \S+ )?secrets$", app.log(), re.MULTILINE)
    assert "Traceback" not in app.log()


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({"SECRETS_BACKEND": "aws", "AWS_CONFIG_FILE": os.devnull}, "error: AWS_REGION not set"),
        ({"SECRETS_BACKEND": "s3"}, "SECRETS_BACKEND is not a known store"),
        ({"DATABASE_PORT": "99999"}, "DATABASE_PORT is not a port"),
        ({"SECRETS_BACKEND": "file"}, "error: SECRETS_MASTER_KEY not set"),
    ],
)
def test_a_wrong_setting_stops_it_with_one_clear_error(
    environ: dict[str, str], text: str, tmp_path: Path, values: dict[str, str]
) -> None:
    with running_app(values | environ, tmp_path, wait=False) as app:
        assert app.process.wait(30) == 1
    assert text in app.log()
    assert "Traceback" not in app.log()


def test_in_development_it_runs_without_database_and_redis(tmp_path: Path, values: dict[str, str]) -> None:
    with running_app(values, tmp_path) as app:
        assert app.client.get("/health").json() == {"status": "alive"}
        ready = app.client.get("/ready")
        assert ready.status_code == 200
        checks = ready.json()["checks"]
        assert checks["database"] == checks["redis"] == {"state": "not configured"}
        assert checks["secrets"]["names"]["SECRET_KEY"] == "set"
        assert checks["secrets"]["names"]["TWILIO_SID"] == "not set"
        assert not any(value in ready.text for name, value in values.items() if name != "ADMIN_USERNAME")
        app.wait_until(lambda: app.login(values["ADMIN_PASSWORD"]).status_code == 200)
        token = app.login(values["ADMIN_PASSWORD"]).json()["access_token"]
        app.client.cookies.clear()
        me = app.client.get("/me", headers={"Authorization": f"Bearer {token}"})
        assert me.json()["username"] == "admin"
        assert me.json()["last_login_address"] == "127.0.0.1"
        assert app.stop() == 0


def test_a_developer_copies_the_example_fills_it_in_and_starts(tmp_path: Path, values: dict[str, str]) -> None:
    import shutil

    checkout = tmp_path / "checkout"
    for name in ("src", "config"):
        shutil.copytree(PROJECT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "main.py", checkout)
    text = (PROJECT / ".env.example").read_text()
    for name, value in values.items():
        text = text.replace(f"\n{name}=\n", f"\n{name}='{value}'\n")
    (checkout / ".env").write_text(text)
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    with subprocess.Popen(
        [sys.executable, "main.py"],
        cwd=checkout,
        env={"PATH": os.environ["PATH"], "APP_PORT": str(port)} | kept,
        stderr=subprocess.DEVNULL,
    ) as process:
        wait_for_port(port)
        assert httpx.get(f"http://127.0.0.1:{port}/ready").status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


# --- With database and Redis -----------------------------------------------------------------------------------------


def test_with_database_and_redis_everything_works(
    tmp_path: Path, value_files: dict[str, str], values: dict[str, str], database: dict[str, str], postgres: Postgres
) -> None:
    with (
        running_redis(values["REDIS_PASSWORD"]) as port,
        running_app(value_files | database | {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(port)}, tmp_path) as app,
    ):
        app.wait_until_ready()
        login = app.login(values["ADMIN_PASSWORD"])
        assert login.status_code == 200
        assert login.json()["expires_in"] == 3600
        assert "httponly" in login.headers["set-cookie"].lower()
        assert app.client.get("/me").json()["username"] == "admin"  # by the session cookie
        app.client.cookies.clear()
        assert app.client.get("/me").status_code == 401
        [row] = postgres.execute("SELECT password_hash, last_login_address FROM accounts")
        assert str(row[0]).startswith("$argon2id$")
        assert "127.0.0.1" not in str(row[1])
        assert app.stop() == 0
    assert not any(value in app.log() for name, value in values.items() if name != "ADMIN_USERNAME")


def test_only_the_right_password_logs_in(tmp_path: Path, values: dict[str, str], database: dict[str, str]) -> None:
    with running_app(values | database, tmp_path) as app:
        app.wait_until_ready()
        assert app.login("wrong").status_code == 401
        assert app.login(values["ADMIN_PASSWORD"], "nobody").status_code == 401
        for body in (
            "not json",
            "[]",
            '{"username": "admin"}',
            '{"username": 5, "password": "x"}',
            '"x"',
            "[" * 100_000,
        ):
            assert app.client.post("/login", content=body).status_code == 400
        assert app.client.post("/login", content=b"x" * (1024 * 1024 + 1)).status_code == 413


@pytest.mark.parametrize("with_redis", [False, True], ids=["in this process", "in Redis"])
def test_failed_logins_are_limited(
    with_redis: bool, tmp_path: Path, values: dict[str, str], postgres: Postgres
) -> None:
    with running_redis(values["REDIS_PASSWORD"]) as port:
        redis = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(port)} if with_redis else {}
        with running_app(values | redis, tmp_path) as app:
            app.wait_until(lambda: app.login(values["ADMIN_PASSWORD"]).status_code == 200)
            codes = [app.login("wrong").status_code for _ in range(12)]
            assert codes == [401] * 10 + [429] * 2
            blocked = app.login(values["ADMIN_PASSWORD"])
            assert blocked.status_code == 429
            assert blocked.headers["retry-after"] == "300"
            assert app.login("wrong", "other").status_code == 401


def test_previous_keys_are_accepted_in_their_grace_period_and_data_stays_readable(
    tmp_path: Path, value_files: dict[str, str], values: dict[str, str], database: dict[str, str]
) -> None:
    from src.utils.secrets.snapshot import utc_after, utc_now

    with running_app(value_files | database, tmp_path) as app:
        app.wait_until_ready()
        token = app.login(values["ADMIN_PASSWORD"]).json()["access_token"]
        cookie = app.client.cookies["session"]
        app.client.cookies.clear()
        by_token = {"Authorization": f"Bearer {token}"}
        for name, until in (("JWT_SECRET_KEY", utc_after(3)), ("SECRET_KEY", utc_after(3)), ("ENCRYPTION_KEY", None)):
            path = Path(value_files[f"{name}_FILE"])
            entry = {"value": values[name], "replaced_at": utc_now(), "valid_until": until}
            path.with_name(path.name + "_previous.json").write_text(json.dumps([entry]))
            path.write_text(values[name][::-1])
        assert app.client.get("/me", headers=by_token).json()["last_login_address"] == "127.0.0.1"
        assert app.get("/me", cookie=cookie).status_code == 200
        new = app.login(values["ADMIN_PASSWORD"]).json()["access_token"]
        app.client.cookies.clear()
        app.wait_until(lambda: app.client.get("/me", headers=by_token).status_code == 401)
        assert app.get("/me", cookie=cookie).status_code == 401
        assert app.client.get("/me", headers={"Authorization": f"Bearer {new}"}).status_code == 200


def test_a_wrong_database_password_is_explained_and_can_be_fixed(
    tmp_path: Path, values: dict[str, str], database: dict[str, str], postgres: Postgres
) -> None:
    postgres.set_password("the password the volume was first made with")
    with running_app(values | database, tmp_path) as app:
        app.wait_until(lambda: "refuses DATABASE_PASSWORD for the role cctv" in app.log())
        assert re.search(r": make (-C \S+ )?database-password", app.log())
        ready = app.client.get("/ready")
        assert ready.status_code == 503
        assert "keeps the password it was first made with" in ready.json()["checks"]["database"]["reason"]
        assert app.client.get("/health").status_code == 200
        assert app.login(values["ADMIN_PASSWORD"]).status_code == 503
        postgres.set_password(values["DATABASE_PASSWORD"])
        app.wait_until_ready()
        assert app.login(values["ADMIN_PASSWORD"]).status_code == 200
        assert app.log().count("refuses DATABASE_PASSWORD for the role cctv") == 2  # the start, and the login


def test_the_app_waits_for_a_database_that_starts_later(tmp_path: Path, values: dict[str, str]) -> None:
    port = str(free_port())
    with running_app(values | {"DATABASE_HOST": "127.0.0.1", "DATABASE_PORT": port}, tmp_path) as app:
        app.wait_until(lambda: "cannot be reached" in app.log())
        assert "cannot be reached" in app.client.get("/ready").json()["checks"]["database"]["reason"]
        assert app.stop() == 0


def test_a_database_without_the_right_to_make_a_table_is_explained(
    tmp_path: Path, values: dict[str, str], database: dict[str, str], postgres: Postgres
) -> None:
    postgres.execute("CREATE TABLE accounts (unexpected int)")
    try:
        with running_app(values | database, tmp_path) as app:
            app.wait_until(lambda: "PostgreSQL answers" in app.log())
            assert app.login(values["ADMIN_PASSWORD"]).status_code == 503
    finally:
        postgres.execute("DROP TABLE accounts")


def test_redis_with_another_password_or_none_at_all_is_explained(tmp_path: Path, values: dict[str, str]) -> None:
    with running_redis("another-password") as port:
        redis = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(port)}
        with running_app(values | redis, tmp_path) as app:
            ready = app.client.get("/ready")
            assert ready.status_code == 503
            assert "Redis refuses REDIS_PASSWORD" in ready.json()["checks"]["redis"]["reason"]
            app.wait_until(lambda: app.login(values["ADMIN_PASSWORD"]).status_code == 200)
            assert [app.login("wrong").status_code for _ in range(6)] == [401] * 5 + [429]
            assert "at most 5 in 5 minutes" in app.client.get("/ready").json()["checks"]["redis"]["logins"]
            assert "logins are limited in this process alone" in app.log()
    with running_app(values | {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(free_port())}, tmp_path) as app:
        assert "Redis cannot be reached" in app.client.get("/ready").json()["checks"]["redis"]["reason"]


def test_a_new_admin_password_works_after_sighup(
    tmp_path: Path, value_files: dict[str, str], values: dict[str, str], database: dict[str, str], postgres: Postgres
) -> None:
    with running_app(value_files | database, tmp_path) as app:
        app.wait_until_ready()
        assert app.login(values["ADMIN_PASSWORD"]).status_code == 200
        Path(value_files["ADMIN_PASSWORD_FILE"]).write_text("the new password")
        app.process.send_signal(signal.SIGHUP)
        app.wait_until(lambda: app.login("the new password").status_code == 200)
        assert app.login(values["ADMIN_PASSWORD"]).status_code == 401
        Path(value_files["ADMIN_USERNAME_FILE"]).write_text("boss")
        app.process.send_signal(signal.SIGHUP)
        app.wait_until(lambda: app.login("the new password", "boss").status_code == 200)
        assert postgres.execute("SELECT username FROM accounts") == [("boss",)]


def test_the_app_is_not_ready_if_secrets_can_no_longer_be_read(tmp_path: Path, value_files: dict[str, str]) -> None:
    with running_app(value_files, tmp_path) as app:
        app.wait_until_ready()
        Path(value_files["JWT_SECRET_KEY_FILE"]).unlink()
        app.wait_until(lambda: app.client.get("/ready").status_code == 503)
        ready = app.client.get("/ready")
        assert "JWT_SECRET_KEY_FILE points to" in ready.json()["checks"]["secrets"]["reason"]
        Path(value_files["JWT_SECRET_KEY_FILE"]).touch()
        app.wait_until(
            lambda: app.client.get("/ready").json()["checks"]["secrets"]["reason"] == "Not set: JWT_SECRET_KEY"
        )
        assert app.client.get("/health").status_code == 200


def test_the_app_reads_an_encrypted_file_and_reads_it_again_after_sighup(
    tmp_path: Path, values: dict[str, str]
) -> None:
    from cryptography.fernet import Fernet

    key = Fernet.generate_key()
    path = tmp_path / "secrets.enc"
    path.write_bytes(Fernet(key).encrypt(json.dumps(values).encode()))
    environ = {"SECRETS_BACKEND": "file", "SECRETS_FILE_PATH": str(path), "SECRETS_MASTER_KEY": key.decode()}
    with running_app(environ, tmp_path) as app:
        app.wait_until(lambda: app.login(values["ADMIN_PASSWORD"]).status_code == 200)
        path.write_bytes(b"garbage")
        app.process.send_signal(signal.SIGHUP)
        app.wait_until(lambda: "Secrets were not read again" in app.log())
        assert app.login(values["ADMIN_PASSWORD"]).status_code == 200
        path.write_bytes(Fernet(key).encrypt(json.dumps(values | {"ADMIN_PASSWORD": "the new one"}).encode()))
        app.process.send_signal(signal.SIGHUP)
        app.wait_until(lambda: app.login("the new one").status_code == 200)


def test_a_port_in_use_is_an_error(tmp_path: Path, values: dict[str, str]) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = {"APP_PORT": str(taken.getsockname()[1])}
        with running_app(values | port, tmp_path, wait=False) as app:
            assert app.process.wait(30) == 1
    assert "address already in use" in app.log().lower()


def test_the_healthcheck_tells_ready_from_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    from src.app import healthcheck

    class Answer(BaseHTTPRequestHandler):
        code = 200

        def do_GET(self) -> None:
            self.send_response(self.code)
            self.end_headers()
            self.wfile.write(b"names and states")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(healthcheck, "PORT", server.server_address[1])
        assert healthcheck.main() == 0
        Answer.code = 503
        assert healthcheck.main() == 1
        server.shutdown()
    assert healthcheck.main() == 1
