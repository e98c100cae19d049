"""What the guides say is what happens."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.conftest import PROJECT, need_program
from tests.servers.redis import running_redis
from tests.support.checkout import copy_checkout
from tests.support.terminal import ENTER, Terminal
from tests.support.wizard import FIRST_RUN

CTRL_U = "\x15"
QUESTION_STORE = "Where do you want to store the secrets"


def put(project: Path, place: str, code: str) -> None:
    """Put a block of a guide where its title says: a new file, the end of one, or after a line."""
    name, _, where = place.partition(", ")
    path = project / name
    if not where:
        assert not path.exists(), name
        path.write_text(code)
        return
    text = path.read_text()
    if where == "at its end":
        path.write_text(text + code)
        return
    line = where.removeprefix("after ")
    assert where != line, place
    found = [number for number, present in enumerate(text.splitlines()) if present.startswith(line)]
    found = found or [number for number, present in enumerate(text.splitlines()) if present.strip().startswith(line)]
    assert len(found) == 1, f"{place}: {len(found)} lines"
    lines = text.splitlines(keepends=True)
    lines.insert(found[0] + 1, code)
    path.write_text("".join(lines))


NEW_FILES = [
    "src/utils/secrets/backends/redis_json.py",
    "src/ops/store_kinds/redis_json.py",
    "tests/contract/test_redis_store.py",
]
PASSWORD = "password of the test"


@pytest.fixture(scope="module")
def sixth_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the blocks of the guide in it, as they stand."""
    need_program("redis-server", "redis-server")
    project = tmp_path_factory.mktemp("sixth") / "project"
    project.mkdir()
    copy_checkout(project)
    (project / ".venv").symlink_to(PROJECT / ".venv")
    guide = (PROJECT / "docs/add-a-store.md").read_text()
    blocks = re.findall(r'^```python title="(.*?)"\n(.*?)^```$', guide, re.MULTILINE | re.DOTALL)
    assert len(blocks) == len(re.findall("^```python", guide, re.MULTILINE)) == 4
    for place, code in blocks:
        put(project, place, code)
    return project


@pytest.fixture
def redis_server() -> Iterator[int]:
    with running_redis(PASSWORD) as port:
        yield port


