"""Every way in for a value judges it in the same way, and what is in use already is said everywhere."""

from __future__ import annotations

import json
import os
import subprocess
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import jwt
import pytest
from cryptography.fernet import Fernet

from src.ops.setup.given import GivenValues
from src.ops.setup.plan import make_plan
from src.utils.secrets.catalog import load_catalog
from tests.conftest import Project
from tests.support.app import running_app
from tests.support.files import write_read_only
from tests.support.forms import pairs
from tests.support.terminal import ENTER, Terminal

CATALOG = load_catalog()
SET_UP, MANAGE = "setup_secrets.py", "manage_secrets.py"
PUBLISHED = "your-jwt-secret-key-here"
KEY = "Hq3v9bT1xZ_7kLwPfN2sYdR8cJmGuE5aXo4tVi6QyBn0"  # pragma: allowlist secret
SHORT = KEY[:20]


def by_import(project: Project, name: str, value: str, *more: str) -> tuple[int, str]:
    text = json.dumps({name: value})
    done = project.run(SET_UP, "--non-interactive", "--replace", "--import", "-", *more, standard_input=text)
    return done.returncode, done.stdout + done.stderr


def by_set_file(project: Project, name: str, value: str, *more: str) -> tuple[int, str]:
    (project.home / "value").write_bytes(value.encode() + b"\n")
    done = project.run(SET_UP, "--non-interactive", "--set-file", f"{name}={project.home / 'value'}", *more)
    return done.returncode, done.stdout + done.stderr


def by_set(project: Project, name: str, value: str, *more: str) -> tuple[int, str]:
    (project.home / "value").write_bytes(value.encode() + b"\n")
    done = project.run(MANAGE, "set", name, "--file", str(project.home / "value"), *more)
    return done.returncode, done.stdout + done.stderr


def by_pipe(project: Project, name: str, value: str, *more: str) -> tuple[int, str]:
    done = project.run(MANAGE, "set", name, *more, standard_input=f"{value}\n")
    return done.returncode, done.stdout + done.stderr


def by_rotation(project: Project, name: str, value: str, *more: str) -> tuple[int, str]:
    (project.home / "value").write_bytes(value.encode() + b"\n")
    given = ("--set-file", f"{name}={project.home / 'value'}")
    done = project.run(MANAGE, "rotate", name, "--store-only", "--yes", *given, *more)
    return done.returncode, done.stdout + done.stderr


Door = Callable[..., tuple[int, str]]
DOORS = [by_import, by_set_file, by_set, by_pipe, by_rotation]


@pairs("door", "value")
@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("value", "said"),
    [
        (PUBLISHED, "is a published example"),
        (SHORT, "has 20 characters; use at least 32"),
        (f"{KEY}\r", "begins or ends with a line end"),
        (f"{KEY}\u200b", "cannot be seen"),
        ("${JWT_SECRET_KEY_OF_THE_APPLICATION}", "would put in its place"),
        ("op://Private/the application/signing key", "1Password"),
        (f"JWT_SECRET_KEY={KEY}", "begins with a name and ="),
        ("/run/secrets/jwt_secret_key_of_the_application", "is a path, not what is in the file"),
    ],
)
def test_every_door_refuses_it_and_shows_nothing_of_it(door: Door, value: str, said: str, project: Project) -> None:
    project.set_up()
    before = project.state()
    code, shown = door(project, "JWT_SECRET_KEY", value)
    assert code == 1
    assert said in " ".join(shown.split())
    assert value.strip() not in shown
    after = project.state()
    assert {path: after[path] for path in before} == before


@pytest.mark.parametrize("door", DOORS)
def test_every_door_takes_what_is_accepted_by_name(door: Door, project: Project) -> None:
    project.set_up()
    value = f"{KEY}\u200b"
    code, shown = door(project, "JWT_SECRET_KEY", value, "--accept", "JWT_SECRET_KEY")
    assert code == 0, shown
    assert project.values()["JWT_SECRET_KEY"] == value


