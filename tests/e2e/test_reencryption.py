"""`rotate ENCRYPTION_KEY --reencrypt` on a running stack: a killed run is finished, and all data stays readable."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator

import httpx
import pytest
from cryptography.fernet import Fernet

from src.app.encryption import LAST_LOGIN_ADDRESS, Keys
from tests.support.checkout import Checkout, client, find_leaks, log_in, running_stack, wait_until_healthy
from tests.support.forms import in_short
from tests.support.killing import killing

AGAIN = ("rotate", "ENCRYPTION_KEY", "--reencrypt")
ROWS = 10_000


@pytest.fixture(scope="module")
def stack() -> Iterator[Checkout]:
    """Three healthy containers with secrets from an encrypted file."""
    with running_stack("reencryption") as checkout:
        yield checkout


@pytest.fixture(autouse=True)
def ready(stack: Checkout) -> None:
    """The administrator has logged in, and the key has no earlier value."""
    wait_until_healthy(stack)
    assert log_in(stack, stack.values()["ADMIN_PASSWORD"]).status_code == 200


def manage(stack: Checkout, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return stack.run("scripts/manage_secrets.py", *arguments, check=check)


def words(page: str) -> str:
    """Return a page without the breaks of its lines."""
    return " ".join(page.split())


def earlier(stack: Checkout) -> list[str]:
    """Return the earlier values of ENCRYPTION_KEY in the store."""
    fernet = Fernet(stack.key_file.read_bytes().strip())
    content = json.loads(fernet.decrypt((stack.directory / "config/secrets.enc").read_bytes()))
    return [entry["value"] for entry in content["metadata"].get("ENCRYPTION_KEY", {}).get("previous", [])]


def sql(stack: Checkout, statement: str) -> list[str]:
    command = 'exec psql -qAt -U "$POSTGRES_USER" -d "$POSTGRES_DB" -v ON_ERROR_STOP=1'
    done = subprocess.run(
        stack.command("docker-compose", "exec", "-T", "postgres", "sh", "-euc", command),
        cwd=stack.directory,
        env=stack.environ,
        input=statement,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def fill(stack: Checkout, keys: Keys, count: int) -> None:
    """Make accounts with encrypted addresses, in place of those of another test."""
    rows = "".join(f"user{number:05}\tx\t{keys.encrypt(LAST_LOGIN_ADDRESS, str(number))}\n" for number in range(count))
    sql(
        stack,
        "DELETE FROM accounts WHERE username LIKE 'user%';\n"
        f"COPY accounts (username, password_hash, last_login_address) FROM STDIN;\n{rows}\\.\n",
    )


def unreadable(stack: Checkout, *values: str) -> int:
    keys = Keys(values)
    rows = sql(stack, "SELECT coalesce(last_login_address, '') FROM accounts WHERE username LIKE 'user%'")
    return sum(keys.decrypt(LAST_LOGIN_ADDRESS, row) is None for row in rows)


def shown_address(stack: Checkout) -> object:
    token = log_in(stack, stack.values()["ADMIN_PASSWORD"]).json()["access_token"]
    with client(stack) as http:
        return http.get("/me", headers={"Authorization": f"Bearer {token}"}).json()["last_login_address"]


def in_container(stack: Checkout, name: str) -> str:
    return stack.compose("exec", "-T", "app", "cat", f"/run/secrets/{name}")


def test_a_dry_run_shows_the_plan_and_changes_nothing(stack: Checkout) -> None:
    before = stack.values()
    fill(stack, Keys((before["ENCRYPTION_KEY"],)), 3)
    done = manage(stack, *AGAIN, "--dry-run")
    assert "4 to rewrite, 0 that no key opens" in words(done.stdout)
    assert "Nothing was changed" in done.stdout
    assert stack.values() == before
    assert earlier(stack) == []


def test_the_data_gets_the_new_key_and_the_earlier_one_is_gone_everywhere(stack: Checkout) -> None:
    before = stack.values()
    old = before["ENCRYPTION_KEY"]
    fill(stack, Keys((old,)), ROWS)
    done = manage(stack, *AGAIN, "--yes")
    new = stack.values()["ENCRYPTION_KEY"]
    assert new != old
    assert earlier(stack) == []
    assert unreadable(stack, new) == 0
    assert (stack.directory / "secrets/encryption_key_previous.json").read_text() == "[]"
    assert in_container(stack, "encryption_key_previous.json") == "[]"
    assert in_container(stack, "encryption_key") == new
    wait_until_healthy(stack)
    assert shown_address(stack)
    seen = done.stdout + done.stderr + stack.compose("logs", "app")
    assert find_leaks(stack, seen.encode()) == []
    assert old not in seen
    assert manage(stack, "doctor", "--json").stdout.strip() == "[]"


def test_after_a_rotation_the_data_gets_the_value_that_the_key_has(stack: Checkout) -> None:
    old = stack.values()["ENCRYPTION_KEY"]
    fill(stack, Keys((old,)), 10)
    manage(stack, "rotate", "ENCRYPTION_KEY", "--yes")
    new = stack.values()["ENCRYPTION_KEY"]
    assert earlier(stack) == [old]
    done = manage(stack, *AGAIN, "--yes")
    assert "The key keeps its value" in words(done.stdout)
    assert stack.values()["ENCRYPTION_KEY"] == new
    assert earlier(stack) == []
    assert unreadable(stack, new) == 0


@pytest.fixture
def killer(stack: Checkout) -> Iterator[None]:
    with killing(stack, looks=("-check", "reencrypt count", "sha256sum")):
        yield


# The calls: restart with the new value, rewrite, restart without the earlier one. A run after a kill goes on from it.
KILLS = (
    ((1, "after"), (2, "after"), (4, "after")),
    ((1, "before"), (2, "before"), (3, "before")),
    ((1, "before"), (2, "after"), (3, "after")),
    ((1, "after"), (2, "before"), (3, "before")),
    ((2, "before"), (3, "before"), (4, "before")),
    ((2, "after"), (3, "after")),
    ((3, "before"), (4, "before"), (5, "before")),
)


@in_short("kills", [KILLS[0]])
@pytest.mark.parametrize("kills", KILLS, ids=str)
def test_kills_at_any_step_are_named_and_the_next_run_finishes(
    stack: Checkout, killer: None, kills: tuple[tuple[int, str], ...]
) -> None:
    old = stack.values()["ENCRYPTION_KEY"]
    fill(stack, Keys((old,)), ROWS)
    for call, when in kills:
        stack.environ |= {"KILL_AT": str(call), "KILL_WHEN": when}
        done = manage(stack, *AGAIN, "--yes", check=False)
        assert done.returncode == -signal.SIGKILL, (call, done.stdout, done.stderr)
        assert unreadable(stack, stack.values()["ENCRYPTION_KEY"], *earlier(stack)) == 0
    stack.environ["KILL_AT"] = "never"
    wait_until_healthy(stack)
    new = stack.values()["ENCRYPTION_KEY"]
    assert new != old
    assert "rotate ENCRYPTION_KEY --reencrypt" in words(manage(stack, "status", check=False).stdout)
    findings = json.loads(manage(stack, "doctor", "--json", check=False).stdout)
    assert "journal" in [finding["check"] for finding in findings]
    manage(stack, *AGAIN, "--yes")
    assert stack.values()["ENCRYPTION_KEY"] == new
    assert earlier(stack) == []
    assert unreadable(stack, new) == 0
    assert not list((stack.home / ".local/state/cctv-face-detection").glob("re*-production.json"))
    wait_until_healthy(stack)


def test_data_that_no_key_opens_keeps_the_earlier_key_until_its_removal_is_confirmed(stack: Checkout) -> None:
    old = stack.values()["ENCRYPTION_KEY"]
    fill(stack, Keys(("l" * 32,)), 5)
    done = manage(stack, *AGAIN, "--yes", check=False)
    assert done.returncode == 1
    assert "No key opens 5 values" in done.stderr
    assert "rotate ENCRYPTION_KEY --reencrypt --discard" in done.stderr
    assert "Nothing was changed" in done.stderr
    assert stack.values()["ENCRYPTION_KEY"] == old
    assert earlier(stack) == []
    assert unreadable(stack, "l" * 32) == 0
    done = manage(stack, *AGAIN, "--discard", "--yes", check=False)
    assert done.returncode == 2
    assert "--confirm ENCRYPTION_KEY" in done.stderr
    assert unreadable(stack, "l" * 32) == 0
    done = manage(stack, *AGAIN, "--discard", "--confirm", "ENCRYPTION_KEY")
    assert "REMOVED permanently: 5" in words(done.stdout)
    assert earlier(stack) == []
    assert sql(stack, "SELECT count(*) FROM accounts WHERE username LIKE 'user%' AND last_login_address IS NULL") == [
        "5"
    ]
    wait_until_healthy(stack)
    assert shown_address(stack)


def wait_until_it_listens(stack: Checkout) -> None:
    deadline = time.monotonic() + 60
    with client(stack) as http:
        while True:
            try:
                if http.get("/health").status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_a_lost_key_is_left_behind_when_its_data_is_discarded(stack: Checkout) -> None:
    fill(stack, Keys((stack.values()["ENCRYPTION_KEY"],)), 5)
    path = stack.directory / "config/secrets.enc"
    fernet = Fernet(stack.key_file.read_bytes().strip())
    content = json.loads(fernet.decrypt(path.read_bytes()))
    content["secrets"]["ENCRYPTION_KEY"] = "z" * 32
    path.chmod(0o600)
    path.write_bytes(fernet.encrypt(json.dumps(content).encode()))
    path.chmod(0o400)
    path.with_name("secrets.enc.sum").unlink(missing_ok=True)
    stack.run("scripts/generate_docker_secrets.sh")
    stack.compose("restart", "app")
    wait_until_it_listens(stack)
    done = manage(stack, *AGAIN, "--yes", check=False)
    assert done.returncode == 1
    assert earlier(stack) == []
    manage(stack, *AGAIN, "--discard", "--confirm", "ENCRYPTION_KEY")
    wait_until_healthy(stack)
    assert shown_address(stack)


def test_a_stack_that_does_not_run_is_refused_with_the_command_to_start_it(stack: Checkout) -> None:
    before = stack.values()
    stack.compose("stop", "app")
    try:
        done = manage(stack, *AGAIN, "--yes", check=False)
        assert done.returncode == 1
        assert "The app container does not run, so nothing was changed" in done.stderr
        assert "make up" in done.stderr
        assert stack.values() == before
        assert earlier(stack) == []
    finally:
        stack.compose("start", "app")
        wait_until_healthy(stack)
