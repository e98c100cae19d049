"""Many readers while a writer changes a value every second and the store comes and goes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

from src.utils.secrets.changes import Change
from src.utils.secrets.manager import open_backend
from src.utils.secrets.settings import Settings
from tests import figures
from tests.conftest import PROJECT
from tests.servers.aws import running_aws
from tests.servers.faulty import running_faulty

IN_FULL = bool(os.environ.get("PROVE"))
SECONDS = 600 if IN_FULL else 15
PROCESSES, THREADS = 8, 64
GROWTH_BYTES = 8 << 20
pytestmark = pytest.mark.timeout(SECONDS + 300)

READER = """
import json, os, sys, threading, time
sys.path.insert(0, sys.argv[1])
from src.utils.secrets import get_secrets_manager
seconds, threads = float(sys.argv[2]), int(sys.argv[3])
manager = get_secrets_manager()
manager.require_secret("COUNTER")
end = time.monotonic() + seconds
counts = [[0, 0, 0, 0] for _ in range(threads)]  # reads, failures, steps back, last value

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def read(count):
    while time.monotonic() < end:
        for _ in range(20):
            try:
                value = int(manager.require_secret("COUNTER"))
            except Exception:
                count[1] += 1
                continue
            count[0] += 1
            count[2] += value < count[3]
            count[3] = value
        time.sleep(0.05)

workers = [threading.Thread(target=read, args=(count,)) for count in counts]
for worker in workers:
    worker.start()
time.sleep(seconds / 4)
early = resident()
for worker in workers:
    worker.join()
reads, failures, back, last = (sum(c[0] for c in counts), sum(c[1] for c in counts), sum(c[2] for c in counts),
                               min(c[3] for c in counts))
print(json.dumps({"reads": reads, "failures": failures, "back": back, "last": last, "growth": resident() - early}))
"""


@pytest.mark.parametrize("store", ["file", "aws"])
def test_no_read_fails_while_values_change_and_the_store_is_away(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    with running_aws() as server, running_faulty(server.url) as faulty:
        direct = server.environ(f"load-{uuid.uuid4().hex[:8]}") | {"AWS_MAX_ATTEMPTS": "1"}
        for name, value in direct.items():
            if name.startswith("AWS_"):
                monkeypatch.setenv(name, value)

        def away(method: str, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
            return 503, {}, b"{}"

        def switch(on: bool) -> None:
            faulty.fault = None if on else away

        _run(direct, direct | {"AWS_ENDPOINT_URL": faulty.url}, switch)


def _run(writing: dict[str, str], reading: dict[str, str], switch: object) -> None:
    assert callable(switch)
    backend = open_backend(Settings(writing))
    backend.save({"COUNTER": Change("1")})
    environ = {"PATH": os.environ["PATH"], "SECRETS_CACHE_TTL": "1", **reading}
    arguments = [sys.executable, "-c", READER, str(PROJECT), str(SECONDS), str(THREADS)]
    readers = [
        subprocess.Popen(arguments, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for _ in range(PROCESSES)
    ]
    time.sleep(3)  # everybody has read once
    ended = threading.Event()
    written = 1

    def write() -> None:
        nonlocal written
        while not ended.wait(1):
            written += 1
            backend.save({"COUNTER": Change(str(written))})
            if written % 7 == 0:
                switch(False)
                ended.wait(2)
                switch(True)

    writer = threading.Thread(target=write)
    writer.start()
    results = [json.loads(reader.communicate()[0]) for reader in readers]
    ended.set()
    writer.join()
    switch(True)
    assert int(backend.load().values["COUNTER"]) == written
    assert [result["failures"] for result in results] == [0] * PROCESSES
    assert [result["back"] for result in results] == [0] * PROCESSES
    assert all(result["last"] > 1 for result in results)
    assert max(result["growth"] for result in results) < GROWTH_BYTES
    figures.add("read under load", sum(result["reads"] for result in results), "reads")
    figures.add("read under load", 0, "failed reads")
    figures.add("written under load", written, "changes")
    figures.add(
        "most memory grown under load",
        max(result["growth"] for result in results) >> 10,
        "KiB, the worst readers added up",
    )
