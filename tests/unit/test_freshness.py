"""How a manager keeps its values fresh, and what it does while its store fails."""

from __future__ import annotations

import asyncio
import copy
import gc
import logging
import os
import pickle
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from src.utils.secrets import SecretsManager, get_secret, manager
from src.utils.secrets.backends.file import FileBackend
from src.utils.secrets.changes import Change
from src.utils.secrets.errors import DamagedStoreError, StoreError
from src.utils.secrets.masterkey import MasterKey
from src.utils.secrets.settings import Settings
from tests.support.files import write_read_only
from tests.support.managers import KEY, Clock, corrupt

CANARY = "canary-value-4711"


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def opened(store: FileBackend, ttl: str = "300", **more: str) -> SecretsManager:
    environ = {"SECRETS_BACKEND": "file", "SECRETS_FILE_PATH": store.path, "SECRETS_MASTER_KEY": KEY}
    return SecretsManager(settings=Settings(environ | {"SECRETS_CACHE_TTL": ttl} | more))


def test_a_change_is_noticed_without_any_read(store: FileBackend) -> None:
    reader = opened(store, "0.05")
    seen: list[frozenset[str]] = []
    reader.on_change(seen.append)
    assert reader.get_secret("A") == "1"
    store.save({"A": Change("2"), "NEW": Change("x"), "CONFIG": Change(None)})
    wait_until(lambda: bool(seen))
    assert seen == [frozenset({"A", "NEW", "CONFIG"})]
    assert reader.get_secret("A") == "2"


def test_a_callback_that_fails_stops_nothing_and_a_removed_one_is_not_called(
    store: FileBackend,
    caplog: pytest.LogCaptureFixture,
) -> None:
    reader = opened(store)
    reader.get_secret("A")
    seen: list[frozenset[str]] = []

    def fail(names: frozenset[str]) -> None:
        raise ValueError(CANARY)

    reader.on_change(fail)
    stop = reader.on_change(seen.append)
    store.save({"A": Change("2")})
    reader.refresh()
    stop()
    store.save({"A": Change("3")})
    reader.refresh()
    assert seen == [frozenset({"A"})]
    assert "A callback of on_change failed with ValueError" in caplog.text
    assert CANARY not in caplog.text


