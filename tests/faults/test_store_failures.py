"""The store fails while sixty-four threads read: no read fails, and afterwards the values are fresh again."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from src.utils.secrets import SecretsManager
from src.utils.secrets.backends.file import FileBackend
from src.utils.secrets.changes import Change
from src.utils.secrets.masterkey import MasterKey
from src.utils.secrets.settings import Settings
from tests.servers.aws import CREDENTIALS, Aws, command
from tests.servers.ports import free_port
from tests.servers.process import running

THREADS = 64
KEY = Fernet.generate_key().decode()


class Readers:
    """Threads that read one secret repeatedly."""

    def __init__(self, manager: SecretsManager) -> None:
        self._manager = manager
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._read) for _ in range(THREADS)]
        self.failures: list[str] = []
        self.counts: list[int] = []
        self.seen: set[str | None] = set()

    def _read(self) -> None:
        count = 0
        while not self._stop.is_set():
            for _ in range(100):
                try:
                    self.seen.add(self._manager.get_secret("A"))
                except Exception as error:  # noqa: BLE001 - whatever it is, it counts
                    self.failures.append(repr(error))
                count += 1
            time.sleep(0.01)  # otherwise the test's own thread would hardly run
        self.counts.append(count)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


@contextmanager
def reading(manager: SecretsManager) -> Iterator[Readers]:
    """Run sixty-four readers, and check that none of their reads failed."""
    assert manager.get_secret("A") == "0"
    readers = Readers(manager)
    readers.start()
    try:
        yield readers
    finally:
        readers.stop()
    assert readers.failures == []
    assert len(readers.counts) == THREADS
    assert min(readers.counts) > 0


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_server_is_killed_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    server = Aws(f"http://127.0.0.1:{port}")
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    manager = SecretsManager(settings=Settings(server.environ() | {"SECRETS_CACHE_TTL": "0.1"}))
    with running(command(port), port) as first:
        server.client().create_secret(Name="cctv-face-detection", SecretString='{"A": "0"}')
        with reading(manager) as readers:
            first.kill()
            first.wait()
            wait_until(lambda: manager.health().error == "StoreUnavailableError")
            with running(command(port), port):
                server.client().create_secret(Name="cctv-face-detection", SecretString='{"A": "1"}')
                wait_until(lambda: manager.get_secret("A") == "1")
                assert manager.health().error is None
    assert readers.seen == {"0", "1"}


@pytest.fixture
def store(tmp_path: Path) -> FileBackend:
    store = FileBackend(str(tmp_path / "secrets.enc"), MasterKey([KEY], "a test"))
    store.save({"A": Change("0")})
    return store


def open_manager(store: FileBackend) -> SecretsManager:
    environ = {"SECRETS_BACKEND": "file", "SECRETS_FILE_PATH": store.path, "SECRETS_MASTER_KEY": KEY}
    return SecretsManager(settings=Settings(environ | {"SECRETS_CACHE_TTL": "0.02"}))


def test_a_file_is_truncated_removed_restored_and_replaced(store: FileBackend) -> None:
    manager = open_manager(store)
    path = Path(store.path)
    good = path.read_bytes()
    with reading(manager) as readers:
        damages: list[Callable[[], None]] = [
            lambda: os.truncate(path, 10),
            lambda: os.truncate(path, 0),
            path.unlink,
        ]
        for damage in damages:
            path.chmod(0o600)
            damage()
            wait_until(lambda: manager.health().error is not None)
            path.unlink(missing_ok=True)
            path.write_bytes(good)
            wait_until(lambda: manager.health().error is None)
        for number in range(1, 20):
            store.save({"A": Change(str(number))})
            time.sleep(0.01)
        wait_until(lambda: manager.get_secret("A") == "19")
    assert readers.seen <= {str(number) for number in range(20)}


def test_the_wall_clock_jumps_back_and_forth(store: FileBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = open_manager(store)
    real = time.time
    with reading(manager):
        for number, jump in enumerate((-86400, 86400, -(10**8), 10**8), 1):
            monkeypatch.setattr(time, "time", lambda jump=jump: real() + jump)
            store.save({"A": Change(str(number))})
            wait_until(lambda number=number: manager.get_secret("A") == str(number))  # type: ignore[misc]
