"""The page at ``/`` in a real Chromium."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.utils.secrets.catalog import load_catalog
from src.utils.secrets.snapshot import utc_after, utc_now
from tests.servers.postgres import Postgres
from tests.support.app import App, running_app
from tests.support.browser import Browser, Page, running_browser

CATALOG = load_catalog()
EARLIER_VALUE = "an-earlier-value-that-nobody-may-see-0123456789"
SIGNED_OUT = "!document.querySelector('#sign-in').hidden"
SIGNED_IN = "!document.querySelector('#status').hidden"
DAY = 24 * 60 * 60


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


@pytest.fixture
def old_files(value_files: dict[str, str]) -> dict[str, str]:
    """The secrets as files: one is overdue, one has an earlier value, one is a published example."""
    _make_older(value_files["SECRET_KEY_FILE"], days=95)
    earlier = {"value": EARLIER_VALUE, "replaced_at": utc_now(), "valid_until": utc_after(3600)}
    Path(value_files["JWT_SECRET_KEY_FILE"] + "_previous.json").write_text(json.dumps([earlier]))
    Path(value_files["DATABASE_PASSWORD_FILE"]).write_text("changeme")
    return value_files


@pytest.fixture
def app(old_files: dict[str, str], tmp_path: Path) -> Iterator[App]:
    with running_app(old_files, tmp_path) as app:
        yield app


def _make_older(path: str, *, days: int) -> None:
    moment = time.time() - days * DAY
    os.utime(path, (moment, moment))


def _open(browser: Browser, app: App, *, width: int = 1280, is_dark: bool = False) -> Page:
    page = browser.new_page(width=width, is_dark=is_dark)
    page.open(str(app.client.base_url))
    page.wait_until(SIGNED_OUT)
    return page


def _sign_in(page: Page, password: str) -> None:
    page.fill("#username", "admin")
    page.fill("#password", password)
    page.press("Enter")


def _open_signed_in(browser: Browser, app: App, values: dict[str, str]) -> Page:
    page = _open(browser, app)
    _sign_in(page, values["ADMIN_PASSWORD"])
    page.wait_until(SIGNED_IN)
    return page


def _is_shown(page: Page, selector: str) -> bool:
    return bool(page.evaluate(f"document.querySelector('{selector}').getClientRects().length > 0"))


def test_after_signing_in_each_secret_and_each_finding_is_there(
    browser: Browser, app: App, values: dict[str, str]
) -> None:
    page = _open_signed_in(browser, app, values)
    assert not _is_shown(page, "#sign-in")
    assert page.evaluate("document.activeElement.id") == "status-title"
    names = page.evaluate("[...document.querySelectorAll('#secrets .name')].map((one) => one.textContent)")
    assert names == CATALOG.names
    rows = dict(
        zip(
            names,
            page.evaluate("[...document.querySelectorAll('#secrets tr:not(.group)')].map((one) => one.innerText)"),
            strict=True,
        )
    )
    assert "95 days" in rows["SECRET_KEY"]
    assert "Overdue" in rows["SECRET_KEY"]
    assert "1 in grace" in rows["JWT_SECRET_KEY"]
    assert "In 90 days" in rows["JWT_SECRET_KEY"]
    assert "A placeholder" in rows["DATABASE_PASSWORD"]
    assert "Not used" in rows["SMTP_PASSWORD"]
    findings = page.evaluate("[...document.querySelectorAll('#findings li')].map((one) => one.innerText)")
    assert len(findings) == 2
    assert "SECRET_KEY is 95 days old" in findings[0]
    assert findings[0].endswith("manage_secrets.py rotate SECRET_KEY")
    assert "DATABASE_PASSWORD is a published example" in findings[1]


def test_no_value_reaches_the_browser_and_no_request_leaves_the_server(
    browser: Browser, app: App, values: dict[str, str], old_files: dict[str, str]
) -> None:
    page = _open_signed_in(browser, app, values)
    seen = {
        "the page": page.evaluate("document.documentElement.outerHTML"),
        "its fields": page.evaluate("[...document.querySelectorAll('input')].map((one) => one.value).join()"),
        "its storage": page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"),
        "its databases": page.evaluate("indexedDB.databases().then((found) => JSON.stringify(found))"),
    } | page.response_bodies()
    assert any("/status" in where for where in seen)
    hidden = [Path(path).read_text() for name, path in old_files.items() if name != "ADMIN_USERNAME_FILE"]
    leaks = [where for where, text in seen.items() for value in [*hidden, EARLIER_VALUE] if value in text]
    assert leaks == []
    assert seen["its storage"] == '[{},{},""]'
    assert all(url.startswith(str(app.client.base_url)) for url in page.requested_urls())
    assert page.faults() == []


def test_a_wrong_password_is_said_and_the_right_one_can_be_typed_at_once(
    browser: Browser, app: App, values: dict[str, str]
) -> None:
    page = _open(browser, app)
    _sign_in(page, "not the password")
    page.wait_until("!document.querySelector('#sign-in-error').hidden")
    assert "The name or the password is wrong." in page.text()
    assert page.evaluate("document.querySelector('#sign-in-error').getAttribute('role')") == "alert"
    assert page.evaluate("document.activeElement.id") == "password"
    assert not _is_shown(page, "#status")
    page.call("Input.insertText", text=values["ADMIN_PASSWORD"])
    page.press("Enter")
    page.wait_until(SIGNED_IN)


def test_after_too_many_attempts_it_says_when_to_try_again(browser: Browser, app: App) -> None:
    page = _open(browser, app)
    while app.login("not the password").status_code == 401:
        pass
    _sign_in(page, "not the password")
    page.wait_until("document.querySelector('#sign-in-error').textContent.includes('Try again in 5 minutes')", 30)


def test_signing_out_ends_the_session_and_empties_the_page(browser: Browser, app: App, values: dict[str, str]) -> None:
    page = _open_signed_in(browser, app, values)
    page.click("#sign-out")
    page.wait_until(SIGNED_OUT)
    assert "You are signed out." in page.text()
    assert "SECRET_KEY" not in page.evaluate("document.documentElement.textContent")
    assert page.evaluate("document.activeElement.id") == "username"
    page.open(str(app.client.base_url))
    page.wait_until(SIGNED_OUT)


def test_a_session_that_ended_elsewhere_leads_back_to_the_form(
    browser: Browser, app: App, values: dict[str, str]
) -> None:
    page = _open_signed_in(browser, app, values)
    token = app.login(values["ADMIN_PASSWORD"]).json()["access_token"]
    assert app.client.post("/logout", headers={"Authorization": f"Bearer {token}"}).status_code == 204
    page.click("#refresh")
    page.wait_until(SIGNED_OUT)
    assert "Your session has ended." in page.text()


def test_who_is_signed_in_stays_so_when_the_page_is_loaded_again(
    browser: Browser, app: App, values: dict[str, str]
) -> None:
    page = _open_signed_in(browser, app, values)
    page.open(str(app.client.base_url))
    page.wait_until(SIGNED_IN)
    assert not _is_shown(page, "#sign-in")


def test_the_keyboard_alone_is_enough(browser: Browser, app: App, values: dict[str, str]) -> None:
    page = _open(browser, app)
    page.call("Input.insertText", text="admin")  # the first field has the focus
    page.press("Tab")
    page.call("Input.insertText", text=values["ADMIN_PASSWORD"])
    page.press("Tab")
    assert page.evaluate("document.activeElement.id") == "submit"
    page.press("Enter")
    page.wait_until(SIGNED_IN)


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_everybody_can_use_it_at_each_width_in_light_and_dark(
    width: int, is_dark: bool, browser: Browser, app: App, values: dict[str, str]
) -> None:
    page = _open(browser, app, width=width, is_dark=is_dark)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")
    assert (int(ground) < 64) == is_dark
    _look_at(page, width)
    _sign_in(page, "not the password")
    page.wait_until("!document.querySelector('#sign-in-error').hidden")
    _look_at(page, width)
    _sign_in(page, values["ADMIN_PASSWORD"])
    page.wait_until(SIGNED_IN)
    _look_at(page, width)
    page.click("#sign-out")
    page.wait_until(SIGNED_OUT)
    _look_at(page, width)
    assert page.faults() == []


def _look_at(page: Page, width: int) -> None:
    assert page.accessibility_violations() == []
    shown = "[...document.querySelectorAll('[hidden]')].filter((one) => one.getClientRects().length)"
    assert page.evaluate(f"{shown}.map((one) => one.id)") == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("innerWidth") == width


def test_while_the_database_is_away_it_says_so(
    browser: Browser,
    tmp_path: Path,
    value_files: dict[str, str],
    values: dict[str, str],
    database: dict[str, str],
    postgres: Postgres,
) -> None:
    with running_app(value_files | database, tmp_path) as app:
        app.wait_until_ready()
        page = _open_signed_in(browser, app, values)
        assert page.evaluate("document.querySelector('#services').innerText").count("OK") >= 2
        assert "Nothing to do." in page.text()
        postgres.set_password("another password, so that nobody gets in")
        postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        page.click("#refresh")
        page.wait_until("!document.querySelector('#message').hidden", 30)
        assert "its database is unavailable" in page.text()
        assert page.faults() == []
