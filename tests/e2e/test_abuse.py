"""Strangers cannot bring the application down: in its real image and limits, with a real PostgreSQL and Redis."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import need_program, need_root
from tests.servers.ports import free_port
from tests.servers.postgres import Postgres
from tests.servers.redis import running_redis
from tests.support.abuse import CONNECTIONS, KINDS, running_attack
from tests.support.abused import abuse, missing_force
from tests.support.app import running_app
from tests.support.app_container import AppContainer, app_image, running_container
from tests.support.engine import need_engine
from tests.support.forms import IN_FULL, in_short
from tests.support.probes import probing, wait_until_ready

SECONDS = 60.0 if IN_FULL else 10.0
# In the short form two other processes of tests share the machine's cores.
LONGEST_ANSWER_SECONDS = 1.0 if IN_FULL else 4.0
# The longest delay of a login is 5 s; the rest is for waiting while Argon2 is busy with others.
PATIENCE_SECONDS = 15.0
MOST_MEMORY = 400 * 1024 * 1024
MOST_GUESSES = 10
MOST_LOG_LINES = 500
MOST_LOG_CHARACTERS = 200_000
CORES = (8, 16)
# One of each sort; `make prove` has all of them, each with both numbers of cores.
SHORT_FORM = (
    "logins as nobody",
    "logins for one name from one address",
    "ready",
    "unfinished bodies",
    "tiny chunks",
    "unread answers",
    "pipelining from one address",
    "all together",
)

# With the other tests that start containers: tests/support/schedule.py.
pytestmark = pytest.mark.xdist_group("engine")


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    need_root()
    need_engine()
    with app_image(f"abuse-test-{os.getpid()}:latest") as tag:
        yield tag


@pytest.fixture
def servers(postgres: Postgres, values: dict[str, str]) -> Iterator[dict[str, str]]:
    """Settings for an empty database and an empty Redis."""
    postgres.set_password(values["DATABASE_PASSWORD"])
    with running_redis(values["REDIS_PASSWORD"]) as port:
        yield {
            "DATABASE_HOST": "127.0.0.1",
            "DATABASE_PORT": str(postgres.port),
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": str(port),
        }


@pytest.fixture
def app(
    image: str, values: dict[str, str], servers: dict[str, str], cores: int, tmp_path: Path
) -> Iterator[AppContainer]:
    name = f"abuse-test-{os.getpid()}-{free_port()}"
    with running_container(image, name, values, servers, tmp_path, cores) as container:
        assert wait_until_ready(container.port, lambda: container.has_ended), container.log()
        yield container


@in_short(("kind", "cores"), [(kind, CORES[number % 2]) for number, kind in enumerate(SHORT_FORM)])
@pytest.mark.parametrize("cores", CORES)
@pytest.mark.parametrize("kind", KINDS)
def test_an_abuse_by_strangers_leaves_the_application_in_service(
    kind: str, app: AppContainer, values: dict[str, str]
) -> None:
    outcome = abuse(app.port, kind, SECONDS, values["ADMIN_PASSWORD"], PATIENCE_SECONDS)
    assert not app.has_ended, app.state()
    assert app.peak_memory() < MOST_MEMORY
    assert missing_force(kind, outcome.tally) == []
    for path, probe in outcome.probes.items():
        assert set(probe.statuses) == {200}, (path, probe, outcome.tally)
        assert probe.slowest < LONGEST_ANSWER_SECONDS, (path, probe, outcome.tally)
    if KINDS[kind].guesses_for_one:
        assert outcome.tally.statuses[401] <= MOST_GUESSES
    assert outcome.login_meanwhile.status == 200, outcome
    assert outcome.login_afterwards.status == 200, outcome
    log = app.log()
    assert "Traceback" not in log
    assert log.count("\n") < MOST_LOG_LINES
    assert len(log) < MOST_LOG_CHARACTERS


@pytest.mark.parametrize("kind", ["ready", "idle", "unfinished heads"])
def test_an_attack_that_reaches_nobody_does_not_count_as_one(kind: str) -> None:
    with running_attack(free_port(), kind, 1) as attack:
        tally = attack.tally()
    assert tally.opened == tally.answers == 0
    assert tally.refused >= KINDS[kind].connections
    assert f"only 0 connections, not {CONNECTIONS * 4 // 5}" in missing_force(kind, tally)


FILES = 256
UNFINISHED = 300
# The start and the burst, and then two lines a second.
MOST_LINES_WITHOUT_FILES = 130 + 3 * SECONDS


def test_unfinished_heads_do_not_use_up_the_open_files(values: dict[str, str], tmp_path: Path) -> None:
    limited = [need_program("prlimit", "util-linux"), f"--nofile={FILES}"]
    with running_app(values, tmp_path, prefix=limited) as app:
        port = app.client.base_url.port or 0
        with (
            running_attack(port, "unfinished heads", SECONDS, UNFINISHED) as attack,
            probing(port, "/health") as probes,
        ):
            tally = attack.tally()
    assert tally.opened + tally.refused >= UNFINISHED
    assert set(probes["/health"].statuses) == {200}
    assert probes["/health"].slowest < LONGEST_ANSWER_SECONDS
    assert app.log().count("\n") < MOST_LINES_WITHOUT_FILES
