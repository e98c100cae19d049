"""The manager: one snapshot of one store, refreshed."""

from __future__ import annotations

import copy
import logging
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import src.utils.secrets as public
from src.utils.secrets import SecretNotFoundError, SecretsBackend, SecretsError, SecretsManager, manager
from src.utils.secrets.backends.file import FileBackend
from src.utils.secrets.changes import Change
from src.utils.secrets.errors import ConfigurationError, DamagedStoreError, InvalidSecretError
from src.utils.secrets.settings import Settings
from src.utils.secrets.snapshot import utc_after
from tests.conftest import PROJECT
from tests.support.managers import Clock, corrupt, open_manager


def test_a_secret_is_read_and_a_missing_one_gives_the_default(store: FileBackend) -> None:
    reader = open_manager(store)
    assert reader.get_secret("A") == "1"
    assert reader.get_secret("A", "default") == "1"
    assert reader.get_secret("MISSING") is None
    assert reader.get_secret("MISSING", "default") == "default"
    assert reader.backend is SecretsBackend.FILE


def test_a_required_secret_that_is_missing_is_named_with_what_to_do(store: FileBackend) -> None:
    reader = open_manager(store)
    assert reader.require_secret("A") == "1"
    with pytest.raises(SecretNotFoundError, match="MISSING is not in the encrypted file") as caught:
        reader.require_secret("MISSING")
    assert "make secrets" in caught.value.hint
    with pytest.raises(SecretNotFoundError) as caught:
        SecretsManager(settings=Settings({})).require_secret("MISSING")
    assert "MISSING_FILE" in caught.value.hint


def test_json_is_parsed_and_bad_json_is_an_error_without_the_value(store: FileBackend) -> None:
    reader = open_manager(store)
    assert reader.get_secret_json("CONFIG") == {"port": 5}
    assert reader.get_secret_json("MISSING") is None
    assert reader.get_secret_json("MISSING", {"port": 1}) == {"port": 1}
    assert reader.get_secret_json("CONFIG", default={}) == {"port": 5}
    with pytest.raises(InvalidSecretError, match=r"BAD is not valid JSON \(line 1, column 2\)") as caught:
        reader.get_secret_json("BAD", {})
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_json_nested_without_end_is_an_error_too() -> None:
    reader = SecretsManager(settings=Settings({"DEEP": "[" * 100_000}))
    with pytest.raises(InvalidSecretError, match="nested too deeply"):
        reader.get_secret_json("DEEP")


def test_validation_logs_the_missing_names(store: FileBackend, caplog: pytest.LogCaptureFixture) -> None:
    reader = open_manager(store)
    assert reader.validate_required_secrets(["A", "CONFIG"])
    assert not reader.validate_required_secrets(["A", "X", "Y"])
    assert caplog.messages == ["Required secrets are not set: X, Y"]


def test_a_change_is_seen_after_the_cache_time_and_not_before(store: FileBackend, clock: Clock) -> None:
    reader = open_manager(store)
    assert reader.get_secret("A") == "1"
    store.save({"A": Change("2")})
    clock.now += 299
    reader._refresh_if_due()
    assert reader.get_secret("A") == "1"
    clock.now += 2
    reader._refresh_if_due()
    assert reader.get_secret("A") == "2"


def test_without_a_cache_time_every_read_sees_the_store(store: FileBackend) -> None:
    reader = open_manager(store, ttl="0")
    assert reader.get_secret("A") == "1"
    store.save({"A": Change("2")})
    assert reader.get_secret("A") == "2"


def test_a_refresh_reads_at_once_and_raises_when_it_cannot(store: FileBackend) -> None:
    reader = open_manager(store)
    assert reader.get_secret("A") == "1"
    store.save({"A": Change("2")})
    reader.refresh()
    assert reader.get_secret("A") == "2"
    corrupt(store)
    with pytest.raises(DamagedStoreError):
        reader.refresh()
    assert reader.get_secret("A") == "2"


def test_a_first_load_that_fails_raises_and_never_becomes_a_default(store: FileBackend) -> None:
    corrupt(store)
    with pytest.raises(DamagedStoreError):
        open_manager(store).get_secret("A", "default")


