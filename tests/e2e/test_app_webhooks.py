"""Webhooks: signed, fresh, and taken once."""

from __future__ import annotations

import hashlib
import hmac
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.servers.redis import end_redis, running_redis
from tests.support.app import App, running_app

BODY = b'{"camera": 1}'


def signature(key: str, text: bytes) -> str:
    return "sha256=" + hmac.new(key.encode(), text, hashlib.sha256).hexdigest()


def headers(key: str, body: bytes = BODY, *, timestamp: str = "", signed_timestamp: str = "") -> dict[str, str]:
    """What a camera sends, of now."""
    timestamp = timestamp or str(int(time.time()))
    signed = (signed_timestamp or timestamp).encode() + b"." + body
    return {"X-Webhook-Timestamp": timestamp, "X-Webhook-Signature": signature(key, signed)}


def post(app: App, given: dict[str, str], body: bytes = BODY) -> int:
    return app.client.post("/webhook", content=body, headers=given).status_code


def test_a_webhook_needs_the_right_signature_over_timestamp_and_body(tmp_path: Path, values: dict[str, str]) -> None:
    key = values["WEBHOOK_SECRET"]
    with running_app(values, tmp_path) as app:
        assert post(app, headers(key)) == 202
        good = headers(key, b"upper")
        good["X-Webhook-Signature"] = "sha256=" + good["X-Webhook-Signature"].removeprefix("sha256=").upper()
        assert post(app, good, b"upper") == 202
        fresh = headers(key, b"fresh")
        right = fresh["X-Webhook-Signature"].removeprefix("sha256=")
        for wrong in (right, f"sha1={right}", f"sha256={right[:-1]}", "sha256=", f"sha256={'0' * 64}", ""):
            assert post(app, fresh | {"X-Webhook-Signature": wrong}, b"fresh") == 401, wrong
        assert post(app, fresh, b"fresh ") == 401
        assert post(app, headers("x" * 43)) == 401
        now = str(int(time.time()))
        assert post(app, headers(key, timestamp=now, signed_timestamp=str(int(now) - 1))) == 401
        without_timestamp = {"X-Webhook-Signature": signature(key, BODY)}
        assert post(app, without_timestamp) == 401


@pytest.mark.parametrize("timestamp", ["", "now", "1e9", "+1700000000", "-1", "1.5", "٣", "9" * 400, "0x10", "1 2"])
def test_a_timestamp_that_is_no_number_is_refused_and_not_repeated(
    timestamp: str, tmp_path: Path, values: dict[str, str]
) -> None:
    with running_app(values, tmp_path) as app:
        given = headers(values["WEBHOOK_SECRET"], timestamp=timestamp or "empty")
        given["X-Webhook-Timestamp"] = timestamp
        raw = [(name.encode(), value.encode()) for name, value in given.items()]
        answer = app.client.post("/webhook", content=BODY, headers=raw)
        assert answer.status_code == 401
        assert not timestamp or timestamp not in answer.text
        assert "Traceback" not in app.log()


def test_an_event_is_fresh_for_five_minutes(tmp_path: Path, values: dict[str, str]) -> None:
    key = values["WEBHOOK_SECRET"]
    with running_app(values, tmp_path) as app:
        for age, status in ((280, 202), (-280, 202), (310, 401), (-310, 401), (10**6, 401)):
            assert post(app, headers(key, timestamp=str(int(time.time()) - age))) == status, age


def test_an_event_is_taken_once_also_by_another_process_and_after_a_restart(
    tmp_path: Path, values: dict[str, str]
) -> None:
    with running_redis(values["REDIS_PASSWORD"]) as port:
        environ = values | {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(port)}
        event = headers(values["WEBHOOK_SECRET"])
        with running_app(environ, tmp_path) as one, running_app(environ, tmp_path) as other:
            assert post(one, event) == 202
            assert post(one, event) == post(other, event) == 409
            assert post(one, headers(values["WEBHOOK_SECRET"], b"another"), b"another") == 202
        with running_app(environ, tmp_path) as again:
            assert post(again, event) == 409


def test_of_the_same_event_sent_many_times_at_once_one_is_taken(tmp_path: Path, values: dict[str, str]) -> None:
    with running_redis(values["REDIS_PASSWORD"]) as port:
        environ = values | {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(port)}
        with running_app(environ, tmp_path) as app:
            event, answers = headers(values["WEBHOOK_SECRET"]), []

            def send() -> None:
                answers.append(httpx.post(app.client.base_url.join("/webhook"), content=BODY, headers=event))

            threads = [threading.Thread(target=send) for _ in range(20)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert sorted(answer.status_code for answer in answers) == [202] + [409] * 19


def test_an_event_stays_taken_when_redis_goes_away(tmp_path: Path, values: dict[str, str]) -> None:
    with running_redis(values["REDIS_PASSWORD"]) as port:
        environ = values | {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(port)}
        with running_app(environ, tmp_path) as app:
            event = headers(values["WEBHOOK_SECRET"])
            assert post(app, event) == 202
            end_redis(port, values["REDIS_PASSWORD"])
            assert post(app, event) == 409
            assert post(app, headers(values["WEBHOOK_SECRET"], b"new"), b"new") == 202


def test_a_camera_without_a_clock_needs_a_setting(tmp_path: Path, values: dict[str, str]) -> None:
    key = values["WEBHOOK_SECRET"]
    old_form = {"X-Webhook-Signature": signature(key, BODY)}
    with running_app(values | {"APP_WEBHOOKS_WITHOUT_TIMESTAMP": "1"}, tmp_path) as app:
        assert post(app, old_form) == post(app, old_form) == 202
        assert post(app, old_form, BODY + b" ") == 401
        event = headers(key)
        assert post(app, event) == 202
        assert post(app, event) == 409
        assert post(app, headers(key, timestamp="1700000000")) == 401
        recorded = event["X-Webhook-Timestamp"].encode() + b"." + BODY
        assert post(app, {"X-Webhook-Signature": event["X-Webhook-Signature"]}, recorded) == 401
    with running_app(values | {"APP_WEBHOOKS_WITHOUT_TIMESTAMP": "0"}, tmp_path) as app:
        assert post(app, old_form) == 401
    with running_app(values | {"APP_WEBHOOKS_WITHOUT_TIMESTAMP": "maybe"}, tmp_path, wait=False) as app:
        assert app.process.wait(30) == 1
        assert "APP_WEBHOOKS_WITHOUT_TIMESTAMP is neither 1 nor 0" in app.log()
        assert "maybe" not in app.log()


def test_large_events_are_taken_and_larger_ones_refused(tmp_path: Path, values: dict[str, str]) -> None:
    key = values["WEBHOOK_SECRET"]
    with running_app(values, tmp_path) as app:
        for size, status in ((64 * 1024, 202), (64 * 1024 + 1, 202), (1024 * 1024, 202), (1024 * 1024 + 1, 413)):
            body = b"x" * size
            assert post(app, headers(key, body), body) == status, size

        in_pieces = app.client.post("/webhook", content=iter([b"y" * 1024] * 2000), headers=headers(key))
        assert in_pieces.status_code == 411
