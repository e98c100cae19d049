"""Tokens and session cookies: who made them, for whom, and when they end."""

from __future__ import annotations

import hashlib
import json
import signal
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from itsdangerous import TimestampSigner, URLSafeTimedSerializer

from src.utils.secrets.snapshot import utc_after, utc_now
from tests.servers.postgres import Postgres
from tests.support.app import App, running_app


def signed_in(app: App, password: str) -> tuple[str, str]:
    """A token and a session cookie."""
    app.wait_until(lambda: app.client.get("/ready").status_code == 200)
    answer = app.login(password)
    assert answer.status_code == 200, answer.text
    app.client.cookies.clear()
    return answer.json()["access_token"], answer.cookies["session"]


def status(app: App, *, token: str = "", cookie: str = "") -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return app.get("/me", cookie=cookie or None, **headers).status_code


def changed(token: str, key: str, **claims: object) -> str:
    """The same token with other claims, signed with ``key``; ``None`` leaves one out."""
    content: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    content |= claims
    return jwt.encode({name: value for name, value in content.items() if value is not None}, key, algorithm="HS256")


def sessions(key: str, **options: Any) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(key, salt="session", signer_kwargs={"digest_method": hashlib.sha256}, **options)


def test_a_token_counts_only_with_our_key_issuer_audience_name_and_time(tmp_path: Path, values: dict[str, str]) -> None:
    key = values["JWT_SECRET_KEY"]
    with running_app(values, tmp_path) as app:
        token, _ = signed_in(app, values["ADMIN_PASSWORD"])
        assert status(app, token=token) == status(app, token=changed(token, key)) == 200
        assert status(app, token=changed(token, "x" * 64)) == 401
        for claims in (
            {"iss": "another"},
            {"iss": None},
            {"aud": "another"},
            {"aud": None},
            {"exp": 1},
            {"exp": None},
            {"sub": "nobody"},
            {"sub": None},
            {"gen": "another"},
            {"gen": ""},
            {"gen": None},
            {"gen": 5},
            {"iat": None},
        ):
            assert status(app, token=changed(token, key, **claims)) == 401, claims
        unsigned = jwt.encode(jwt.decode(token, options={"verify_signature": False}), "", algorithm="none")
        assert status(app, token=unsigned) == 401
        assert app.get("/me", Authorization="Basic abc").status_code == 401


def test_a_session_cookie_counts_only_with_our_key_and_within_the_hour(tmp_path: Path, values: dict[str, str]) -> None:
    def signed(content: object, seconds_ago: int = 0, key: str = values["SECRET_KEY"]) -> str:
        class Earlier(TimestampSigner):
            def get_timestamp(self) -> int:
                return super().get_timestamp() - seconds_ago

        return str(sessions(key, signer=Earlier).dumps(content))

    with running_app(values, tmp_path) as app:
        _, cookie = signed_in(app, values["ADMIN_PASSWORD"])
        content = sessions(values["SECRET_KEY"]).loads(cookie)
        generation = content[1]
        assert status(app, cookie=cookie) == status(app, cookie=signed(content, 3500)) == 200
        assert status(app, cookie=signed(content, 3700)) == 401
        assert status(app, cookie=signed(content, key="x" * 64)) == 401
        others: list[object] = ["admin", ["admin"], ["admin", ""], ["nobody", generation], [1, generation], {}, None]
        for other in others:
            assert status(app, cookie=signed(other)) == 401, other
        assert status(app, cookie="forged.abc.def") == 401


def test_answers_with_proofs_are_kept_by_nobody_and_cookies_are_for_this_site_alone(
    tmp_path: Path, values: dict[str, str]
) -> None:
    with running_app(values | {"APP_TRUSTED_PROXIES": "127.0.0.1"}, tmp_path) as app:
        app.wait_until_ready()
        plain = app.login(values["ADMIN_PASSWORD"])
        over_tls = app.client.post(
            "/login",
            json={"username": "admin", "password": values["ADMIN_PASSWORD"]},
            headers={"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9"},
        )
        for answer, is_secure in ((plain, False), (over_tls, True)):
            cookie = SimpleCookie(answer.headers["set-cookie"])["session"]
            assert cookie["httponly"]
            assert cookie["samesite"] == "strict"
            assert cookie["max-age"] == "3600"
            assert cookie["path"] == "/"
            assert bool(cookie["secure"]) is is_secure
            assert answer.headers["cache-control"] == "no-store"
        token = plain.json()["access_token"]
        assert app.get("/me", Authorization=f"Bearer {token}").headers["cache-control"] == "no-store"
        claims = jwt.decode(token, options={"verify_signature": False})
        assert claims["exp"] - claims["iat"] == plain.json()["expires_in"] == 3600