def test_a_file_that_did_not_change_is_not_decrypted_again(
    store: FileBackend,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader = opened(store)
    reader.get_secret("A")
    snapshot = reader._snapshot
    monkeypatch.setattr(FileBackend, "_open", lambda *_: pytest.fail("it was decrypted"))
    clock.now += 301
    reader._refresh_if_due()
    assert reader._snapshot is snapshot
    assert reader.health().age == 0


def test_health_has_age_error_and_next_try(store: FileBackend, clock: Clock) -> None:
    reader = opened(store)
    assert (reader.health().age, reader.health().error, reader.health().next_try) == (None, None, None)
    reader.get_secret("A")
    clock.now += 100
    assert (reader.health().age, reader.health().error, reader.health().next_try) == (100, None, 200)
    corrupt(store)
    clock.now += 200
    reader._refresh_if_due()
    health = reader.health()
    assert (health.age, health.error) == (300, "DamagedStoreError")
    assert 0.5 <= (health.next_try or 0) <= 1
    assert repr(health).startswith("<Health age=300")
    live = SecretsManager(settings=Settings({"A": "1"}))
    live.get_secret("A")
    assert (live.health().age, live.health().next_try) == (0, None)


def test_values_older_than_the_limit_are_not_given_out_until_the_store_is_back(
    store: FileBackend,
    clock: Clock,
) -> None:
    reader = opened(store, SECRETS_MAX_STALE="600")
    assert reader.get_secret("A") == "1"
    good = Path(store.path).read_bytes()
    corrupt(store)
    for _ in range(20):
        clock.now += 29
        reader._refresh_if_due()
        assert reader.get_secret("A") == "1"
    clock.now += 60
    reader._refresh_if_due()
    for read in (lambda: reader.get_secret("A", "default"), lambda: reader.versions("A")):
        with pytest.raises(DamagedStoreError):
            read()
    Path(store.path).write_bytes(good)
    clock.now += 61
    reader._refresh_if_due()
    assert reader.get_secret("A") == "1"


def test_a_limit_that_is_no_number_is_refused() -> None:
    with pytest.raises(Exception, match="SECRETS_MAX_STALE is not a number of seconds"):
        Settings({"SECRETS_MAX_STALE": "soon"})


def test_sixty_four_threads_share_one_failed_first_load(
    store: FileBackend,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loads = []

    def fail_slowly(backend: FileBackend) -> object:
        if backend.path == store.path:  # threads of other tests' managers may still run
            loads.append(1)
        time.sleep(0.5)
        raise DamagedStoreError("broken", hint="mend it")

    monkeypatch.setattr(FileBackend, "load", fail_slowly)
    reader = opened(store)
    barrier = threading.Barrier(64)
    errors = []

    def read() -> None:
        barrier.wait()
        try:
            reader.get_secret("A")
        except DamagedStoreError as error:
            errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1
    assert len(set(map(id, errors))) == 64
    assert {(str(error), error.hint) for error in errors} == {("broken", "mend it")}


def test_an_event_loop_is_not_blocked_by_the_first_load_nor_by_any_later_one(
    store: FileBackend,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load = FileBackend.load

    def slow(backend: FileBackend) -> object:
        time.sleep(0.6)
        return load(backend)

    monkeypatch.setattr(FileBackend, "load", slow)
    reader = opened(store, "0.05")

    async def longest_pause() -> float:
        longest, last, end = 0.0, time.monotonic(), time.monotonic() + 1.5
        loading = asyncio.create_task(reader.aload())
        while time.monotonic() < end:
            if loading.done():
                assert reader.get_secret("A") == "1"
            await asyncio.sleep(0)
            now = time.monotonic()
            longest, last = max(longest, now - last), now
        await loading
        return longest

    assert asyncio.run(longest_pause()) < 0.5


def test_the_thread_ends_with_its_manager(store: FileBackend) -> None:
    reader = opened(store)
    reader.get_secret("A")
    thread = reader._thread
    assert thread is not None
    assert thread.daemon
    del reader
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()


def in_child(action: Callable[[], bool]) -> bool:
    """Return whether ``action`` is true in a forked process; false if the child hangs."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if action() else 1
        finally:
            os._exit(code)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return False


def test_a_forked_process_reads_and_stays_fresh_by_itself(store: FileBackend) -> None:
    reader = opened(store, "0.05")
    assert reader.get_secret("A") == "1"

    def child() -> bool:
        assert reader.get_secret("A") == "1"
        FileBackend(store.path, MasterKey([KEY], "a test")).save({"A": Change("2")})
        wait_until(lambda: reader.get_secret("A") == "2")
        return True

    assert in_child(child)
    wait_until(lambda: reader.get_secret("A") == "2")


def test_a_fork_in_the_middle_of_a_refresh_does_not_hang(
    store: FileBackend,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader = opened(store, "0.05")
    reader.get_secret("A")
    entered, leave = threading.Event(), threading.Event()
    load = FileBackend.load

    def slow(backend: FileBackend) -> object:
        entered.set()
        leave.wait(20)
        return load(backend)

    monkeypatch.setattr(FileBackend, "load", slow)
    assert entered.wait(10)
    monkeypatch.setattr(FileBackend, "load", load)

    def child() -> bool:
        reader.refresh()
        return reader.get_secret("A") == "1" and reader.versions("A") == ["1"]

    try:
        assert in_child(child)
    finally:
        leave.set()


def test_a_fork_before_the_first_load_loads_in_each_process(store: FileBackend) -> None:
    reader = opened(store)
    assert in_child(lambda: reader.get_secret("A") == "1")
    assert reader.get_secret("A") == "1"


def test_a_logging_handler_that_reads_a_secret_does_not_deadlock(
    store: FileBackend,
    clock: Clock,
) -> None:
    reader = opened(store)
    reader.get_secret("A")
    seen = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(reader.get_secret("A"))
            reader.versions("A")
            reader.health()

    handler = Handler()
    logging.getLogger("src.utils.secrets").addHandler(handler)
    try:
        good = Path(store.path).read_bytes()
        corrupt(store)
        clock.now += 301
        reader._refresh_if_due()
        Path(store.path).write_bytes(good)
        clock.now += 301
        reader._refresh_if_due()
    finally:
        logging.getLogger("src.utils.secrets").removeHandler(handler)
    assert seen == ["1", "1"]


def test_asking_for_a_secret_while_the_same_thread_loads_is_an_error_and_no_deadlock(
    store: FileBackend,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader = opened(store)
    load = FileBackend.load

    def reading_load(backend: FileBackend) -> object:
        with pytest.raises(StoreError, match="while this very thread loads"):
            reader.get_secret("A")
        return load(backend)

    monkeypatch.setattr(FileBackend, "load", reading_load)
    assert reader.get_secret("A") == "1"


def test_an_internal_error_of_a_store_does_not_end_the_thread_or_show_a_value(
    store: FileBackend,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    reader = opened(store, "0.05")
    reader.get_secret("A")
    load = FileBackend.load

    def broken(backend: FileBackend) -> object:
        raise RuntimeError(CANARY)

    monkeypatch.setattr(FileBackend, "load", broken)
    wait_until(lambda: reader.health().error == "StoreError")
    assert reader.get_secret("A") == "1"
    assert CANARY not in caplog.text
    monkeypatch.setattr(FileBackend, "load", load)
    store.save({"A": Change("2")})
    wait_until(lambda: reader.get_secret("A") == "2")


def test_a_key_that_was_changed_together_with_the_file_is_read_again(tmp_path: Path) -> None:
    path, key_file = tmp_path / "s.enc", tmp_path / "key"

    def write(key: str, value: str) -> None:
        path.unlink(missing_ok=True)
        FileBackend(str(path), MasterKey([key], "a test")).save({"A": Change(value)})
        write_read_only(key_file, key)

    write(KEY, "1")
    environ = {"SECRETS_BACKEND": "file", "SECRETS_FILE_PATH": str(path), "SECRETS_MASTER_KEY_FILE": str(key_file)}
    reader = SecretsManager(settings=Settings(environ | {"SECRETS_CACHE_TTL": "0.05"}))
    assert reader.get_secret("A") == "1"
    write(Fernet.generate_key().decode(), "2")
    wait_until(lambda: reader.get_secret("A") == "2")


def test_nothing_that_shows_a_manager_shows_a_value(store: FileBackend) -> None:
    store.save({"A": Change(CANARY)})
    reader = opened(store)
    assert reader.get_secret("A") == CANARY
    shown = [repr(reader), str(reader), repr(vars(reader)), repr(reader._snapshot), repr(reader.health())]
    assert not [text for text in shown if CANARY in text]
    for copier in (pickle.dumps, copy.copy, copy.deepcopy):
        for thing in (reader, reader._snapshot):
            with pytest.raises(TypeError, match="holds secrets"):
                copier(thing)


def test_the_module_s_function_is_fresh_too(store: FileBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager, "_manager", opened(store, "0.05"))
    assert get_secret("A") == "1"
    store.save({"A": Change("2")})
    wait_until(lambda: get_secret("A") == "2")
    assert get_secret("MISSING", "default") == "default"
