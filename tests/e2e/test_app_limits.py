"""How often, how much and how slowly strangers may ask."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import json
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis

from src.app.accounts import DatabaseAccounts
from src.app.cache import Cache
from src.app.database import Database
from src.app.limits import LoginLimiter
from src.app.passwords import Passwords
from src.app.settings import AppSettings
from src.utils.secrets import SecretsManager
from src.utils.secrets.settings import Settings
from tests.conftest import PROJECT
from tests.servers.postgres import Postgres
from tests.servers.redis import end_redis, running_redis
from tests.support.app import App, running_app

TRUSTED = {"APP_TRUSTED_PROXIES": "127.0.0.1, ::1"}


def guess(app: App, password: str = "wrong", username: str = "admin", address: str = "203.0.113.1") -> httpx.Response:
    """A login that a trusted proxy hands on."""
    return httpx.post(
        app.client.base_url.join("/login"),
        json={"username": username, "password": password},
        headers={"X-Forwarded-For": address},
        timeout=60,
    )


def guesses(app: App, count: int, **options: str) -> Counter[int]:
    """Many at once."""
    with concurrent.futures.ThreadPoolExecutor(count) as threads:
        return Counter(answer.status_code for answer in threads.map(lambda _: guess(app, **options), range(count)))


@pytest.fixture
def app_with_redis(tmp_path: Path, values: dict[str, str]) -> Iterator[tuple[App, int]]:
    with running_redis(values["REDIS_PASSWORD"]) as port:
        environ = values | TRUSTED | {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(port)}
        with running_app(environ, tmp_path) as app:
            app.wait_until_ready()
            app.wait_until(lambda: "account is ready" in app.log())
            yield app, port


# --- Guesses ---------------------------------------------------------------------------------------------------------


def test_many_logins_at_once_are_counted_before_any_of_them_is_looked_at(
    app_with_redis: tuple[App, int], values: dict[str, str]
) -> None:
    app, _ = app_with_redis
    seen = guesses(app, 120)
    assert seen[401] <= 10
    assert set(seen) <= {401, 429, 503}
    assert seen[429] > 0
    rest = [guess(app, "wrong").status_code for _ in range(10 - seen[401])]
    assert rest == [401] * len(rest)
    assert guess(app, values["ADMIN_PASSWORD"]).status_code == 429  # also the right one, from there
    assert guess(app, values["ADMIN_PASSWORD"], address="203.0.113.2").status_code == 200


def test_the_limit_is_of_a_name_and_an_address(app_with_redis: tuple[App, int]) -> None:
    app, _ = app_with_redis
    for address, username in (("203.0.113.1", "admin"), ("203.0.113.2", "admin"), ("203.0.113.1", "root")):
        codes = [guess(app, username=username, address=address).status_code for _ in range(11)]
        assert codes == [401] * 10 + [429], (address, username)


def test_who_finds_no_place_has_not_guessed(app_with_redis: tuple[App, int]) -> None:
    app, _ = app_with_redis
    seen = guesses(app, 60, username="somebody")
    assert seen[429] > 0
    codes = [guess(app).status_code for _ in range(11)]
    assert codes == [401] * 10 + [429]


def test_addresses_of_one_ipv6_network_count_as_one(app_with_redis: tuple[App, int]) -> None:
    app, _ = app_with_redis
    codes = [guess(app, address=f"2001:db8:1:1::{number:x}").status_code for number in range(1, 12)]
    assert codes == [401] * 10 + [429]
    assert guess(app, address="2001:db8:1:2::1").status_code == 401
    assert guess(app, address="[2001:db8:1:1::77]:4711").status_code == 429
    assert guess(app, address="::ffff:203.0.113.1").status_code == 401


def test_what_is_counted_is_forgotten_after_five_minutes(
    app_with_redis: tuple[App, int], values: dict[str, str]
) -> None:
    app, port = app_with_redis
    for number in range(12):
        guess(app, address=f"203.0.113.{number}")
    with redis.Redis(port=port, password=values["REDIS_PASSWORD"]) as client:
        keys = client.keys("*")
        assert len(keys) == 13
        for key in keys:
            assert 0 < client.ttl(key) <= 300
            assert b"admin" not in key
            assert b"203.0.113" not in key


def test_right_logins_are_no_guesses(app_with_redis: tuple[App, int], values: dict[str, str]) -> None:
    app, _ = app_with_redis
    began = time.monotonic()
    assert {guess(app, values["ADMIN_PASSWORD"]).status_code for _ in range(25)} == {200}
    assert time.monotonic() - began < 15


def test_a_name_that_many_addresses_guess_is_slowed_down_and_never_locked_out(
    app_with_redis: tuple[App, int], values: dict[str, str]
) -> None:
    app, _ = app_with_redis

    def seconds(password: str, address: str) -> tuple[int, float]:
        began = time.monotonic()
        return guess(app, password, address=address).status_code, time.monotonic() - began

    took = [seconds("wrong", f"203.0.113.{number}") for number in range(18)]
    assert {code for code, _ in took} == {401}
    assert took[0][1] < 2
    assert took[-1][1] > 4.5
    code, right = seconds(values["ADMIN_PASSWORD"], "198.51.100.7")
    assert code == 200
    assert right < 8
    assert seconds("wrong", "203.0.113.50")[1] < 8
    began = time.monotonic()
    guess(app, username="somebody", address="198.51.100.7")
    assert time.monotonic() - began < 2


def test_without_redis_fewer_guesses_are_allowed_and_the_log_says_so(
    app_with_redis: tuple[App, int], values: dict[str, str]
) -> None:
    app, port = app_with_redis
    codes = [guess(app).status_code for _ in range(3)]
    end_redis(port, values["REDIS_PASSWORD"])
    codes += [guess(app).status_code for _ in range(4)]
    assert codes == [401] * 5 + [429] * 2  # those before count
    assert [guess(app, address="203.0.113.9").status_code for _ in range(6)] == [401] * 5 + [429]
    assert app.log().count("logins are limited in this process alone") == 1
    app.wait_until(lambda: app.client.get("/ready").status_code == 503)
    with running_redis(values["REDIS_PASSWORD"], port):
        time.sleep(2.5)
        assert guess(app, address="203.0.113.9").status_code == 401
        assert "Redis answers again" in app.log()


def test_names_that_cannot_be_kept_are_refused(
    tmp_path: Path, values: dict[str, str], database: dict[str, str]
) -> None:
    with running_app(values | database, tmp_path) as app:
        app.wait_until_ready()
        for name in ("a\0b", "\ud800", "x" * 1025, "", 5, None, ["admin"]):
            for username, password in ((name, "x"), ("admin", name)):
                answer = app.client.post("/login", content=json.dumps({"username": username, "password": password}))
                assert answer.status_code == 400, name
        assert app.client.post("/login", json={"username": "x" * 1024, "password": "y" * 1024}).status_code == 401
        assert "Traceback" not in app.log()


# --- Who asks --------------------------------------------------------------------------------------------------------


def test_forwarded_headers_of_strangers_are_ignored_and_named_once(tmp_path: Path, values: dict[str, str]) -> None:
    with running_app(values, tmp_path) as app:
        app.wait_until(lambda: "account is ready" in app.log())
        codes = [guess(app, address=f"203.0.113.{number}").status_code for number in range(11)]
        assert codes == [401] * 10 + [429]
        assert app.log().count("APP_TRUSTED_PROXIES=127.0.0.1") == 1
        assert "203.0.113" not in app.log()


def test_the_address_is_the_last_that_a_trusted_proxy_has_seen(tmp_path: Path, values: dict[str, str]) -> None:
    with running_app(values | {"APP_TRUSTED_PROXIES": "127.0.0.0/8,10.0.0.0/8"}, tmp_path) as app:
        app.wait_until(lambda: "account is ready" in app.log())
        for forwarded, address in (
            ("198.51.100.1", "198.51.100.1"),
            ("1.2.3.4, 198.51.100.2", "198.51.100.2"),
            ("1.2.3.4, 198.51.100.3, 10.0.0.5", "198.51.100.3"),
            ("198.51.100.4:4711", "198.51.100.4"),
            ("garbage", "127.0.0.1"),
            ("198.51.100.5, garbage", "127.0.0.1"),
            ("198.51.100.6, garbage, 10.0.0.5", "10.0.0.5"),
        ):
            login = guess(app, values["ADMIN_PASSWORD"], address=forwarded)
            token = login.json()["access_token"]
            me = app.get("/me", Authorization=f"Bearer {token}").json()
            assert me["last_login_address"] == address, forwarded


@pytest.mark.parametrize("text", ["proxy", "1.2.3.4.5", "0.0.0.0/0", "::/0", "10.0.0.1;10.0.0.2"])
def test_proxies_that_are_no_addresses_or_everybody_stop_the_start(
    text: str, tmp_path: Path, values: dict[str, str]
) -> None:
    with running_app(values | {"APP_TRUSTED_PROXIES": text}, tmp_path, wait=False) as app:
        assert app.process.wait(30) == 1
        assert "error: APP_TRUSTED_PROXIES" in app.log()
        assert f"APP_TRUSTED_PROXIES {text}" not in app.log()


def test_strangers_hear_only_whether_it_is_ready(
    tmp_path: Path, values: dict[str, str], database: dict[str, str], postgres: Postgres
) -> None:
    with running_app(values | database, tmp_path) as app:
        app.wait_until_ready()
        assert set(app.get("/ready").json()) == {"status", "checks"}
        token = app.login(values["ADMIN_PASSWORD"]).json()["access_token"]
        app.client.cookies.clear()
        for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via", "X-Forwarded-Proto", "CF-Connecting-IP"):
            stranger = app.get("/ready", **{name: "203.0.113.1"})
            assert stranger.json() == {"status": "ready"}, name
        assert app.get("/ready", Host="a-page-of-strangers.example").json() == {"status": "ready"}
        signed_in = app.get("/ready", **{"X-Forwarded-For": "203.0.113.1", "Authorization": f"Bearer {token}"})
        assert signed_in.json()["checks"]["database"] == {"state": "ok"}
        postgres.set_password("another")
        app.wait_until(lambda: app.get("/ready").status_code == 503)
        assert app.get("/ready", **{"X-Real-IP": "203.0.113.1"}).json() == {"status": "not ready"}


# --- What they send --------------------------------------------------------------------------------------------------


def connect(app: App) -> socket.socket:
    return socket.create_connection(("127.0.0.1", app.client.base_url.port or 0), timeout=60)


def answer_to(app: App, text: bytes) -> bytes:
    """All that comes back until the server closes."""
    with connect(app) as connection:
        connection.sendall(text)
        received = b""
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(65536):
                received += part
        return received


def test_large_heads_are_refused(tmp_path: Path, values: dict[str, str]) -> None:
    line = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    with running_app(values, tmp_path) as app:
        assert b" 200 " in answer_to(app, line + b"X-Filler: " + b"x" * 10_000 + b"\r\n\r\n")
        assert b" 200 " in answer_to(app, line + b"A: b\r\n" * 90 + b"\r\n")
        assert b" 200 " in answer_to(app, line.replace(b"\r\n", b"\n") + b"\n")
        for head in (
            line + b"X-Filler: " + b"x" * 17_000 + b"\r\n\r\n",
            line + b"A: b\r\n" * 110 + b"\r\n",
            line + b"A:\n" * 110 + b"\n",
            b"GET /" + b"x" * 17_000,
        ):
            assert b" 431 " in answer_to(app, head), head[:60]
        assert answer_to(app, line + b"X-Filler: " + b"x" * 200_000)[:12] in (b"HTTP/1.1 431", b"")


def test_bodies_in_chunks_are_refused(tmp_path: Path, values: dict[str, str]) -> None:
    """Chunks of a byte cost the server a hundred times what they cost the sender."""
    with running_app(values, tmp_path) as app:
        for name in (b"Transfer-Encoding", b"transfer-encoding", b"TRANSFER-ENCODING"):
            for value in (b"chunked", b"gzip, chunked", b""):
                head = b"POST /webhook HTTP/1.1\r\nHost: x\r\n" + name + b": " + value + b"\r\n\r\n"
                assert b" 411 " in answer_to(app, head + b"1\r\nx\r\n" * 1000), head
        assert app.get("/health", **{"X-Transfer-Encoding": "chunked"}).status_code == 200


def test_an_answer_that_comes_early_reaches_a_client_that_is_still_sending(
    tmp_path: Path, values: dict[str, str]
) -> None:
    body = b"x" * (1024 * 1024)
    head = b"POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    with running_app(values, tmp_path) as app:
        for path, status in ((b"/webhook", b"401"), (b"/login", b"413"), (b"/nothing", b"404"), (b"/health", b"405")):
            with connect(app) as connection:
                connection.sendall(head % (path, len(body)))
                time.sleep(0.3)
                connection.sendall(body)
                assert connection.recv(65536).split()[1] == status, path


def test_one_request_at_a_time_is_answered(tmp_path: Path, values: dict[str, str]) -> None:
    get = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    post = b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"
    with running_app(values, tmp_path) as app:
        for requests in (get * 3, post + b"body" + get, post + b"body+", get + b"garbage"):
            assert answer_to(app, requests).count(b"HTTP/1.1 ") == 1, requests
        with connect(app) as connection:
            for part in (get[:5], get[5:], get, post[:-1], post[-1:] + b"bo", b"dy", get):
                connection.sendall(part)
                if not part.endswith((b"\r\n\r\n", b"dy")):
                    time.sleep(0.1)
                    continue
                answer = b""
                while not answer.endswith(b"}"):
                    answer += connection.recv(65536)
                assert answer.count(b"HTTP/1.1 ") == 1


def test_bad_requests_end_with_an_answer_and_without_a_traceback(tmp_path: Path, values: dict[str, str]) -> None:
    chunked = b"POST /login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with running_app(values, tmp_path) as app:
        for text in (
            b"nonsense\r\n\r\n",
            chunked + b"zz\r\n",
            chunked + b"5\r\nab\r\n" * 3,
            b"POST /webhook HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
            b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nnonsense\r\n\r\n",
            b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        ):
            assert re.match(rb"HTTP/1.1 (200|400|411) ", answer_to(app, text)), text
        with connect(app) as connection:
            connection.sendall(b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
        assert app.get("/health").status_code == 200
        assert "Traceback" not in app.log()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (b"", 10),
        (b"GET /health HTTP/1.1\r\nHost: x\r\n", 10),
        (b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf", 15),
    ],
    ids=["nothing", "half a head", "half a body"],
)
def test_whatever_does_not_arrive_in_time_is_ended(
    text: bytes, seconds: float, tmp_path: Path, values: dict[str, str]
) -> None:
    with running_app(values, tmp_path) as app:
        began = time.monotonic()
        answer = answer_to(app, text)
        assert seconds - 1 < time.monotonic() - began < seconds + 5
        assert b" 408 " in answer or seconds == 10


def test_a_byte_now_and_then_prolongs_nothing(tmp_path: Path, values: dict[str, str]) -> None:
    with running_app(values, tmp_path) as app, connect(app) as connection:
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            for byte in b"GET /health HTTP/1.1\r\nX-Slow: " + b"x" * 60:
                connection.sendall(bytes([byte]))
                time.sleep(0.5)
        assert time.monotonic() - began < 15


def test_the_newest_connection_gets_a_place(tmp_path: Path, values: dict[str, str]) -> None:
    with running_app(values, tmp_path) as app, contextlib.ExitStack() as opened:
        for _ in range(600):
            opened.enter_context(connect(app)).sendall(b"GET /health HTTP/1.1\r\n")
        for path in ("/health", "/ready"):
            assert app.get(path).elapsed.total_seconds() < 2


def test_many_requests_at_once_on_each_connection_keep_nobody_out(tmp_path: Path, values: dict[str, str]) -> None:
    """HTTP allows many requests without waiting for answers."""
    requests = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 2000
    with running_app(values, tmp_path) as app, contextlib.ExitStack() as opened:
        for _ in range(520):
            connection = opened.enter_context(connect(app))
            connection.setblocking(False)
            with contextlib.suppress(BlockingIOError, ConnectionError):
                connection.send(requests)
        slowest = 0.0
        for _ in range(10):
            answer = httpx.get(app.client.base_url.join("/health"), timeout=10)
            slowest = max(slowest, answer.elapsed.total_seconds())
        assert slowest < 5


def test_requests_of_strangers_cannot_fill_the_log(tmp_path: Path, values: dict[str, str]) -> None:
    with running_app(values, tmp_path) as app, httpx.Client(base_url=app.client.base_url) as client:
        for number in range(1000):
            client.get(f"/{number}")
        lines = app.log().splitlines()
        assert len(lines) < 250
        app.process.send_signal(1)
        app.wait_until(lambda: "Secrets were read again" in app.log())
        time.sleep(1)
        client.get("/last")
        assert re.search(r"/last.*\d+ more lines were left out", app.log())


# --- The database ----------------------------------------------------------------------------------------------------


def test_many_who_ask_at_once_share_one_look_and_few_connections(
    tmp_path: Path, values: dict[str, str], database: dict[str, str], postgres: Postgres
) -> None:
    with running_app(values | database, tmp_path) as app:
        app.wait_until_ready()
        with concurrent.futures.ThreadPoolExecutor(150) as threads:
            codes = list(threads.map(lambda _: app.get("/ready").status_code, range(300)))
            assert Counter(codes) == {200: 300}
            token = app.login(values["ADMIN_PASSWORD"]).json()["access_token"]
        # Each of these needs a connection for itself, and waits for one no longer than a few seconds.
        with concurrent.futures.ThreadPoolExecutor(30) as threads:
            codes = list(threads.map(lambda _: app.get("/me", Authorization=f"Bearer {token}").status_code, range(300)))
            assert Counter(codes) == {200: 300}
        [(count,)] = postgres.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'cctv-face-detection'"
        )
        assert int(str(count)) <= 5


def test_the_shared_connections_survive_a_changed_password_and_a_restart_of_the_database(
    tmp_path: Path, value_files: dict[str, str], values: dict[str, str], database: dict[str, str], postgres: Postgres
) -> None:
    with running_app(value_files | database, tmp_path) as app:
        app.wait_until_ready()
        token = app.login(values["ADMIN_PASSWORD"]).json()["access_token"]
        me = {"Authorization": f"Bearer {token}"}
        Path(value_files["DATABASE_PASSWORD_FILE"]).write_text("another password")
        postgres.set_password("another password")
        assert {app.get("/me", **me).status_code for _ in range(10)} == {200}
        postgres.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'cctv-face-detection'"
        )
        assert {app.get("/me", **me).status_code for _ in range(10)} == {200}
        assert app.get("/ready").status_code == 200


def test_the_process_cannot_be_dumped(tmp_path: Path, values: dict[str, str]) -> None:
    with running_app(values, tmp_path) as app:
        app.wait_until_ready()
        limits = Path(f"/proc/{app.process.pid}/limits").read_text()
    assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE)
    asked = (
        "from src.app.hardening import forbid_dumps; import ctypes; forbid_dumps(); print(ctypes.CDLL(None).prctl(3))"
    )
    told = subprocess.run([sys.executable, "-c", asked], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert told.stdout == "0\n"


def test_bodies_that_take_long_to_parse_are_refused_before_that(tmp_path: Path, values: dict[str, str]) -> None:
    with running_app(values, tmp_path) as app:
        for body in (b"[" + b"1.5," * 30_000 + b"1]", b"[" + b"{}," * 40_000 + b"1]", b"[" * 100_000):
            assert app.client.post("/login", content=body).status_code == 400
        odd = "[{,"[:3] * 340
        assert app.login(odd, username=odd).status_code == 401


def test_many_names_make_nobody_forget_the_guesses_for_one() -> None:
    async def guess() -> None:
        limiter = LoginLimiter(Cache(None))
        assert [await limiter.admits("admin", "network") for _ in range(11)] == [True] * 10 + [False]
        for number in range(10_100):
            await limiter.delay(f"name {number}")
        assert not await limiter.has_guesses_left("admin", "network")

    asyncio.run(guess())


def test_of_two_preparations_at_once_the_one_with_the_new_password_counts(
    values: dict[str, str], database: dict[str, str]
) -> None:
    async def prepare() -> None:
        environ = values | database
        manager = SecretsManager(settings=Settings(environ))
        pool = Database(manager, AppSettings.from_environment(environ))
        accounts = DatabaseAccounts(manager, pool, Passwords())
        try:
            for number in range(8):
                environ["ADMIN_PASSWORD"] = f"old {number}"
                first = asyncio.create_task(accounts.prepare())
                await asyncio.sleep(number * 0.003)
                environ["ADMIN_PASSWORD"] = f"new {number}"
                await asyncio.gather(first, accounts.prepare())
                assert await accounts.verify("admin", f"new {number}")
                assert await accounts.verify("admin", f"old {number}") is None
        finally:
            await pool.close()

    asyncio.run(prepare())
