"""Many readers, while a writer changes a value every second and the store is sometimes unavailable."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from src.utils.secrets.backends.base import Backend
from src.utils.secrets.changes import Change
from src.utils.secrets.manager import open_backend
from src.utils.secrets.settings import Settings
from tests import figures
from tests.conftest import PROJECT
from tests.servers.aws import Aws
from tests.servers.faulty import running_faulty
from tests.support.forms import IN_FULL

SECONDS = 600 if IN_FULL else 9
PROCESSES, THREADS = (8, 64) if IN_FULL else (3, 64)
AWAY_SECONDS, WRITES_BETWEEN = 2, 7 if IN_FULL else 3
# The store is unavailable, is tried again after at most two seconds, and each value is cached for one second.
MOST_SECONDS_WITH_ONE_VALUE = AWAY_SECONDS + 2 + 1 + 3
GROWTH_BYTES = 8 << 20
pytestmark = pytest.mark.timeout(SECONDS + 300)

READER = """
import json, os, sys, threading, time
sys.path.insert(0, sys.argv[1])
from src.utils.secrets import get_secrets_manager
threads = int(sys.argv[2])
manager = get_secrets_manager()
manager.require_secret("COUNTER")
print("ready", flush=True)
start = time.monotonic()
last_one = []

class Reader(threading.Thread):
    reads = failures = back = value = seen = 0
    longest = 0.0
    changed_at = start
    busy = None

    def run(self):
        self.busy = set()
        while not last_one or (self.value != last_one[0] and time.monotonic() < last_one[1]):
            for _ in range(20):
                try:
                    value = int(manager.require_secret("COUNTER"))
                except Exception:
                    self.failures += 1
                    continue
                self.reads += 1
                self.note(value)
            time.sleep(0.05)

    def note(self, value):
        now = time.monotonic()
        self.back += value < self.value
        self.seen += value != self.value
        if value != self.value:
            self.longest, self.changed_at = max(self.longest, now - self.changed_at), now
        self.value = value
        self.busy.add(int(now - start))

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

readers = [Reader() for _ in range(threads)]
for reader in readers:
    reader.start()
time.sleep(float(sys.argv[3]))
early = resident()
last = int(sys.stdin.readline())
last_one[:] = [last, time.monotonic() + 20]
for reader in readers:
    reader.join()
print(json.dumps({
    "reads": sum(reader.reads for reader in readers),
    "failures": sum(reader.failures for reader in readers),
    "back": sum(reader.back for reader in readers),
    "last": [min(reader.value for reader in readers), max(reader.value for reader in readers)],
    "fewest values": min(reader.seen for reader in readers),
    "longest with one value": max(reader.longest for reader in readers),
    "fewest busy seconds": min(len(reader.busy) for reader in readers),
    "seconds": int(time.monotonic() - start),
    "growth": resident() - early,
}))
"""


@pytest.mark.parametrize("store", ["file", "aws"])
def test_no_read_fails_while_values_change_and_the_store_is_unavailable(
    store: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if store == "file":
        from cryptography.fernet import Fernet

        path = tmp_path / "secrets.enc"
        environ = {
            "SECRETS_BACKEND": "file",
            "SECRETS_FILE_PATH": str(path),
            "SECRETS_MASTER_KEY": Fernet.generate_key().decode(),
        }

        def switch(on: bool) -> None:
            if not on and path.exists():
                path.rename(path.with_suffix(".away"))
            elif on and path.with_suffix(".away").exists():
                path.with_suffix(".away").rename(path)

        _run(environ, environ, switch)
        return
    server: Aws = request.getfixturevalue("aws_server")
    with running_faulty(server.url) as faulty:
        direct = server.environ(f"load-{uuid.uuid4().hex[:8]}") | {"AWS_MAX_ATTEMPTS": "1"}
        for name, value in direct.items():
            if name.startswith("AWS_"):
                monkeypatch.setenv(name, value)

        def away(method: str, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
            return 503, {}, b"{}"

        def switch(on: bool) -> None:
            faulty.fault = None if on else away

        _run(direct, direct | {"AWS_ENDPOINT_URL": faulty.url}, switch)


def _run(writing: dict[str, str], reading: dict[str, str], switch: Callable[[bool], None]) -> None:
    backend = open_backend(Settings(writing))
    backend.save({"COUNTER": Change("1")})
    environ = {"PATH": os.environ["PATH"], "SECRETS_CACHE_TTL": "1", **reading}
    arguments = [sys.executable, "-c", READER, str(PROJECT), str(THREADS), str(SECONDS / 4)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    readers = [subprocess.Popen(arguments, env=environ, text=True, **pipes) for _ in range(PROCESSES)]  # type: ignore[call-overload]
    for reader in readers:
        assert reader.stdout.readline() == "ready\n"
    written = _write(backend, switch)
    results = [json.loads(reader.communicate(f"{written}\n")[0]) for reader in readers]
    assert int(backend.load().values["COUNTER"]) == written
    for result in results:
        assert (result["failures"], result["back"]) == (0, 0)
        assert result["last"] == [written, written], "a reader did not see the last value"
        # A reader may miss a value between two reads of the store, and while the store is unavailable.
        assert result["fewest values"] >= written / 3, result
        assert result["longest with one value"] < MOST_SECONDS_WITH_ONE_VALUE, result
        assert result["fewest busy seconds"] >= result["seconds"] * 0.8, "a reader did not read all the time"
        assert result["growth"] < GROWTH_BYTES
    figures.add("read under load", sum(result["reads"] for result in results), "reads")
    figures.add("read under load", 0, "failed reads")
    figures.add("written under load", written, "changes")
    figures.add(
        "most memory grown under load",
        max(result["growth"] for result in results) >> 10,
        "KiB, the worst readers added up",
    )


def _write(backend: Backend, switch: Callable[[bool], None]) -> int:
    """Change the value every second, and make the store unavailable sometimes; returns the last value."""
    written = 1
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        time.sleep(1)
        written += 1
        backend.save({"COUNTER": Change(str(written))})
        if written % WRITES_BETWEEN == 0:
            switch(False)
            time.sleep(AWAY_SECONDS)
            switch(True)
    return written
