"""``apply`` after every change: what runs uses what the store holds; what refuses is named before anything changes."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import time
from collections.abc import Iterator

import pytest

from tests.support.checkout import Checkout, client, find_leaks, log_in, running_stack, wait_until_healthy
from tests.support.forms import in_short
from tests.support.terminal import ENTER, Terminal

MANAGE = "scripts/manage_secrets.py"
OTHERS = ("SECRET_KEY", "JWT_SECRET_KEY", "ENCRYPTION_KEY", "WEBHOOK_SECRET", "SMTP_PASSWORD", "TWILIO_TOKEN")
SIGN_IN = ("DATABASE_PASSWORD", "REDIS_PASSWORD", "ADMIN_PASSWORD")


@pytest.fixture(scope="module")
def stack() -> Iterator[Checkout]:
    """Three healthy containers with secrets from an encrypted file."""
    with running_stack("apply") as checkout:
        yield checkout


@pytest.fixture(autouse=True)
def leave_it_as_it_should_be(stack: Checkout) -> Iterator[None]:
    yield
    stack.run(MANAGE, "apply", "--yes")
    wait_until_healthy(stack)


def next_command(printed: str) -> str:
    """Return the command that is printed under ``Next:``."""
    return printed.split("\nNext:\n", 1)[1].splitlines()[0].strip()


def type_at_terminal(stack: Checkout, command: str) -> str:
    """Type a command as it stands, and Enter for each question; returns what is seen."""
    terminal = Terminal(
        shlex.split(command), environ=stack.environ | {"TERM": "xterm"}, cwd=str(stack.directory), timeout=180
    )
    terminal.answer("Do that now", ENTER)
    assert terminal.finish() == 0, terminal.text
    return terminal.text


def change(stack: Checkout, name: str) -> str:
    """Give a secret a new value; returns what is printed."""
    file = stack.home / "typed"
    file.write_text(f"x9-Qm4-{time.monotonic_ns()}-zT")
    if name == "SMTP_PASSWORD":
        return stack.run(MANAGE, "set", name, "--file", str(file)).stdout
    if name == "TWILIO_TOKEN":  # set together with another one
        files = [word for member in ("TWILIO_SID", name) for word in ("--set-file", f"{member}={file}")]
        return stack.run("scripts/setup_secrets.py", "--non-interactive", *files).stdout
    return stack.run(MANAGE, "set", name, "--generate").stdout


def mounted(stack: Checkout, name: str) -> str:
    files = {"DATABASE_PASSWORD": "db_password"}
    return stack.compose("exec", "-T", "app", "cat", f"/run/secrets/{files.get(name, name.lower())}")


def is_ready(stack: Checkout) -> bool:
    with client(stack) as http:
        return http.get("/ready").status_code == 200


def database_accepts(stack: Checkout, password: str) -> bool:
    shell = 'psql -h "$(hostname -i | cut -d" " -f1)" -U cctv -d cctv -qAtc "SELECT 1"'
    done = stack.run(
        "docker-compose", "exec", "-T", "-e", f"PGPASSWORD={password}", "postgres", "sh", "-c", shell, check=False
    )
    return done.stdout.strip() == "1"


def redis_accepts(stack: Checkout, password: str) -> bool:
    done = stack.run(
        *("docker-compose", "exec", "-T", "-e", f"REDISCLI_AUTH={password}", "redis", "redis-cli", "ping"), check=False
    )
    return done.stdout.strip() == "PONG"


def accepts(stack: Checkout, name: str, value: str) -> bool:
    """Whether what a secret signs in to accepts a value."""
    if name == "ADMIN_PASSWORD":
        return log_in(stack, value).status_code == 200
    return database_accepts(stack, value) if name == "DATABASE_PASSWORD" else redis_accepts(stack, value)


def lock_out(stack: Checkout, server: str) -> None:
    """Give a server a password that nobody knows."""
    if server == "postgres":
        statement = "ALTER ROLE cctv PASSWORD 'that nobody knows'"
        stack.compose("exec", "-T", "postgres", "psql", "-q", "-U", "cctv", "-c", statement)
        return
    change = "redis-cli --user operator ACL SETUSER default resetpass '>nobody-knows-this-one'"
    stack.compose("exec", "-T", "redis", "sh", "-euc", f"REDISCLI_AUTH=$(cat /run/redis/operator) {change}")


@in_short("names", [OTHERS, SIGN_IN])
@pytest.mark.parametrize("names", [OTHERS, SIGN_IN, *((name,) for name in SIGN_IN)], ids=" ".join)
def test_the_printed_next_command_brings_a_new_value_everywhere(names: tuple[str, ...], stack: Checkout) -> None:
    before = stack.values()
    printed = [change(stack, name) for name in names]
    status = stack.run(MANAGE, "status").stdout
    assert "Next:\n    ./scripts/manage_secrets.py apply" in status
    assert "Everything that is required is there" not in status
    assert {next_command(text) for text in printed} == {"./scripts/manage_secrets.py apply"}
    seen = type_at_terminal(stack, next_command(printed[-1]))
    assert "Looked again: everything that runs has what the store holds." in seen
    after = stack.values()
    assert all(mounted(stack, name) == after[name] != before.get(name) for name in names)
    assert is_ready(stack)
    assert find_leaks(stack, seen.encode()) == []
    for name in set(names) & set(SIGN_IN):
        assert accepts(stack, name, after[name])
        assert not accepts(stack, name, before[name])
    assert "Everything that runs has what the store holds" in stack.run(MANAGE, "apply").stdout


def test_the_wizard_goes_on_to_the_containers(stack: Checkout) -> None:
    file = stack.home / "typed"
    file.write_text(f"x9-Qm4-{time.monotonic_ns()}-zT-0123456789")
    command = ["scripts/setup_secrets.py", "--set-file", f"WEBHOOK_SECRET={file}", "--yes"]
    terminal = Terminal(command, environ=stack.environ | {"TERM": "xterm"}, cwd=str(stack.directory), timeout=180)
    deadline = time.monotonic() + 120
    while terminal.is_running():
        assert time.monotonic() < deadline, terminal.text
        terminal.settle(0.4)
        if terminal.screen.cursor.x and re.search(r"^\? ", "\n".join(terminal.lines), re.MULTILINE):
            terminal.screen.reset()
            terminal.process.send(ENTER)
    assert terminal.finish() == 0, terminal.text
    assert "The containers still have the old values" in terminal.text
    assert mounted(stack, "WEBHOOK_SECRET") == stack.values()["WEBHOOK_SECRET"] == file.read_text()


def test_a_rollback_and_a_rotation_of_the_store_alone_are_applied_too(stack: Checkout) -> None:
    before = stack.values()
    done = stack.run(MANAGE, "rotate", "DATABASE_PASSWORD", "REDIS_PASSWORD", "--store-only", "--yes")
    assert next_command(done.stdout) == "./scripts/manage_secrets.py apply"
    stack.run(MANAGE, "apply", "--yes")
    rotated = stack.values()
    assert database_accepts(stack, rotated["DATABASE_PASSWORD"])
    assert redis_accepts(stack, rotated["REDIS_PASSWORD"])
    done = stack.run(MANAGE, "rollback", "DATABASE_PASSWORD", "--yes")
    assert next_command(done.stdout) == "./scripts/manage_secrets.py apply"
    stack.run(MANAGE, "apply", "--yes")
    assert stack.values()["DATABASE_PASSWORD"] == before["DATABASE_PASSWORD"]
    assert database_accepts(stack, before["DATABASE_PASSWORD"])
    assert not database_accepts(stack, rotated["DATABASE_PASSWORD"])


@pytest.mark.parametrize(
    ("server", "said"),
    [("postgres", "PostgreSQL refuses the DATABASE_PASSWORD"), ("redis", "Redis refuses the REDIS_PASSWORD")],
)
def test_a_rotation_does_not_begin_while_a_server_refuses_and_apply_lets_it_in_again(
    server: str, said: str, stack: Checkout
) -> None:
    before = stack.values()
    lock_out(stack, server)
    start = time.monotonic()
    done = stack.run(MANAGE, "rotate", "JWT_SECRET_KEY", "--yes", check=False)
    assert time.monotonic() - start < 10
    assert done.returncode == 1
    assert f"{said} in the store; nothing was changed" in done.stderr
    assert "manage_secrets.py apply" in done.stderr
    assert stack.values() == before
    status = json.loads(stack.run(MANAGE, "status", "--json").stdout)
    assert status["containers"]["refused"] == [said.rsplit(maxsplit=1)[-1]]
    plan = json.loads(stack.run(MANAGE, "apply", "--json").stdout)
    assert not plan["up_to_date"]
    assert find_leaks(stack, json.dumps(plan).encode()) == []
    stack.run(MANAGE, "apply", "--yes")
    wait_until_healthy(stack)
    assert database_accepts(stack, before["DATABASE_PASSWORD"])
    assert redis_accepts(stack, before["REDIS_PASSWORD"])


@pytest.mark.parametrize(
    ("stop", "go_on", "said"),
    [
        ("kill --signal STOP postgres", "kill --signal CONT postgres", "PostgreSQL does not answer"),
        ("kill --signal STOP redis", "kill --signal CONT redis", "Redis does not answer"),
        ("pause redis", "unpause redis", "Redis does not run (paused)"),
    ],
)
def test_a_rotation_does_not_begin_while_a_server_does_not_answer(
    stop: str, go_on: str, said: str, stack: Checkout
) -> None:
    before = stack.values()
    stack.compose(*stop.split())
    try:
        start = time.monotonic()
        done = stack.run(MANAGE, "rotate", "JWT_SECRET_KEY", "--yes", check=False)
        assert time.monotonic() - start < 10
    finally:
        stack.compose(*go_on.split())
    assert done.returncode == 1
    assert f"{said}, so nothing was changed" in done.stderr
    assert stack.values() == before
    wait_until_healthy(stack)


def test_a_plan_needs_no_docker(stack: Checkout) -> None:
    before = stack.values()
    stack.environ["DOCKER_HOST"] = "unix:///nowhere/docker.sock"
    try:
        plan = stack.run(MANAGE, "rotate", "JWT_SECRET_KEY", "--dry-run")
        refused = stack.run(MANAGE, "rotate", "JWT_SECRET_KEY", "--yes", check=False)
        status = stack.run(MANAGE, "status")
        written = stack.run("scripts/generate_docker_secrets.sh")
    finally:
        del stack.environ["DOCKER_HOST"]
    assert "What runs is not known" in plan.stdout
    assert refused.returncode == 1
    assert "--store-only" in refused.stderr
    assert stack.values() == before
    assert "What the containers run with is not known" in status.stdout
    assert "Docker did not answer" in written.stderr
    assert "0 written" in written.stdout


def test_a_dry_run_changes_nothing(stack: Checkout) -> None:
    change(stack, "WEBHOOK_SECRET")
    old = mounted(stack, "WEBHOOK_SECRET")
    done = stack.run(MANAGE, "apply", "--dry-run")
    assert "restart app" in done.stdout
    assert "WEBHOOK_SECRET" in done.stdout
    assert "Dry run: nothing was changed." in done.stdout
    assert mounted(stack, "WEBHOOK_SECRET") == old
    assert stack.run(MANAGE, "apply", check=False).returncode == 2


def test_make_up_writes_the_files_and_brings_what_runs_up_to_date(stack: Checkout) -> None:
    change(stack, "WEBHOOK_SECRET")
    done = stack.run("make", "up")
    assert "The app container has restarted" in done.stdout
    assert mounted(stack, "WEBHOOK_SECRET") == stack.values()["WEBHOOK_SECRET"]


def test_the_containers_of_another_checkout_are_left_alone(stack: Checkout) -> None:
    """Two folders with one name; where the first is no more, it was moved."""
    other = stack.directory.parent / "copy/project"  # a name by which coverage knows a copy of the project
    shutil.copytree(stack.directory, other, symlinks=True)
    copied = Checkout(other, stack.home, stack.uid, stack.environ)
    away = stack.directory.with_name("away")
    try:
        for command in ((MANAGE, "apply"), (MANAGE, "rotate", "JWT_SECRET_KEY", "--yes"), ("make", "up")):
            done = copied.run(*command, check=False)
            assert done.returncode != 0
            assert f"were started from another folder: {stack.directory}" in done.stderr
        stack.directory.rename(away)
        assert "Everything that runs has what the store holds" in copied.run(MANAGE, "apply").stdout
    finally:
        if away.exists():
            away.rename(stack.directory)
        shutil.rmtree(other.parent)


def test_make_up_says_what_is_in_its_way_before_it_starts_anything(stack: Checkout) -> None:
    stack.environ["DOCKER_HOST"] = "unix:///nowhere/docker.sock"
    try:
        done = stack.run("make", "up", check=False)
    finally:
        del stack.environ["DOCKER_HOST"]
    assert done.returncode == 2
    assert "error: Docker does not answer: " in done.stderr
    assert "nothing was started" in done.stderr
    assert "written" not in done.stdout
