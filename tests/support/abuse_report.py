"""Each abuse against an application on this machine, as a table for people."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from src.ops.setup.given import GivenValues
from src.ops.setup.plan import make_plan
from src.utils.secrets.catalog import load_catalog
from tests.servers.postgres import running_postgres
from tests.servers.redis import running_redis
from tests.support.abused import PATHS, Outcome, abuse
from tests.support.app import App, running_app
from tests.support.probes import wait_until_ready

_ROW = "{:38} {:34} {:>14} {:>14} {:>9} {:>9} {:>7} {:>7}"
_PATIENCE_SECONDS = 15.0
_MOST_ERRORS = 4
_LONGEST_LINE = 160
_PRETEND = "import os\nos.cpu_count = os.process_cpu_count = lambda: 16\n"


def report(seconds: float, kinds: list[str]) -> None:
    """Print the table.

    Args:
        seconds: How long each kind lasts.
        kinds: Which.
    """
    values = make_plan(load_catalog(), {}, GivenValues()).values()
    print(_ROW.format("kind", "answers", *PATHS, "login", "after", "MB", "lines"), flush=True)  # noqa: T201
    for kind in kinds:
        with _app(values) as app:
            port = app.client.base_url.port
            assert port is not None
            outcome = abuse(port, kind, seconds, values["ADMIN_PASSWORD"], _PATIENCE_SECONDS)
            print(_ROW.format(kind, _attack(outcome), *_seen(outcome), _memory(app), _log(app)), flush=True)  # noqa: T201
            for line in _errors(app):
                print(f"    {line}", flush=True)  # noqa: T201


@contextmanager
def _app(values: dict[str, str]) -> Iterator[App]:
    with (
        tempfile.TemporaryDirectory() as name,
        running_postgres() as postgres,
        running_redis(values["REDIS_PASSWORD"]) as redis,
    ):
        folder = Path(name)
        (folder / "sitecustomize.py").write_text(_PRETEND)
        postgres.set_password(values["DATABASE_PASSWORD"])
        environ = {
            **values,
            "DATABASE_HOST": "127.0.0.1",
            "DATABASE_PORT": str(postgres.port),
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": str(redis),
            "PYTHONPATH": name,
        }
        with running_app(environ, folder) as app:
            port = app.client.base_url.port
            assert port is not None
            assert wait_until_ready(port, lambda: app.process.poll() is not None), app.log()
            yield app


def _attack(outcome: Outcome) -> str:
    statuses = " ".join(f"{status}:{count}" for status, count in sorted(outcome.tally.statuses.items()))
    return f"{statuses} closed:{outcome.tally.closed} refused:{outcome.tally.refused}"


def _seen(outcome: Outcome) -> list[str]:
    probes = [outcome.probes[path] for path in PATHS]
    failed = [probe.statuses.total() - probe.statuses[200] for probe in probes]
    texts = [f"{probe.slowest:.1f}s bad:{count}" for probe, count in zip(probes, failed, strict=True)]
    logins = (outcome.login_meanwhile, outcome.login_afterwards)
    return texts + [f"{login.status} {login.seconds:.1f}s" for login in logins]


def _memory(app: App) -> str:
    if app.process.poll() is not None:
        return "ended"
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{app.process.pid}/status").read_text())
    return f"{int(found[1]) // 1024}" if found else "?"


def _log(app: App) -> str:
    return str(app.log().count("\n"))


def _errors(app: App) -> list[str]:
    """What the log says went wrong, each once, without its time."""
    found = re.findall(r"(?:ERROR|WARNING) .*|^\w*(?:Error|Exception)\b.*", app.log(), re.MULTILINE)
    return list(dict.fromkeys(line[:_LONGEST_LINE] for line in found))[:_MOST_ERRORS]