@pytest.mark.parametrize("door", DOORS)
def test_every_door_takes_a_good_value(door: Door, project: Project) -> None:
    project.set_up()
    code, shown = door(project, "JWT_SECRET_KEY", KEY)
    assert code == 0, shown
    assert project.values()["JWT_SECRET_KEY"] == KEY


def terminal(project: Project, script: str, *arguments: str) -> Terminal:
    return Terminal(project.script(script, *arguments), environ=project.environ(), cwd=str(project.directory))


def test_a_line_end_is_removed_when_the_person_agrees(project: Project) -> None:
    project.set_up()
    (project.home / "value").write_bytes(f"{KEY}\r\n".encode())
    at = terminal(project, MANAGE, "set", "SMTP_PASSWORD", "--file", str(project.home / "value"))
    at.answer("begins or ends with a line end. Remove that")
    assert at.finish() == 0
    assert project.values()["SMTP_PASSWORD"] == KEY
    at = terminal(project, MANAGE, "set", "SMTP_PASSWORD", "--file", str(project.home / "value"))
    at.answer("begins or ends with a line end. Remove that", "n")
    assert at.finish() == 0
    assert project.values()["SMTP_PASSWORD"] == f"{KEY}\r"


def test_the_wizard_asks_about_an_odd_value_and_takes_another(project: Project) -> None:
    at = terminal(project, SET_UP)
    at.answer("Where do you want to store the secrets")
    at.answer("Name of the first administrator")
    at.answer("Password of the first administrator")
    at.answer("Do you send SMS")
    at.answer("Do you send e-mail", "y")
    at.answer("SMTP_PASSWORD", "op://Private/mail/password" + ENTER)
    at.answer("Repeat it", "op://Private/mail/password" + ENTER)
    at.answer("is a reference of 1Password")
    at.answer(r"SMTP_PASSWORD\)", "Qk7-violet-otter-91 " + ENTER)
    at.answer("Repeat it", "Qk7-violet-otter-91 " + ENTER)
    at.answer("begins or ends with a space. Remove that")
    at.answer("Where do you want to save the master key")
    at.answer("Write this now")
    assert at.finish() == 0
    assert project.values()["SMTP_PASSWORD"] == "Qk7-violet-otter-91"


def test_a_byte_that_is_no_text_is_said_at_the_prompt(project: Project) -> None:
    project.set_up()
    at = terminal(project, MANAGE, "set", "SMTP_PASSWORD")
    at.wait_for("SMTP_PASSWORD")
    os.write(at.process.child_fd, b"p\xe4ssword of the mail server\r")
    at.wait_for("not UTF-8")
    at.process.send("\x15Qk7-violet-otter-91" + ENTER)
    at.answer("Repeat it", "Qk7-violet-otter-91" + ENTER)
    assert at.finish() == 0


def test_values_are_bytes_in_every_locale(project: Project) -> None:
    project.set_up()
    value = "pässwörd-密码-🔑"
    posix = {"LANG": "POSIX", "LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    posix["PYTHONIOENCODING"] = "latin-1"
    done = project.run(MANAGE, "set", "SMTP_PASSWORD", environ=posix, standard_input=value)
    assert done.returncode == 0, done.stderr
    assert project.values()["SMTP_PASSWORD"] == value
    assert project.run(MANAGE, "get", "SMTP_PASSWORD", environ=posix).stdout == value
    command = [*project.script(MANAGE, "run"), "--", "printenv", "SMTP_PASSWORD"]
    ran = subprocess.run(command, env=project.environ(posix), cwd=project.here, capture_output=True, check=False)
    assert ran.stdout.decode() == value + "\n", ran.stderr


# --- What is in use already ------------------------------------------------------------------------------------------


def put(project: Project, name: str, value: str) -> None:
    """Store a value as an earlier version of these tools did."""
    content = project.decrypt()
    content["secrets"][name] = value  # type: ignore[index]
    fernet = Fernet(project.key_file.read_text().strip())
    write_read_only(project.secrets_file, fernet.encrypt(json.dumps(content).encode()))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (PUBLISHED, "is a published example"),
        (SHORT, "has 20 characters; use at least 32"),
        (f"{KEY}\r", "begins or ends with a line end"),
    ],
)
def test_status_says_it_and_its_strict_exit_code_does(value: str, said: str, project: Project) -> None:
    project.set_up()
    put(project, "JWT_SECRET_KEY", value)
    shown = project.run(MANAGE, "status")
    assert shown.returncode == 0
    assert "✓" not in shown.stdout
    assert f"! JWT_SECRET_KEY {said}" in shown.stdout
    assert "rotate JWT_SECRET_KEY" in shown.stdout
    assert project.run(MANAGE, "status", "--strict").returncode == 1
    assert project.run("generate_docker_secrets.sh").returncode == 0
    checked = project.run("generate_docker_secrets.sh", "--check")
    assert "warning: JWT_SECRET_KEY" in checked.stderr
    doctor = project.run(MANAGE, "doctor", "--offline")
    assert "JWT_SECRET_KEY" in doctor.stdout
    assert doctor.returncode == 1


