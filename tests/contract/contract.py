"""What every store does, on its real server.

A store keeps the contract when a class like this passes::

    class TestMyStore(StoreContract):
        @pytest.fixture
        def store(self) -> Store:
            return Store(...)
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from src.utils.secrets import SecretsManager
from src.utils.secrets.backends.base import Backend
from src.utils.secrets.changes import Change
from src.utils.secrets.errors import (
    InvalidSecretError,
    SecretsError,
    StoreChangedError,
    StoreDeniedError,
    StoreEmptyError,
    StoreUnavailableError,
)
from src.utils.secrets.manager import open_backend
from src.utils.secrets.settings import Settings
from src.utils.secrets.snapshot import SecretMetadata, utc_after, utc_now
from tests import figures
from tests.support.forms import IN_FULL

DIFFICULT = {
    "DOLLAR": "$HOME ${HOME} $$ `id` $(id)",
    "QUOTES": "'single' \"double\" \\ back\\slash",
    "LINES": "first\nsecond\r\nthird\n",
    "UNICODE": "pässwörd ☃ 🔑 \u202e",
    "SPACES": "  around\t",
    "SHORT": "x",
    "LONG": "0123456789" * 1024,
    "JSON_TEXT": '{"a": [1, null, "b"]}',
    "NUMBER": "007",
}
CANARY = "canary-3f1c-value"


@dataclass(kw_only=True)
class Store:
    """A store for one test, and access to it without the project's code.

    Attributes:
        environ: The settings that open it. A test also finds those that SDKs read in the environment.
        put: Stores values as another program does; they replace everything.
        raw: Returns every name and value, as another program sees them.
        unreachable: The settings to change so that no server answers.
        refused: The settings to change so that the credentials are wrong.
    """

    environ: dict[str, str]
    put: Callable[[Mapping[str, str]], object]
    raw: Callable[[], dict[str, str]]
    unreachable: dict[str, str]
    refused: dict[str, str] = field(default_factory=dict)

    def open(self, **changed: str) -> Backend:
        """Return a new backend, as another process has it."""
        return open_backend(Settings(self.environ | changed))


class ReadContract:
    """What a store does that the project only reads.

    A subclass has a fixture ``store`` that returns an empty :class:`Store`.

    Attributes:
        unreachable_error: What reading raises when no server answers.
    """

    unreachable_error: type[SecretsError] = StoreUnavailableError

    def test_values_of_another_program_are_read(self, store: Store) -> None:
        values = {name: value for name, value in DIFFICULT.items() if not value.endswith("\n")}
        store.put(values)
        loaded = store.open().load().values
        assert {name: loaded.get(name) for name in values} == values

    def test_a_missing_name_is_none(self, store: Store) -> None:
        store.put({"THERE": "value"})
        assert store.open().load().values.get("NOT_THERE") is None

    def test_the_library_reads_the_store(self, store: Store) -> None:
        store.put({"API_KEY": CANARY})
        manager = SecretsManager(settings=Settings(store.environ))
        assert manager.get_secret("API_KEY") == CANARY
        assert manager.get_secret("OTHER", "default") == "default"
        assert CANARY not in repr(manager) + repr(manager._current())

    def test_an_unreachable_store_raises_quickly_with_a_hint(self, store: Store) -> None:
        store.put({"API_KEY": CANARY})
        start = time.monotonic()
        manager = SecretsManager(settings=Settings(store.environ | store.unreachable))
        with pytest.raises(self.unreachable_error) as error:
            manager.get_secret("API_KEY", "default")
        assert time.monotonic() - start < 15
        assert error.value.hint


class StoreContract(ReadContract):
    """What a store does that the project reads and writes.

    Attributes:
        refused_error: What reading and writing raise when the credentials are wrong.
        has_compare_and_set: Whether a write fails when another program has written since the read.
        is_atomic: Whether several secrets are written together or not at all.
    """

    refused_error: type[SecretsError] = StoreDeniedError
    has_compare_and_set = True
    is_atomic = True

    def test_difficult_values_are_read_back_unchanged(self, store: Store) -> None:
        saved = store.open().save({name: Change(value) for name, value in DIFFICULT.items()})
        assert dict(saved.values) == DIFFICULT
        assert dict(store.open().load().values) == DIFFICULT
        assert store.raw() == DIFFICULT

    def test_an_empty_store_raises_an_error_with_a_hint(self, store: Store) -> None:
        with pytest.raises(StoreEmptyError) as error:
            store.open().load()
        assert "make secrets" in error.value.hint

    def test_unknown_names_are_kept(self, store: Store) -> None:
        store.put({"OURS": "1", "UNKNOWN_TO_US": "2"})
        store.open().save({"OURS": Change("3"), "NEW": Change("4")})
        assert store.raw() == {"OURS": "3", "UNKNOWN_TO_US": "2", "NEW": "4"}

    def test_a_removed_secret_is_gone_and_the_others_stay(self, store: Store) -> None:
        store.open().save({"A": Change("1"), "B": Change("2")})
        store.open().save({"A": Change(None)})
        loaded = store.open().load()
        assert (loaded.values.get("A"), loaded.values.get("B")) == (None, "2")
        assert store.raw() == {"B": "2"}

    def test_only_a_change_updates_the_time_of_a_secret(self, store: Store) -> None:
        before = utc_now()
        store.open().save({"A": Change("1"), "B": Change("2")})
        first = {name: entry.updated_at or "" for name, entry in store.open().load().metadata.items()}
        assert all(before <= first[name] <= utc_now() for name in "AB")
        time.sleep(1.1)
        store.open().save({"A": Change("1"), "B": Change("3")})
        second = {name: entry.updated_at or "" for name, entry in store.open().load().metadata.items()}
        assert second["A"] == first["A"]
        assert second["B"] > first["B"]

    def test_previous_values_are_accepted_until_they_expire(self, store: Store) -> None:
        store.open().save({"GRACE": Change("g1"), "KEPT": Change("k1"), "PLAIN": Change("p1")})
        store.open().save(
            {
                "GRACE": Change("g2", previous_valid_until=utc_after(3600)),
                "KEPT": Change("k2", previous_valid_until=None),
                "PLAIN": Change("p2"),
            }
        )
        store.open().save({"KEPT": Change("k3", previous_valid_until=None)})
        loaded = store.open().load()
        assert loaded.versions("GRACE", utc_now()) == ["g2", "g1"]
        assert loaded.versions("GRACE", utc_after(3601)) == ["g2"]
        assert loaded.versions("KEPT", utc_after(10**9)) == ["k3", "k2", "k1"]
        assert loaded.versions("PLAIN", utc_now()) == ["p2"]
        assert [old.value for old in loaded.metadata["PLAIN"].previous] == ["p1"]

    def test_previous_values_can_be_dropped_while_the_value_stays(self, store: Store) -> None:
        store.open().save({"KEPT": Change("k1"), "OTHER": Change("o1")})
        store.open().save({"KEPT": Change("k2", previous_valid_until=None), "OTHER": Change("o2")})
        before = store.open().load()
        updated_at = before.metadata["KEPT"].updated_at
        change = Change("k2", history=SecretMetadata(updated_at))
        store.open().save({"KEPT": change}, expected_revision=before.revision)
        loaded = store.open().load()
        assert loaded.versions("KEPT", utc_now()) == ["k2"]
        assert not loaded.metadata["KEPT"].previous
        assert [old.value for old in loaded.metadata["OTHER"].previous] == ["o1"]

    def test_a_change_based_on_an_old_revision_is_refused(self, store: Store) -> None:
        planned_on = store.open().save({"A": Change("1")}).revision
        store.open().save({"A": Change("2")})
        with pytest.raises(StoreChangedError):
            store.open().save({"A": Change("3")}, expected_revision=planned_on)
        assert store.raw() == {"A": "2"}
        current = store.open().load().revision
        store.open().save({"A": Change("4")}, expected_revision=current)
        assert store.raw() == {"A": "4"}

    def test_saving_the_same_value_changes_nothing(self, store: Store) -> None:
        first = store.open().save({"A": Change("1")})
        assert store.open().save({"A": Change("1")}).revision == first.revision
        assert store.open().load().revision == first.revision

    @pytest.mark.parametrize("value", ["", "nul\0inside", "\ud800"])
    def test_an_invalid_value_is_refused_and_nothing_is_written(self, store: Store, value: str) -> None:
        store.put({"A": "1"})
        with pytest.raises(InvalidSecretError, match="BAD"):
            store.open().save({"B": Change("2"), "BAD": Change(value)})
        assert store.raw() == {"A": "1"}

    def test_each_stored_name_is_reported(self, store: Store) -> None:
        reported: list[str] = []
        store.open().save({"A": Change("1"), "B": Change("2")}, progress=reported.append)
        assert reported == ["A", "B"]

    def test_wrong_credentials_raise_an_error_with_a_hint(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        store.put({"API_KEY": CANARY})
        for name, value in store.refused.items():
            monkeypatch.setenv(name, value)
        backend = store.open(**store.refused)
        with pytest.raises(self.refused_error) as reading:
            backend.load()
        with pytest.raises(self.refused_error) as writing:
            backend.save({"API_KEY": Change("2")})
        for error in (reading.value, writing.value):
            assert error.hint
            assert CANARY not in str(error) + error.hint
            assert error.__cause__ is None

    def test_no_value_is_logged_even_at_debug_level(self, store: Store, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.DEBUG):
            store.open().save({"API_KEY": Change(CANARY)})
            store.open().load()
        assert CANARY not in caplog.text

    def test_parallel_writers_lose_no_change(self, store: Store) -> None:
        writers, changes = 16, 25 if IN_FULL else 8  # OpenBao accepts 1,000 texts in a request
        if not self.has_compare_and_set:
            writers, changes = (8, 3) if not self.is_atomic else (1, 3)

        def write(writer: int) -> None:
            backend = store.open()
            for change in range(changes):
                # Each writer writes one secret that only it writes, and one that all writers write.
                backend.save(
                    {f"OWN_{writer}_{change}": Change(f"{writer}-{change}"), "SHARED": Change(f"{writer}-{change}")}
                )

        with ThreadPoolExecutor(writers) as pool:
            list(pool.map(write, range(writers)))
        values = store.raw()
        shared = values.pop("SHARED")
        assert values == {f"OWN_{w}_{c}": f"{w}-{c}" for w in range(writers) for c in range(changes)}
        assert shared in {f"{w}-{changes - 1}" for w in range(writers)}
        figures.add("written at the same time", writers * changes, "changes, none lost")
