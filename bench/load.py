"""Many secrets, and many readers."""

from __future__ import annotations

import json
import statistics
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

from cryptography.fernet import Fernet

from src.utils.secrets import SecretsManager
from src.utils.secrets.backends.file import FileBackend
from src.utils.secrets.changes import Change
from src.utils.secrets.masterkey import MasterKey
from src.utils.secrets.settings import Settings

from .fixtures import make_file
from .measure import Result, expressions


def large_file(folder: Path) -> Iterator[Result]:
    """Measure a store with ten thousand secrets."""
    settings = make_file(folder, 10_000)
    key = Path(settings["SECRETS_MASTER_KEY_FILE"]).read_text()
    path = settings["SECRETS_FILE_PATH"]

    def ours() -> object:
        return FileBackend(path, MasterKey([key], "the benchmark")).load()

    def theirs() -> object:
        return json.loads(Fernet(key).decrypt(Path(path).read_bytes()))

    yield Result(
        "load of 10,000 secrets",
        "Fernet and json.loads",
        *expressions("ours()", "theirs()", {"ours": ours, "theirs": theirs}, 3),
        1.5,
    )
    document = len(Fernet(key).decrypt(Path(path).read_bytes()))
    tracemalloc.start()
    snapshot = ours()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert snapshot
    yield Result("memory that holds 10,000 secrets", "their JSON", held, document, 4, unit="B")


def reads_during_refreshes(folder: Path) -> Iterator[Result]:
    """Measure the slowest reads of 64 threads, with a store that changes all the time and with one that does not."""
    settings = make_file(folder, 12)

    def slowest(*, refreshing: bool) -> float:
        manager = SecretsManager(settings=Settings(settings | {"SECRETS_CACHE_TTL": "0.05" if refreshing else "300"}))
        manager.get_secret("SECRET_5")
        stop, times = threading.Event(), []

        def read() -> None:
            own = []
            while not stop.is_set():
                start = time.perf_counter()
                for _ in range(100):
                    manager.get_secret("SECRET_5")
                own.append(time.perf_counter() - start)
                time.sleep(0.001)
            times.extend(own)

        threads = [threading.Thread(target=read) for _ in range(64)]
        for thread in threads:
            thread.start()
        store = FileBackend(
            settings["SECRETS_FILE_PATH"], MasterKey([Path(settings["SECRETS_MASTER_KEY_FILE"]).read_text()], "x")
        )
        end, number = time.monotonic() + 4, 0
        while time.monotonic() < end:
            # The same writes in both runs: only the refreshes differ.
            store.save({"OTHER": Change(str(number))})
            number += 1
            time.sleep(0.05)
        stop.set()
        for thread in threads:
            thread.join()
        return statistics.quantiles(times, n=1000)[-1]

    rounds = [(slowest(refreshing=True), slowest(refreshing=False)) for _ in range(3)]
    ours, theirs = min(pair[0] for pair in rounds), min(pair[1] for pair in rounds)
    yield Result(
        "99.9th percentile of 100 reads, 64 threads, refreshes", "the same without refreshes", ours, theirs, 1.2
    )