def test_a_store_that_fails_later_leaves_the_last_values_with_one_warning(
    store: FileBackend, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    reader = open_manager(store)
    assert reader.get_secret("A") == "1"
    good = Path(store.path).read_bytes()
    corrupt(store)
    for _ in range(10):
        clock.now += 301
        reader._refresh_if_due()
        assert reader.get_secret("A") == "1"
    assert len(caplog.messages) == 1
    assert "cannot be refreshed" in caplog.messages[0]
    Path(store.path).write_bytes(good)
    clock.now += 301
    reader._refresh_if_due()
    assert reader.get_secret("A") == "1"
    assert len(caplog.messages) == 2
    assert "read again" in caplog.messages[1]


def test_a_failing_store_is_tried_less_and_less_often(
    store: FileBackend, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = open_manager(store, ttl="1")
    reader.get_secret("A")
    corrupt(store)
    loads = 0
    load = FileBackend.load

    def counted(backend: FileBackend) -> object:
        nonlocal loads
        loads += backend.path == store.path  # other tests' managers may still be at work
        return load(backend)

    monkeypatch.setattr(FileBackend, "load", counted)
    for _ in range(120):
        clock.now += 1
        reader._refresh_if_due()
        assert reader.get_secret("A") == "1"
    assert 5 <= loads <= 14


def test_sixty_four_threads_at_a_cold_start_cause_one_load(store: FileBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []
    load = FileBackend.load

    def counted(backend: FileBackend) -> object:
        if backend.path == store.path:  # other tests' managers may still be at work
            loads.append(1)
        return load(backend)

    monkeypatch.setattr(FileBackend, "load", counted)
    reader = open_manager(store)
    barrier = threading.Barrier(64)
    answers = []

    def read() -> None:
        barrier.wait()
        answers.append(reader.get_secret("A"))

    threads = [threading.Thread(target=read) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["1"] * 64
    assert len(loads) == 1


def test_while_one_thread_refreshes_the_others_do_not_wait(
    store: FileBackend, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = open_manager(store)
    reader.get_secret("A")
    entered, leave = threading.Event(), threading.Event()
    load = FileBackend.load

    def slow(backend: FileBackend) -> object:
        entered.set()
        assert leave.wait(10)
        return load(backend)

    monkeypatch.setattr(FileBackend, "load", slow)
    clock.now += 301
    refresher = threading.Thread(target=reader._refresh_if_due)
    refresher.start()
    assert entered.wait(10)
    assert reader.get_secret("A") == "1"
    leave.set()
    refresher.join()


def test_metadata_tells_when_a_secret_changed_and_until_when_its_earlier_value_lasts(store: FileBackend) -> None:
    end = utc_after(60)
    store.save({"A": Change("2", previous_valid_until=end)})
    reader = open_manager(store)
    known = reader.metadata("A")
    assert utc_after(-60) < str(known.updated_at) <= utc_after(0)
    assert [old.valid_until for old in known.previous] == [end]
    assert reader.metadata("NOBODY").updated_at is None


def test_versions_give_the_current_value_first(store: FileBackend) -> None:
    store.save({"A": Change("2", previous_valid_until=utc_after(60))})
    assert open_manager(store).versions("A") == ["2", "1"]


@pytest.mark.parametrize(
    ("backend", "setting"),
    [
        (SecretsBackend.AWS, "AWS_REGION"),
        (SecretsBackend.VAULT, "VAULT_ADDR"),
        (SecretsBackend.AZURE, "AZURE_KEYVAULT_URL"),
    ],
)
def test_a_store_without_its_address_names_the_setting(
    backend: SecretsBackend, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    with pytest.raises(ConfigurationError, match=f"{setting} not set"):
        SecretsManager(backend=backend).get_secret("A")


def test_a_store_whose_package_is_missing_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hvac", None)
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:1")
    with pytest.raises(ConfigurationError, match="needs the Python package 'hvac'"):
        SecretsManager(backend=SecretsBackend.VAULT).get_secret("A")


def test_the_module_level_functions_share_one_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager, "_manager", manager._NotYet())
    monkeypatch.setenv("SOME_SECRET", "value")
    assert public.get_secret("SOME_SECRET") == "value"
    assert public.require_secret("SOME_SECRET") == "value"
    assert public.get_secret("NO_SUCH_SECRET", "default") == "default"
    assert public.get_secrets_manager() is public.get_secrets_manager()
    assert public.get_secrets_manager().backend is SecretsBackend.ENV


def test_a_manager_shows_no_value_and_is_not_copied(store: FileBackend) -> None:
    reader = open_manager(store)
    reader.get_secret("A")
    assert "canary" not in repr(reader) + str(reader) + repr(vars(reader))
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            attempt(reader)


def test_every_error_is_a_secrets_error_with_a_hint(store: FileBackend) -> None:
    with pytest.raises(SecretsError) as caught:
        open_manager(store).require_secret("MISSING")
    assert caught.value.hint


def test_importing_the_library_loads_nothing_that_it_does_not_use() -> None:
    code = (
        "import sys; import src.utils.secrets\n"
        "heavy = ['boto3', 'botocore', 'hvac', 'azure', 'questionary', 'rich', 'click', 'dotenv', 'filelock',\n"
        "         'cryptography', 'tomllib', 'logging', 'typing', 'dataclasses', 'pathlib', 'subprocess']\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(PROJECT)!r})\n{code}"],
        capture_output=True,
        text=True,
        check=True,
        env={},
    )
    assert done.stdout.strip() == "[]"


def test_logging_configuration_is_left_alone() -> None:
    assert not logging.getLogger("src.utils.secrets.manager").handlers
