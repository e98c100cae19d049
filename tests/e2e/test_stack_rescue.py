"""Restoring the secrets of a running stack, destroyed in each way: the application accepts every value again."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.checkout import (
    Checkout,
    containers,
    log_in,
    running_stack,
    wait_until_healthy,
)
from tests.support.files import write_read_only
from tests.support.forms import in_short

Destroy = Callable[[Checkout], None]
PASSPHRASE = "seven wombats ride a slow train"


@pytest.fixture(scope="module")
def stack() -> Iterator[Checkout]:
    """Three healthy containers with secrets from an encrypted file."""
    with running_stack("rescue") as checkout:
        base = checkout.directory.parent
        (base / "passphrase").write_text(PASSPHRASE)
        manage(checkout, "backup", "--output", str(base / "a.backup"), "--passphrase-file", str(base / "passphrase"))
        yield checkout


def manage(stack: Checkout, *arguments: str, check: bool = True) -> str:
    done = stack.run("scripts/manage_secrets.py", *arguments, check=check)
    return done.stdout + ("" if check else done.stderr)


def _file(stack: Checkout) -> None:
    (stack.directory / "config/secrets.enc").unlink()


def _folder(stack: Checkout) -> None:
    for path in stack.directory.glob("config/secrets.enc*"):
        path.unlink()


def _key(stack: Checkout) -> None:
    stack.key_file.unlink()


def _settings(stack: Checkout) -> None:
    _folder(stack)
    (stack.directory / ".env.production").unlink()


def _damage(stack: Checkout) -> None:
    path = stack.directory / "config/secrets.enc"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:100])


# The other combinations, which need no containers, are in test_rescue.py.
CASES = [(destroy, "containers") for destroy in (_file, _folder, _key, _settings, _damage)]
CASES += [(_folder, "secrets"), (_key, "backup")]
ONCE = [(_file, "containers"), (_settings, "containers"), (_damage, "containers"), *CASES[-2:]]


@in_short(("destroy", "source"), ONCE)
@pytest.mark.parametrize(("destroy", "source"), CASES)
def test_each_source_restores_a_running_stack(destroy: Destroy, source: str, stack: Checkout) -> None:
    expected = stack.values()
    destroy(stack)
    arguments = ["--from", source, "--yes"]
    if source == "backup":
        base = stack.directory.parent
        arguments[1] = str(base / "a.backup")
        arguments += ["--passphrase-file", str(base / "passphrase")]
    saved = stack.directory.parent / "secrets"
    if source != "secrets":
        shutil.move(stack.directory / "secrets", saved)
    shown = manage(stack, "rescue", *arguments)
    assert not [value for value in expected.values() if len(value) > 12 and value in shown]
    assert "The running server accepts DATABASE_PASSWORD" in shown
    assert "The running server accepts REDIS_PASSWORD" in shown
    assert stack.values() == expected
    if source != "secrets":
        stack.run("scripts/generate_docker_secrets.sh")
        assert read(stack.directory / "secrets") == read(saved)
        shutil.rmtree(saved)
    assert stack.run("scripts/generate_docker_secrets.sh", "--check").returncode == 0


def test_the_application_accepts_every_value_after_a_restart(stack: Checkout) -> None:
    expected = stack.values()
    _folder(stack)
    _key(stack)
    shutil.rmtree(stack.directory / "secrets")
    manage(stack, "rescue", "--yes")
    stack.run("scripts/generate_docker_secrets.sh")
    stack.run("docker-compose", "up", "-d", "--force-recreate")
    wait_until_healthy(stack)
    assert log_in(stack, expected["ADMIN_PASSWORD"]).status_code == 200
    assert stack.values() == expected


def test_a_value_that_the_server_refuses_is_named_before_anything_is_written(stack: Checkout) -> None:
    path = stack.directory / "secrets/db_password.txt"
    right = path.read_bytes()
    _folder(stack)
    write_read_only(path, b"of-another-database-of-long-ago")  # the container keeps the file that it mounted
    shown = manage(stack, "rescue", "--from", "secrets", "--dry-run")
    assert "The running server refuses DATABASE_PASSWORD" in shown
    assert "containers" in shown.partition("DATABASE_PASSWORD")[2].splitlines()[0]
    manage(stack, "rescue", "--from", "containers", "--yes")
    assert stack.values()["DATABASE_PASSWORD"].encode() == right
    stack.run("scripts/generate_docker_secrets.sh")


def test_containers_alone_are_no_first_run(stack: Checkout) -> None:
    kept = stack.directory.parent / "kept"
    kept.mkdir()
    names = [".env.production", "config/secrets.enc", "config/secrets.enc.sum", "config/SETUP.md", "secrets"]
    for name in names:
        if (stack.directory / name).exists():
            shutil.move(stack.directory / name, kept / name.replace("/", "-"))
    for path in stack.directory.glob("config/secrets.enc*"):
        path.unlink()
    done = stack.run("scripts/setup_secrets.py", "--non-interactive", check=False)
    assert done.returncode == 1
    assert "secrets were set up here before" in done.stderr
    assert "app, postgres, redis" in done.stderr
    before = {service: item["State"]["StartedAt"] for service, item in containers(stack).items()}
    manage(stack, "rescue", "--yes")
    assert {service: item["State"]["StartedAt"] for service, item in containers(stack).items()} == before
    assert log_in(stack, stack.values()["ADMIN_PASSWORD"]).status_code == 200


def test_volumes_alone_are_no_first_run(stack: Checkout) -> None:
    kept = stack.directory.parent / "kept"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(stack.directory, kept, symlinks=True)
    stack.run("docker-compose", "down")
    for name in (".env.production", "config/secrets.enc", "config/secrets.enc.sum", "config/SETUP.md"):
        (stack.directory / name).unlink(missing_ok=True)
    for path in stack.directory.glob("config/secrets.enc*"):
        path.unlink()
    shutil.rmtree(stack.directory / "secrets", ignore_errors=True)
    done = stack.run("scripts/setup_secrets.py", "--non-interactive", check=False)
    assert done.returncode == 1
    assert "A database in them keeps its password" in done.stderr
    text = manage(stack, "rescue", "--yes", check=False)
    assert "Nothing was found that still has the secrets" in text
    assert "--start-over" in text


def read(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.txt")}