class Person:
    """Somebody who uses the sixth store from the folder of the project.

    Args:
        project: The project with the store.
        home: The person's home folder.
        port: Of the Redis server.
    """

    def __init__(self, project: Path, home: Path, port: int) -> None:
        self.project = project
        self.environ = {
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
        }
        self._client = redis.Redis(port=port, password=PASSWORD)

    def run(self, script: str, *arguments: str, environ: Mapping[str, str] | None = None, code: int = 0) -> str:
        """Run a script; returns what it prints."""
        done = subprocess.run(
            [f"./scripts/{script}", *arguments],
            cwd=self.project,
            env=self.environ | dict(environ or {}),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def stored(self, key: str) -> dict[str, str]:
        """What the server holds."""
        data: Any = self._client.get(key)
        content: dict[str, str] = json.loads(data) if data else {}
        return {name: value for name, value in content.items() if name != "_METADATA"}


def test_a_sixth_store_made_by_the_guide_keeps_the_contract(sixth_store: Path) -> None:
    for check in (["ruff", "check"], ["ruff", "format", "--check"], ["mypy", "--no-error-summary"]):
        checked = subprocess.run(
            [sys.executable, "-m", *check, *NEW_FILES], cwd=sixth_store, capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stdout
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    command = re.findall(
        r"^```sh\n\.venv/bin/python (.*)\n```$", (PROJECT / "docs/add-a-store.md").read_text(), re.MULTILINE
    )
    assert len(command) == 1
    done = subprocess.run(
        [sys.executable, *command[0].split(), "-p", "no:cacheprovider"],
        cwd=sixth_store,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    match = re.search(r"^(\d+) passed", done.stdout.splitlines()[-1].strip("= "))
    assert match, done.stdout
    assert int(match[1]) >= 19 + 35, done.stdout


def test_a_sixth_store_is_set_up_in_the_wizard_and_used_by_every_command(
    sixth_store: Path, redis_server: int, tmp_path: Path
) -> None:
    person = Person(sixth_store, tmp_path, redis_server)
    terminal = Terminal([str(sixth_store / "scripts/setup_secrets.py")], environ=person.environ, cwd=str(sixth_store))
    terminal.wait_for(QUESTION_STORE)
    terminal.answer(re.escape("Redis - one key of your Redis server"), "6" + ENTER)
    terminal.answer("Address of Redis", CTRL_U + f"redis://127.0.0.1:{redis_server}" + ENTER)
    terminal.answer("Password of Redis", PASSWORD + ENTER)
    terminal.answer("Keep it for later commands", ENTER)
    terminal.answer("Key of the secrets", ENTER)
    for question in FIRST_RUN[1:5]:
        terminal.answer(question, ENTER)
    terminal.answer("Write this now", ENTER)
    terminal.wait_for("Read back and compared")
    assert terminal.finish() == 0, terminal.text
    assert len(person.stored("cctv")) >= 8
    settings = (sixth_store / ".env.production").read_text()
    assert "SECRETS_BACKEND=redis_json" in settings
    assert "SECRETS_REDIS_PASSWORD_FILE=" in settings
    assert PASSWORD not in settings

    assert f"Redis, key cctv at redis://127.0.0.1:{redis_server}" in person.run("manage_secrets.py", "status")
    (tmp_path / "smtp").write_text("a password of somebody else's server")
    person.run("manage_secrets.py", "set", "SMTP_PASSWORD", "--file", str(tmp_path / "smtp"))
    assert person.stored("cctv")["SMTP_PASSWORD"] == "a password of somebody else's server"
    before = person.stored("cctv")["JWT_SECRET_KEY"]
    person.run("manage_secrets.py", "rotate", "JWT_SECRET_KEY", "--store-only", "--yes")
    assert person.stored("cctv")["JWT_SECRET_KEY"] != before
    assert "accepted" in person.run("manage_secrets.py", "history", "JWT_SECRET_KEY")
    assert "~cctv +get" in person.run("manage_secrets.py", "policy", "redis")
    assert "redis:KEY" in person.run("manage_secrets.py", "migrate", "--help")
    person.run("generate_docker_secrets.sh")
    secret = (sixth_store / "secrets/jwt_secret_key.txt").read_text()
    assert secret == person.stored("cctv")["JWT_SECRET_KEY"]
    person.run("manage_secrets.py", "doctor", "--only", "store", "--only", "missing", "--only", "credentials-expiry")

    values = person.stored("cctv")
    person.run("manage_secrets.py", "migrate", "--to", "file", "--apply", "--yes")
    assert "encrypted file" in person.run("manage_secrets.py", "status")
    sign_in = {"SECRETS_REDIS_URL": f"redis://127.0.0.1:{redis_server}", "SECRETS_REDIS_PASSWORD": PASSWORD}
    person.run("manage_secrets.py", "migrate", "--to", "redis:elsewhere", "--apply", "--yes", environ=sign_in)
    assert person.stored("elsewhere") == values
    assert "key elsewhere" in person.run("manage_secrets.py", "status", environ=sign_in)


def test_a_sixth_store_is_set_up_without_questions_for_another_environment(
    sixth_store: Path, redis_server: int, tmp_path: Path
) -> None:
    person = Person(sixth_store, tmp_path, redis_server)
    options = ("--non-interactive", "--backend", "redis", "--environment", "staging")
    sign_in = {"SECRETS_REDIS_URL": f"redis://127.0.0.1:{redis_server}", "SECRETS_REDIS_PASSWORD": PASSWORD}
    person.run("setup_secrets.py", *options, environ=sign_in)
    assert len(person.stored("cctv-staging")) >= 8
    assert person.stored("cctv") == {}
    again = person.run("setup_secrets.py", *options, environ=sign_in)
    assert "kept" in again
    refused = person.run("setup_secrets.py", *options, code=1, environ=sign_in | {"SECRETS_REDIS_PASSWORD": "wrong"})
    assert "Redis authentication failed" in refused