def test_a_restore_never_refuses(project: Project, tmp_path: Path) -> None:
    project.set_up()
    put(project, "JWT_SECRET_KEY", PUBLISHED)
    (tmp_path / "passphrase").write_text("seven wombats ride a slow train")
    lock = ("--passphrase-file", str(tmp_path / "passphrase"))
    assert project.run(MANAGE, "backup", "--output", str(tmp_path / "b.backup"), *lock).returncode == 0
    assert project.run(MANAGE, "rotate", "JWT_SECRET_KEY", "--store-only", "--yes").returncode == 0
    done = project.run(MANAGE, "restore", str(tmp_path / "b.backup"), *lock, "--yes")
    assert done.returncode == 0, done.stderr
    assert project.values()["JWT_SECRET_KEY"] == PUBLISHED


@pytest.fixture
def values() -> dict[str, str]:
    """A complete set of secrets, for a server that listens on every address."""
    return make_plan(CATALOG, {}, GivenValues()).values() | {"APP_HOST": "0.0.0.0"}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("JWT_SECRET_KEY", SHORT, "has 20 characters; use at least 32"),
        ("DATABASE_PASSWORD", "changeme", "is a published example"),
        ("SECRET_KEY", f"{KEY}\r", "line end"),
    ],
)
def test_an_app_that_runs_with_such_a_value_goes_on_and_says_so(
    name: str, value: str, said: str, values: dict[str, str], tmp_path: Path
) -> None:
    with running_app(values | {name: value}, tmp_path) as app:
        answer = app.get("/ready")
        assert answer.status_code == 200
        (warning,) = answer.json()["checks"]["secrets"]["warnings"]
        for shown in (warning, app.log()):
            assert f"{name} " in shown
            assert said in shown
            assert f"rotate {name}" in shown
            assert value not in shown


@pytest.mark.parametrize(
    "published", [PUBLISHED, "your-super-secret-key-change-this-in-production", "${JWT_SECRET_KEY}"]
)
def test_nobody_forges_a_token_with_a_published_key(
    published: str, values: dict[str, str], project: Project, tmp_path: Path
) -> None:
    """No door takes the key; and where it is in use, the app does not start, or does not accept the token."""
    project.set_up()
    for door in DOORS:
        assert door(project, "JWT_SECRET_KEY", published)[0] == 1
    with running_app(values | {"JWT_SECRET_KEY": published}, tmp_path, wait=False) as app:
        assert app.process.wait(30) == 1
    now = int(time.time())
    with warnings.catch_warnings():  # some of them are short, too
        warnings.simplefilter("ignore")
        forged = jwt.encode(
            {"sub": values["ADMIN_USERNAME"], "iat": now, "exp": now + 60}, published, algorithm="HS256"
        )
    with running_app(values, tmp_path) as app:
        assert app.get("/me", Authorization=f"Bearer {forged}").status_code == 401