@pytest.mark.parametrize("has_database", [False, True], ids=["in memory", "in the database"])
def test_logging_out_ends_every_token_and_session_of_the_account(
    has_database: bool, tmp_path: Path, values: dict[str, str], database: dict[str, str]
) -> None:
    with running_app(values | (database if has_database else {}), tmp_path) as app:
        token, cookie = signed_in(app, values["ADMIN_PASSWORD"])
        other_token, other_cookie = signed_in(app, values["ADMIN_PASSWORD"])
        assert httpx.post(app.client.base_url.join("/logout")).status_code == 401
        assert status(app, token=token) == 200
        out = httpx.post(app.client.base_url.join("/logout"), headers={"Cookie": f"session={cookie}"})
        assert out.status_code == 204
        assert SimpleCookie(out.headers["set-cookie"])["session"]["max-age"] == "0"
        assert {status(app, token=each) for each in (token, other_token)} == {401}
        assert {status(app, cookie=each) for each in (cookie, other_cookie)} == {401}
        again, _ = signed_in(app, values["ADMIN_PASSWORD"])
        assert status(app, token=again) == 200


@pytest.mark.parametrize("has_database", [False, True], ids=["in memory", "in the database"])
def test_a_new_administrator_password_ends_what_the_old_one_has_opened(
    has_database: bool, tmp_path: Path, value_files: dict[str, str], values: dict[str, str], database: dict[str, str]
) -> None:
    with running_app(value_files | (database if has_database else {}), tmp_path) as app:
        token, cookie = signed_in(app, values["ADMIN_PASSWORD"])
        app.process.send_signal(signal.SIGHUP)
        app.wait_until(lambda: app.log().count("account is ready") == 2)
        assert status(app, token=token) == status(app, cookie=cookie) == 200  # nothing has changed
        Path(value_files["ADMIN_PASSWORD_FILE"]).write_text("the new password")
        app.process.send_signal(signal.SIGHUP)
        app.wait_until(lambda: app.log().count("account is ready") == 3)
        assert status(app, token=token) == status(app, cookie=cookie) == 401
        assert app.login(values["ADMIN_PASSWORD"]).status_code == 401
        assert app.login("the new password").status_code == 200


def test_a_restart_ends_no_session_and_a_table_from_before_generations_is_updated(
    tmp_path: Path, values: dict[str, str], database: dict[str, str], postgres: Postgres
) -> None:
    with running_app(values | database, tmp_path) as app:
        token, cookie = signed_in(app, values["ADMIN_PASSWORD"])
    with running_app(values | database, tmp_path) as app:
        app.wait_until_ready()
        assert status(app, token=token) == status(app, cookie=cookie) == 200
    postgres.execute("ALTER TABLE accounts DROP COLUMN generation")
    with running_app(values | database, tmp_path) as app:
        app.wait_until_ready()
        assert status(app, token=token) == status(app, cookie=cookie) == 401
        assert status(app, token=signed_in(app, values["ADMIN_PASSWORD"])[0]) == 200


def test_a_key_without_grace_ends_what_it_has_signed_and_one_with_grace_signs_nothing_new(
    tmp_path: Path, value_files: dict[str, str], values: dict[str, str]
) -> None:
    def rotate(name: str, value: str, *, until: str | None) -> None:
        path = Path(value_files[f"{name}_FILE"])
        entry = {"value": path.read_text(), "replaced_at": utc_now(), "valid_until": until}
        path.with_name(path.name + "_previous.json").write_text(json.dumps([entry] if until else []))
        path.write_text(value)

    with running_app(value_files, tmp_path) as app:
        token, cookie = signed_in(app, values["ADMIN_PASSWORD"])
        for name in ("JWT_SECRET_KEY", "SECRET_KEY"):
            rotate(name, "n" * 64, until=utc_after(3600))
        assert status(app, token=token) == status(app, cookie=cookie) == 200
        new_token, new_cookie = signed_in(app, values["ADMIN_PASSWORD"])
        jwt.decode(new_token, "n" * 64, algorithms=["HS256"], audience="cctv-face-detection-api")
        for name in ("JWT_SECRET_KEY", "SECRET_KEY"):
            rotate(name, "m" * 64, until=None)
        assert status(app, token=token) == status(app, cookie=cookie) == 401
        assert status(app, token=new_token) == status(app, cookie=new_cookie) == 401
