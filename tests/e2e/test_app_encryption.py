"""The key of the encrypted columns: canaries and re-encryption, in main.py with a real PostgreSQL."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from src.app.encryption import COLUMNS, LAST_LOGIN_ADDRESS, EncryptedColumn, Keys
from src.utils.secrets.snapshot import utc_now
from tests.conftest import PROJECT
from tests.servers.postgres import Postgres
from tests.support.app import App, running_app
from tests.support.forms import IN_FULL

ADDRESS = "127.0.0.1"
WRONG = "w" * 32
NEW = "n" * 32
ROWS = 10_000
KILLS = 20 if IN_FULL else 3


def set_key(value_files: dict[str, str], current: str, *earlier: str) -> None:
    """Give the app a value of ENCRYPTION_KEY, and the earlier values that are kept."""
    path = Path(value_files["ENCRYPTION_KEY_FILE"])
    path.write_text(current)
    entries = [{"value": value, "replaced_at": utc_now(), "valid_until": None} for value in earlier]
    path.with_name(f"{path.name}_previous.json").write_text(json.dumps(entries))


def log_in(app: App, values: dict[str, str]) -> int:
    return app.login(values["ADMIN_PASSWORD"]).status_code


def wait_for_login(app: App, values: dict[str, str]) -> None:
    app.wait_until(lambda: "account is ready" in app.log())
    assert log_in(app, values) == 200


def encryption(app: App) -> dict[str, str]:
    time.sleep(1.1)  # the answer is kept for a second
    state: dict[str, str] = app.client.get("/ready").json()["checks"]["encryption"]
    return state


def stored(postgres: Postgres) -> object:
    return postgres.execute("SELECT last_login_address FROM accounts WHERE username = 'admin'")[0][0]


def canaries(postgres: Postgres) -> list[str]:
    return [str(row[0]) for row in postgres.execute("SELECT token FROM encryption_canary")]


def begin(environ: dict[str, str], action: str, current: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "src.app.reencrypt", action],
        cwd=PROJECT,
        env={"SECRETS_BACKEND": "env"} | environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps({"current": current}))
    process.stdin.close()
    process.stdin = None
    return process


def reencrypt(environ: dict[str, str], action: str, current: str) -> dict[str, object]:
    process = begin(environ, action, current)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    result: dict[str, object] = json.loads(output)
    return result


def fill(postgres: Postgres, keys: Keys, count: int = ROWS) -> None:
    """Make accounts with encrypted addresses."""
    with (
        psycopg.connect(
            host=postgres.socket_directory, port=postgres.port, user="postgres", dbname="cctv"
        ) as connection,
        connection.cursor() as cursor,
        cursor.copy("COPY accounts (username, password_hash, last_login_address) FROM STDIN") as copy,
    ):
        for number in range(count):
            copy.write_row((f"user{number:05}", "none", keys.encrypt(LAST_LOGIN_ADDRESS, f"address {number}")))


def unreadable(postgres: Postgres, keys: Keys) -> int:
    rows = postgres.execute("SELECT last_login_address FROM accounts WHERE username LIKE 'user%'")
    return sum(row[0] is None or keys.decrypt(LAST_LOGIN_ADDRESS, str(row[0])) is None for row in rows)


@pytest.fixture
def environ(value_files: dict[str, str], database: dict[str, str]) -> dict[str, str]:
    return value_files | database


# --- Keys ------------------------------------------------------------------------------------------------------------


def test_a_value_of_one_column_does_not_open_in_another(monkeypatch: pytest.MonkeyPatch) -> None:
    other = EncryptedColumn("accounts", "username", "other")
    monkeypatch.setattr("src.app.encryption.COLUMNS", (*COLUMNS, other))
    keys = Keys(("k" * 32,))
    token = keys.encrypt(LAST_LOGIN_ADDRESS, ADDRESS)
    assert keys.decrypt(LAST_LOGIN_ADDRESS, token) == ADDRESS
    assert keys.decrypt(other, token) is None


def test_data_of_earlier_releases_opens() -> None:
    """Made by the code before the canaries."""
    key = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"column accounts.last_login_address").derive(b"k" * 32)
    token = Fernet(urlsafe_b64encode(key)).encrypt(ADDRESS.encode()).decode()
    assert Keys(("k" * 32,)).decrypt(LAST_LOGIN_ADDRESS, token) == ADDRESS


def test_a_column_that_is_not_in_the_list_cannot_be_encrypted() -> None:
    with pytest.raises(ValueError, match="not in COLUMNS"):
        Keys(("k" * 32,)).encrypt(EncryptedColumn("accounts", "username", "forgotten"), ADDRESS)


def test_keys_do_not_show_their_values() -> None:
    assert WRONG not in repr(Keys((WRONG,)))


# --- Canaries --------------------------------------------------------------------------------------------------------


def test_a_wrong_key_is_named_and_nothing_is_written_with_it(
    tmp_path: Path, environ: dict[str, str], values: dict[str, str], postgres: Postgres
) -> None:
    with running_app(environ, tmp_path) as app:
        wait_for_login(app, values)
        before = stored(postgres), canaries(postgres)
        assert encryption(app) == {"state": "ok"}
        set_key(environ, WRONG)
        state = encryption(app)
        assert state["state"] == "wrong key"
        assert "ENCRYPTION_KEY" in state["reason"]
        assert "--reencrypt --discard" in state["reason"]
        assert app.client.get("/ready").status_code == 503
        assert [log_in(app, values) for _ in range(3)] == [200] * 3
        assert app.client.get("/me").json()["last_login_address"] is None
        assert (stored(postgres), canaries(postgres)) == before
        assert app.log().count("The time and address of logins are not written") == 1
        assert WRONG not in app.log()
        set_key(environ, values["ENCRYPTION_KEY"])
        assert encryption(app) == {"state": "ok"}
        assert app.client.get("/me").json()["last_login_address"] == ADDRESS


def test_a_start_with_a_wrong_key_lets_the_administrator_in_and_ends_when_the_key_is_right(
    tmp_path: Path, environ: dict[str, str], values: dict[str, str], postgres: Postgres
) -> None:
    with running_app(environ, tmp_path) as app:
        wait_for_login(app, values)
    before = stored(postgres), canaries(postgres)
    set_key(environ, WRONG)
    with running_app(environ, tmp_path) as app:
        app.wait_until(lambda: "ENCRYPTION_KEY is wrong" in app.log())
        assert log_in(app, values) == 200
        assert encryption(app)["state"] == "wrong key"
        assert (stored(postgres), canaries(postgres)) == before
        set_key(environ, values["ENCRYPTION_KEY"])
        app.wait_until_ready()
        assert log_in(app, values) == 200
        assert stored(postgres) != before[0]


def test_data_from_before_the_canaries_decides_whether_the_key_is_right(
    tmp_path: Path, environ: dict[str, str], values: dict[str, str], postgres: Postgres
) -> None:
    with running_app(environ, tmp_path) as app:
        wait_for_login(app, values)
    before = stored(postgres)
    postgres.execute("DROP TABLE encryption_canary")
    set_key(environ, WRONG)
    with running_app(environ, tmp_path) as app:
        app.wait_until(lambda: "ENCRYPTION_KEY is wrong" in app.log())
        assert encryption(app)["state"] == "wrong key"
        assert canaries(postgres) == []
        app.login(values["ADMIN_PASSWORD"])
        assert stored(postgres) == before
    set_key(environ, values["ENCRYPTION_KEY"])
    with running_app(environ, tmp_path) as app:
        wait_for_login(app, values)
        assert len(canaries(postgres)) == 1
        assert stored(postgres) != before


def test_after_a_rotation_the_app_writes_with_the_new_key_and_needs_both(
    tmp_path: Path, environ: dict[str, str], values: dict[str, str], postgres: Postgres
) -> None:
    old = values["ENCRYPTION_KEY"]
    with running_app(environ, tmp_path) as app:
        wait_for_login(app, values)
        set_key(environ, NEW, old)
        assert encryption(app) == {"state": "ok"}
        assert app.client.get("/me").json()["last_login_address"] == ADDRESS
        assert log_in(app, values) == 200
        assert Keys((NEW,)).decrypt(LAST_LOGIN_ADDRESS, str(stored(postgres))) == ADDRESS
        for alone in (NEW, old):  # other rows may need the old one; this row needs the new one
            set_key(environ, alone)
            assert encryption(app)["state"] == "wrong key"


def test_a_write_waits_for_a_re_encryption_that_is_ending(
    tmp_path: Path, environ: dict[str, str], values: dict[str, str], postgres: Postgres
) -> None:
    with running_app(environ, tmp_path) as app:
        wait_for_login(app, values)
        before = stored(postgres)
        with (
            ThreadPoolExecutor(1) as threads,
            psycopg.connect(
                host=postgres.socket_directory, port=postgres.port, user="postgres", dbname="cctv"
            ) as connection,
        ):
            connection.execute("SELECT * FROM encryption_canary FOR UPDATE")
            login = threads.submit(log_in, app, values)
            time.sleep(1.5)
            assert not login.done()
            assert stored(postgres) == before
            connection.rollback()
            assert login.result(20) == 200
        assert stored(postgres) != before


# --- Re-encryption ---------------------------------------------------------------------------------------------------


def test_after_re_encryption_the_current_key_alone_opens_everything(
    tmp_path: Path, environ: dict[str, str], values: dict[str, str], postgres: Postgres
) -> None:
    old = values["ENCRYPTION_KEY"]
    with running_app(environ, tmp_path) as app:
        wait_for_login(app, values)
        fill(postgres, Keys((old,)), 1200)
        set_key(environ, NEW, old)
        assert reencrypt(environ, "count", NEW) == {
            "current": 0,
            "rewritten": 1201,
            "unreadable": 0,
            "discarded": 0,
            "is_proven": False,
        }
        done = reencrypt(environ, "run", NEW)
        assert (done["rewritten"], done["is_proven"]) == (1201, True)
        again = reencrypt(environ, "run", NEW)
        assert (again["current"], again["rewritten"], again["is_proven"]) == (1201, 0, True)
        set_key(environ, NEW)
        assert unreadable(postgres, Keys((NEW,))) == 0
        assert len(canaries(postgres)) == 1
        assert encryption(app) == {"state": "ok"}
        assert app.client.get("/me").json()["last_login_address"] == ADDRESS
        set_key(environ, old)
        assert encryption(app)["state"] == "wrong key"


def test_values_that_no_key_opens_stop_it_unless_they_are_to_be_discarded(
    tmp_path: Path, environ: dict[str, str], values: dict[str, str], postgres: Postgres
) -> None:
    old = values["ENCRYPTION_KEY"]
    with running_app(environ, tmp_path) as app:
        wait_for_login(app, values)
    fill(postgres, Keys((WRONG,)), 700)
    set_key(environ, NEW, old)
    done = reencrypt(environ, "run", NEW)
    assert (done["unreadable"], done["discarded"], done["is_proven"]) == (700, 0, False)
    assert unreadable(postgres, Keys((WRONG,))) == 0
    assert len(canaries(postgres)) == 2
    done = reencrypt(environ, "discard", NEW)
    assert (done["unreadable"], done["discarded"], done["is_proven"]) == (0, 700, True)
    assert postgres.execute("SELECT count(*) FROM accounts WHERE last_login_address IS NOT NULL") == [(1,)]
    assert len(canaries(postgres)) == 1


def test_a_lost_key_stops_it_unless_its_data_is_to_be_discarded(
    tmp_path: Path, environ: dict[str, str], values: dict[str, str], postgres: Postgres
) -> None:
    with running_app(environ, tmp_path) as app:
        wait_for_login(app, values)
        set_key(environ, NEW)
        before = stored(postgres)
        process = begin(environ, "run", NEW)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "ENCRYPTION_KEY is wrong" in errors
        assert NEW not in errors
        assert stored(postgres) == before
        assert reencrypt(environ, "discard", NEW)["discarded"] == 1
        assert encryption(app) == {"state": "ok"}
        assert log_in(app, values) == 200
        assert app.client.get("/me").json()["last_login_address"] == ADDRESS


def test_another_current_key_than_the_store_has_is_refused(
    environ: dict[str, str], values: dict[str, str], postgres: Postgres
) -> None:
    process = begin(environ, "run", NEW)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.strip() == "The application has another ENCRYPTION_KEY than the store"
    assert postgres.execute("SELECT to_regclass('encryption_canary')") == [(None,)]


def test_killed_at_any_time_it_leaves_every_row_readable(
    tmp_path: Path, environ: dict[str, str], values: dict[str, str], postgres: Postgres
) -> None:
    old = values["ENCRYPTION_KEY"]
    with running_app(environ, tmp_path) as app:
        wait_for_login(app, values)
        fill(postgres, Keys((old,)))
        set_key(environ, NEW, old)
        started = time.monotonic()
        assert reencrypt(environ, "count", NEW)["rewritten"] == ROWS + 1
        seconds = time.monotonic() - started
        both = Keys((NEW, old))
        chosen = random.Random()
        killed = 0
        for _ in range(KILLS):
            with begin(environ, "run", NEW) as process:
                # Between the start of the work and about its end.
                time.sleep(seconds * chosen.uniform(0.3, 1.2))
                process.send_signal(signal.SIGKILL)
                killed += process.wait(30) == -signal.SIGKILL
            assert unreadable(postgres, both) == 0
            # While data needs the earlier key, the app without it says so.
            if reencrypt(environ, "count", NEW)["rewritten"]:
                assert any(Keys((old,)).open(b"canary", token) for token in canaries(postgres))
        assert killed
        assert reencrypt(environ, "run", NEW)["is_proven"]
        assert unreadable(postgres, Keys((NEW,))) == 0
        set_key(environ, NEW)
        assert encryption(app) == {"state": "ok"}
