"""``GET /status``, and the headers of the page."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from src.app.status import describe_deployment
from src.utils.secrets import SecretsManager
from src.utils.secrets.catalog import load_catalog
from src.utils.secrets.settings import Settings
from src.utils.secrets.snapshot import utc_after, utc_now
from tests.conftest import Project
from tests.servers.ports import free_port
from tests.support.app import App, running_app

DAY = 24 * 60 * 60


def _status(app: App, password: str) -> dict[str, Any]:
    app.wait_until(lambda: app.login(password).status_code == 200)
    answer = app.client.get("/status")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    content = answer.json()
    assert isinstance(content, dict)
    return content | {"text": answer.text}


def _row(status: dict[str, Any], name: str) -> dict[str, Any]:
    found = [row for row in status["secrets"] if row["name"] == name]
    assert len(found) == 1
    row = found[0]
    assert isinstance(row, dict)
    return row


def test_strangers_get_no_status_on_loopback_either(tmp_path: Path, values: dict[str, str]) -> None:
    with running_app(values, tmp_path) as app:
        answer = app.get("/status")
        assert answer.status_code == 401
        assert set(answer.json()) == {"error"}
        assert app.get("/status", cookie="forged").status_code == 401
        assert app.client.post("/status").status_code == 405


def test_of_variables_nobody_knows_the_age_and_nothing_is_overdue(tmp_path: Path, values: dict[str, str]) -> None:
    with running_app(values, tmp_path) as app:
        status = _status(app, values["ADMIN_PASSWORD"])
    assert [row["name"] for row in status["secrets"]] == load_catalog().names
    assert _row(status, "SECRET_KEY") | {"description": ""} == {
        "name": "SECRET_KEY",
        "group": "Application",
        "description": "",
        "required": True,
        "set": True,
        "rotation_days": 90,
        "updated_at": None,
        "age_days": None,
        "due_at": None,
        "strength": "strong",
        "earlier": [],
    }
    assert _row(status, "TWILIO_SID")["set"] is False
    assert _row(status, "ADMIN_USERNAME")["strength"] == "not judged"
    assert status["findings"] == []
    assert status["ready"] is True
    assert status["store"]["state"] == "ok"
    assert status["services"] == {name: {"state": "not configured"} for name in status["services"]}
    assert {"database", "redis"} <= set(status["services"])
    assert not any(value in status["text"] for name, value in values.items() if name != "ADMIN_USERNAME")


def test_the_time_of_a_file_is_the_age_of_its_value(
    tmp_path: Path, value_files: dict[str, str], values: dict[str, str]
) -> None:
    for name, days in (("SECRET_KEY", 89), ("WEBHOOK_SECRET", 90), ("ADMIN_USERNAME", 1000)):
        os.utime(value_files[f"{name}_FILE"], (time.time() - days * DAY - 60,) * 2)
    with running_app(value_files, tmp_path) as app:
        status = _status(app, values["ADMIN_PASSWORD"])
    assert _row(status, "SECRET_KEY")["age_days"] == 89
    assert _row(status, "ADMIN_USERNAME")["due_at"] is None
    assert [finding["about"] for finding in status["findings"]] == ["WEBHOOK_SECRET"]
    assert status["findings"][0]["problem"].startswith("WEBHOOK_SECRET is 90 days old")
    assert status["findings"][0]["command"].endswith("manage_secrets.py rotate WEBHOOK_SECRET")


def test_each_command_is_for_the_environment_that_the_application_runs_in(
    tmp_path: Path, value_files: dict[str, str], values: dict[str, str]
) -> None:
    old = (time.time() - 100 * DAY,) * 2
    os.utime(value_files["WEBHOOK_SECRET_FILE"], old)
    away = {"SECRETS_ENVIRONMENT": "staging", "REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(free_port())}
    with running_app(value_files | away, tmp_path) as app:
        status = _status(app, values["ADMIN_PASSWORD"])
    commands = {finding["about"]: finding["command"] for finding in status["findings"]}
    assert set(commands) == {"WEBHOOK_SECRET", "Redis"}
    assert all(command.endswith(" --environment staging") for command in commands.values()), commands


def test_what_is_no_name_of_an_environment_is_refused(tmp_path: Path, values: dict[str, str]) -> None:
    with running_app(values | {"SECRETS_ENVIRONMENT": "$(id)"}, tmp_path, wait=False) as app:
        assert app.process.wait(30) == 1
        assert "error: SECRETS_ENVIRONMENT is not the name of an environment" in app.log()
        assert "$(id)" not in app.log()


def test_only_earlier_values_that_are_still_accepted_are_listed_and_only_their_end(
    tmp_path: Path, value_files: dict[str, str], values: dict[str, str]
) -> None:
    end = utc_after(3600)
    entries = [
        {"value": f"earlier-{number}", "replaced_at": utc_now(), "valid_until": until}
        for number, until in enumerate([end, None, utc_after(-5)])
    ]
    Path(value_files["SECRET_KEY_FILE"] + "_previous.json").write_text(json.dumps(entries))
    Path(value_files["ENCRYPTION_KEY_FILE"] + "_previous.json").write_text("damaged")
    with running_app(value_files, tmp_path) as app:
        status = _status(app, values["ADMIN_PASSWORD"])
    assert _row(status, "SECRET_KEY")["earlier"] == [{"valid_until": end}, {"valid_until": None}]
    assert _row(status, "ENCRYPTION_KEY")["set"] is True
    assert _row(status, "ENCRYPTION_KEY")["earlier"] == []
    assert "earlier-" not in status["text"]


@pytest.mark.parametrize(
    ("value", "strength", "problem"),
    [
        ("changeme", "a placeholder", "DATABASE_PASSWORD is a published example"),
        ("hT5-kq8w", "short, 8 characters", "DATABASE_PASSWORD has 8 characters"),
        ("hT5-kq8wXm2-vP9r", "no fault found", None),
    ],
)
def test_a_fault_of_a_value_is_its_strength_and_a_finding(
    value: str, strength: str, problem: str | None, tmp_path: Path, values: dict[str, str]
) -> None:
    with running_app(values | {"DATABASE_PASSWORD": value}, tmp_path) as app:
        status = _status(app, values["ADMIN_PASSWORD"])
    assert _row(status, "DATABASE_PASSWORD")["strength"] == strength
    assert [finding["problem"][: len(problem or "")] for finding in status["findings"]] == (
        [problem] if problem else []
    )
    assert value not in status["text"]


def test_a_store_that_went_away_is_a_finding_and_the_last_values_stay(tmp_path: Path, project: Project) -> None:
    project.set_up()
    environ = {
        "SECRETS_BACKEND": "file",
        "SECRETS_FILE_PATH": str(project.secrets_file),
        "SECRETS_MASTER_KEY_FILE": str(project.key_file),
        "SECRETS_CACHE_TTL": "1",
    }
    password = project.values()["ADMIN_PASSWORD"]
    with running_app(environ, tmp_path) as app:
        status = _status(app, password)
        assert status["store"]["kind"] == "file"
        assert str(project.secrets_file) in status["store"]["place"]
        assert _row(status, "SECRET_KEY")["age_days"] == 0
        assert status["findings"] == []
        project.secrets_file.write_bytes(b"damaged")
        app.wait_until(lambda: app.client.get("/status").json()["store"]["state"] == "unavailable")
        status = app.client.get("/status").json()
    assert status["findings"][0]["about"] == "Store"
    assert "The last good values are in use" in status["findings"][0]["problem"]
    assert status["findings"][0]["command"]
    assert _row(status, "SECRET_KEY")["set"] is True


def test_a_service_that_cannot_be_reached_is_a_finding_with_a_command(tmp_path: Path, values: dict[str, str]) -> None:
    with running_app(values | {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": "1"}, tmp_path) as app:
        status = _status(app, values["ADMIN_PASSWORD"])
    assert status["services"]["redis"]["state"] == "unavailable"
    assert [finding["about"] for finding in status["findings"]] == ["Redis"]
    assert status["findings"][0]["command"].endswith("manage_secrets.py doctor")


def test_all_that_keeps_the_application_from_being_ready_is_a_finding(values: dict[str, str]) -> None:
    del values["SECRET_KEY"]
    manager = SecretsManager(settings=Settings(values))
    checks: dict[str, dict[str, object]] = {
        "secrets": {"state": "missing"},
        "database": {"state": "ok"},
        "another": {"state": "odd", "reason": "It is odd", "inner": "hidden"},
    }
    status: dict[str, Any] = describe_deployment(manager, load_catalog(), checks)
    assert status["ready"] is False
    assert status["services"] == {"database": {"state": "ok"}, "another": {"state": "odd", "reason": "It is odd"}}
    assert [(finding["about"], finding["problem"]) for finding in status["findings"]] == [
        ("Another", "It is odd"),
        ("SECRET_KEY", "SECRET_KEY is required, and not set"),
    ]
    assert status["findings"][1]["command"].endswith("make secrets")


def test_the_page_loads_nothing_from_elsewhere_and_no_page_frames_it(tmp_path: Path, values: dict[str, str]) -> None:
    with running_app(values, tmp_path) as app:
        for path, kind in (
            ("/", "text/html; charset=utf-8"),
            ("/page.css", "text/css; charset=utf-8"),
            ("/page.js", "text/javascript; charset=utf-8"),
            ("/icon.svg", "image/svg+xml"),
        ):
            answer = app.get(path)
            assert answer.status_code == 200
            assert answer.headers["Content-Type"] == kind
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
            policy = answer.headers["Content-Security-Policy"].split("; ")
            assert {
                "default-src 'none'",
                "script-src 'self'",
                "style-src 'self'",
                "connect-src 'self'",
                "form-action 'none'",
                "base-uri 'none'",
                "frame-ancestors 'none'",
            } <= set(policy)
            assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert load_catalog().application in app.get("/").text
        assert "$" not in app.get("/").text
