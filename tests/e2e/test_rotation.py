"""Rotating the secrets of a running stack: nobody is locked out, nothing leaks, and a killed run is finished."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.checkout import (
    Checkout,
    client,
    containers,
    find_leaks,
    log_in,
    running_stack,
    wait_until_healthy,
)
from tests.support.engine import docker
from tests.support.forms import in_short
from tests.support.killing import killing

ROTATED = [
    "SECRET_KEY",
    "JWT_SECRET_KEY",
    "ENCRYPTION_KEY",
    "WEBHOOK_SECRET",
    "DATABASE_PASSWORD",
    "REDIS_PASSWORD",
    "ADMIN_PASSWORD",
]


@pytest.fixture(scope="module")
def stack() -> Iterator[Checkout]:
    """Three healthy containers with secrets from an encrypted file."""
    with running_stack("rotation") as checkout:
        yield checkout


def rotate(stack: Checkout, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return stack.run("scripts/manage_secrets.py", "rotate", *arguments, "--yes", check=check)


def token(stack: Checkout) -> str:
    answer = log_in(stack, stack.values()["ADMIN_PASSWORD"])
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


def me(stack: Checkout, token: str) -> int:
    with client(stack) as http:
        return http.get("/me", headers={"Authorization": f"Bearer {token}"}).status_code


def redis_accepts(stack: Checkout, password: str) -> bool:
    done = stack.run(
        *("docker-compose", "exec", "-T", "-e", f"REDISCLI_AUTH={password}", "redis", "redis-cli", "ping"), check=False
    )
    return done.stdout.strip() == "PONG"


def database_accepts(stack: Checkout, password: str) -> bool:
    shell = 'psql -h "$(hostname -i | cut -d" " -f1)" -U cctv -d cctv -qAtc "SELECT 1"'
    done = stack.run(
        "docker-compose", "exec", "-T", "-e", f"PGPASSWORD={password}", "postgres", "sh", "-c", shell, check=False
    )
    return done.stdout.strip() == "1"


class Caller(threading.Thread):
    """A client that calls /ready, and /me with a token from before the rotation, 20 times a second."""

    def __init__(self, stack: Checkout, token: str) -> None:
        super().__init__()
        self._stack = stack
        self._token = token
        self._ended = threading.Event()
        self.answers: list[tuple[float, bool, str]] = []

    def run(self) -> None:
        with client(self._stack) as http:
            while not self._ended.wait(0.05):
                start = time.time()
                try:
                    ready = http.get("/ready", timeout=10)
                    known = http.get("/me", headers={"Authorization": f"Bearer {self._token}"}, timeout=10)
                except httpx.HTTPError as error:
                    self.answers.append((start, False, type(error).__name__))
                else:
                    # A new ADMIN_PASSWORD ends the sessions of the old one; that is an answer, too.
                    good = ready.status_code == 200 and known.status_code in (200, 401)
                    self.answers.append((start, good, f"{ready.text} {known.status_code}" if not good else ""))

    def stop(self) -> None:
        self._ended.set()
        self.join(30)


def app_restart(stack: Checkout) -> tuple[float, float]:
    """Return when the app's container stopped, and when it was up again, in seconds since the epoch."""
    state = containers(stack)["app"]["State"]
    return tuple(  # type: ignore[return-value]
        time.mktime(time.strptime(state[name][:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone + float(state[name][19:26])
        for name in ("FinishedAt", "StartedAt")
    )


def test_all_secrets_change_while_requests_fail_during_the_app_s_own_restart_only(stack: Checkout) -> None:
    before, old_token = stack.values(), token(stack)
    caller = Caller(stack, old_token)
    caller.start()
    time.sleep(1)
    processes: set[str] = set()
    watching = threading.Event()

    def watch() -> None:
        while not watching.wait(0.02):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    processes.add(path.read_bytes().decode(errors="replace"))
                except OSError:
                    continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    done = rotate(stack, "--all")
    wait_until_healthy(stack)
    time.sleep(1)
    caller.stop()
    watching.set()
    watcher.join()
    after = stack.values()
    assert [name for name in before if after[name] != before[name]] == [name for name in before if name in ROTATED]
    stopped, started = app_restart(stack)
    # A request may be running when the container stops, and the start takes a moment.
    outside = [answer for answer in caller.answers if not answer[1] and not stopped - 1.5 < answer[0] < started + 10]
    assert outside == []
    failed = [answer for answer in caller.answers if not answer[1]]
    print(f"{len(caller.answers)} calls, {len(failed)} failed, all within the app's restart")  # noqa: T201
    assert len(caller.answers) - len(failed) > 20
    assert caller.answers[-1][1]
    assert me(stack, old_token) == 401  # the new ADMIN_PASSWORD has ended it
    assert log_in(stack, before["ADMIN_PASSWORD"]).status_code == 401
    assert database_accepts(stack, after["DATABASE_PASSWORD"])
    assert not database_accepts(stack, before["DATABASE_PASSWORD"])
    assert redis_accepts(stack, after["REDIS_PASSWORD"])
    assert not redis_accepts(stack, before["REDIS_PASSWORD"])
    trail = (stack.home / ".local/state/cctv-face-detection/audit.jsonl").read_text()
    seen = stack.compose("logs") + done.stdout + done.stderr + trail + "\n".join(processes)
    assert find_leaks(stack, seen.encode()) == []
    assert not [name for name in ROTATED if before[name] in seen]
    assert "SCRAM-SHA-256" not in stack.compose("logs", "postgres")
    assert "up to date" in stack.run("scripts/generate_docker_secrets.sh", "--check").stdout
    # The servers keep the new passwords after a restart.
    stack.compose("restart", "postgres", "redis")
    wait_until_healthy(stack)
    assert redis_accepts(stack, after["REDIS_PASSWORD"])


def test_after_the_grace_time_an_old_token_is_refused(stack: Checkout) -> None:
    old = token(stack)
    rotate(stack, "JWT_SECRET_KEY", "--grace", "20s")
    assert me(stack, old) == 200
    deadline = time.monotonic() + 40
    while me(stack, old) == 200:
        assert time.monotonic() < deadline
        time.sleep(1)
    assert me(stack, token(stack)) == 200


def steps_of(stack: Checkout) -> list[str]:
    """Return the commands that a rotation runs, in order, recorded by a wrapper around Compose."""
    return (stack.home / "calls").read_text().splitlines()


@pytest.fixture
def killer(stack: Checkout) -> Iterator[None]:
    with killing(stack):
        yield


# What is before a step is also after the one before it.
KILLS = [(1, "before"), *((step, "after") for step in range(1, 6))]


@in_short(("step", "when"), KILLS)
@pytest.mark.parametrize(("step", "when"), [(step, when) for step in range(1, 6) for when in ("before", "after")])
def test_a_kill_at_any_step_locks_nobody_out_and_the_next_run_finishes(
    stack: Checkout, killer: None, step: int, when: str
) -> None:
    before = stack.values()
    (stack.home / "calls").unlink(missing_ok=True)
    stack.environ |= {"KILL_AT": str(step), "KILL_WHEN": when}
    done = rotate(stack, "REDIS_PASSWORD", "DATABASE_PASSWORD", "ADMIN_PASSWORD", check=False)
    assert done.returncode == -signal.SIGKILL, (step, when, steps_of(stack), done.stderr)
    stack.environ["KILL_AT"] = "never"
    wait_until_healthy(stack)  # not locked out
    values = stack.values()
    assert values["DATABASE_PASSWORD"] != before["DATABASE_PASSWORD"]
    (stack.home / "calls").unlink()
    finished = rotate(stack)
    assert "An earlier rotation was interrupted" in finished.stdout
    assert stack.values() == values
    wait_until_healthy(stack)
    assert database_accepts(stack, values["DATABASE_PASSWORD"])
    assert redis_accepts(stack, values["REDIS_PASSWORD"])
    assert not redis_accepts(stack, before["REDIS_PASSWORD"])
    assert log_in(stack, values["ADMIN_PASSWORD"]).status_code == 200
    assert not list((stack.home / ".local/state/cctv-face-detection").glob("rotate-*"))


def test_a_failed_step_undoes_the_whole_rotation(stack: Checkout) -> None:
    """The app cannot log in as an administrator with a name that it does not have: the last step fails."""
    before = stack.values()
    script = stack.directory / "scripts/compose.sh"
    real = stack.directory / "scripts/compose-real.sh"
    script.rename(real)
    script.write_text(
        f'#!/bin/sh\ncase "$*" in *redis-only*) [ -e {stack.home}/failed ] || {{ touch {stack.home}/failed; '
        "echo 'no more' >&2; exit 1; };; esac\nexec scripts/compose-real.sh \"$@\"\n"
    )
    script.chmod(0o755)
    try:
        done = rotate(stack, "REDIS_PASSWORD", "DATABASE_PASSWORD", check=False)
    finally:
        real.replace(script)
    assert done.returncode == 1
    assert "failed and was undone" in done.stderr
    assert stack.values() == before
    wait_until_healthy(stack)
    assert database_accepts(stack, before["DATABASE_PASSWORD"])
    assert redis_accepts(stack, before["REDIS_PASSWORD"])
    assert "up to date" in stack.run("scripts/generate_docker_secrets.sh", "--check").stdout


def test_the_plan_is_shown_first_and_a_dry_run_changes_nothing(stack: Checkout) -> None:
    before = stack.values()
    done = stack.run("scripts/manage_secrets.py", "rotate", "--all", "--dry-run")
    assert re.search(r"DATABASE_PASSWORD\s+app, postgres\s+the database's role", done.stdout)
    assert "The app restarts once" in done.stdout
    assert stack.values() == before


@pytest.mark.parametrize("how", [("stop", "postgres"), ("down",)])
def test_the_password_of_a_stopped_database_is_not_rotated(stack: Checkout, how: tuple[str, ...]) -> None:
    before = stack.values()
    stack.compose(*how)
    try:
        done = rotate(stack, "DATABASE_PASSWORD", check=False)
        assert done.returncode == 1
        assert "hint: Start the stack first: make up" in done.stderr
        assert stack.values() == before
    finally:
        stack.compose("up", "-d", "--no-build")
        wait_until_healthy(stack)
    assert json.loads(stack.run("scripts/manage_secrets.py", "status", "--json").stdout)["secrets"]


# --- The doctor, on the running stack --------------------------------------------------------------------------------


def doctor(stack: Checkout) -> list[str]:
    done = stack.run("scripts/manage_secrets.py", "doctor", "--json", check=False)
    return [finding["check"] for finding in json.loads(done.stdout)]


def test_the_doctor_is_silent_on_a_healthy_stack(stack: Checkout) -> None:
    assert doctor(stack) == []


def test_the_doctor_sees_an_app_that_has_not_been_restarted(stack: Checkout) -> None:
    stack.run("scripts/manage_secrets.py", "set", "WEBHOOK_SECRET", "--generate")
    stack.run("scripts/generate_docker_secrets.sh")
    assert doctor(stack) == ["stale-containers"]
    stack.compose("restart", "app")
    wait_until_healthy(stack)
    assert doctor(stack) == []


def test_the_doctor_sees_servers_with_other_passwords_than_the_store(stack: Checkout) -> None:
    before = stack.values()
    rotate(stack, "DATABASE_PASSWORD", "REDIS_PASSWORD", "--store-only")
    stack.compose("restart", "app")
    try:
        assert {"database-password", "redis-password"} <= set(doctor(stack))
    finally:
        for name in ("DATABASE_PASSWORD", "REDIS_PASSWORD"):
            stack.run("scripts/manage_secrets.py", "rollback", name, "--yes")
        stack.run("scripts/generate_docker_secrets.sh")
        stack.compose("restart", "app")
        wait_until_healthy(stack)
    assert stack.values() == before
    assert doctor(stack) == []


def test_the_doctor_sees_a_service_that_is_not_healthy(stack: Checkout) -> None:
    impatient = stack.directory / "docker-compose.override.yml"
    usual = impatient.read_text()
    impatient.write_text("services: {app: {healthcheck: {interval: 2s, retries: 1, start_period: 0s}}}\n")
    try:
        stack.compose("up", "-d", "--no-build", "app")
        stack.compose("stop", "redis")
        deadline = time.monotonic() + 120
        while "unhealthy" not in doctor(stack):
            assert time.monotonic() < deadline
            time.sleep(1)
    finally:
        impatient.write_text(usual)
        stack.compose("up", "-d", "--no-build")
        wait_until_healthy(stack)


def test_the_running_stack_s_secrets_become_swarm_secrets(swarm: Checkout) -> None:
    done = swarm.run("scripts/generate_docker_secrets.sh", "--swarm")
    assert "docker stack deploy" in done.stdout
    listed = docker("secret", "ls", "--format", "{{.Name}}").split()
    assert any(name.startswith("cctv-face-detection_db_password_v") for name in listed)
    assert find_leaks(swarm, done.stdout.encode()) == []
