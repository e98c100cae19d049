"""The environment as a store."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from src.utils.secrets import SecretsManager
from src.utils.secrets.backends.environment import EnvironmentBackend, previous_file
from src.utils.secrets.changes import Change
from src.utils.secrets.errors import ConfigurationError, DamagedStoreError
from src.utils.secrets.settings import Settings
from src.utils.secrets.snapshot import utc_after, utc_now


def test_a_changed_variable_is_seen_at_once() -> None:
    environ = {"A": "1"}
    reader = SecretsManager(settings=Settings(environ))
    assert reader.get_secret("A") == "1"
    environ["A"] = "2"
    assert reader.get_secret("A") == "2"


def test_a_changed_file_is_seen_at_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1\n")
    reader = SecretsManager(settings=Settings({"A_FILE": str(tmp_path / "a")}))
    assert reader.get_secret("A") == "1"
    (tmp_path / "a").write_text("2\n")
    assert reader.get_secret("A") == "2"


def test_a_file_that_disappears_is_an_error_and_not_a_default(tmp_path: Path) -> None:
    reader = SecretsManager(settings=Settings({"A_FILE": str(tmp_path / "a")}))
    with pytest.raises(ConfigurationError, match="A_FILE points to"):
        reader.get_secret("A", "default")


def test_a_foreign_variable_whose_name_ends_in_file_is_not_read(tmp_path: Path) -> None:
    reader = SecretsManager(settings=Settings({"A": "1", "SSL_CERT_FILE": str(tmp_path / "not-there")}))
    assert reader.get_secret("A") == "1"
    reader.refresh()
    assert reader.snapshot_values({"A", "SSL"}.__contains__) == {"A": "1"}


@pytest.mark.parametrize("mount", ["jwt_secret_key.txt", "jwt_secret_key"])
def test_previous_values_are_in_a_second_file(mount: str, tmp_path: Path) -> None:
    (tmp_path / mount).write_text("new")
    entries = [
        {"value": "valid", "replaced_at": utc_now(), "valid_until": utc_after(60)},
        {"value": "expired", "replaced_at": utc_now(), "valid_until": utc_now()},
        {"value": "kept", "replaced_at": utc_now(), "valid_until": None},
    ]
    (tmp_path / "jwt_secret_key_previous.json").write_text(json.dumps(entries))
    reader = SecretsManager(settings=Settings({"JWT_SECRET_KEY_FILE": str(tmp_path / mount)}))
    assert reader.versions("JWT_SECRET_KEY") == ["new", "valid", "kept"]


def test_without_the_second_file_there_are_no_previous_values(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    environ = {"A_FILE": str(tmp_path / "a"), "B": "2"}
    reader = SecretsManager(settings=Settings(environ))
    assert reader.versions("A") == ["1"]
    assert reader.versions("B") == ["2"]
    assert reader.versions("C") == []
    snapshot = EnvironmentBackend(environ | {"D_FILE": ""}).load()
    assert list(snapshot.metadata) == ["A"]
    assert len(snapshot.metadata) == 1


def test_the_time_of_a_file_is_when_its_value_changed(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    os.utime(tmp_path / "a", (1_700_000_000, 1_700_000_000))
    reader = SecretsManager(settings=Settings({"A_FILE": str(tmp_path / "a"), "B": "2", "C_FILE": "/not-there"}))
    assert reader.metadata("A").updated_at == "2023-11-14T22:13:20Z"
    assert reader.metadata("B").updated_at is None
    assert reader.metadata("C").updated_at is None


@pytest.mark.parametrize("text", ["canary", '{"a": 1}', "[5]", '[{"value": "canary"}]', "[" * 100_000])
def test_a_damaged_list_of_earlier_values_is_an_error_without_them(text: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    Path(previous_file(str(tmp_path / "a"))).write_text(text)
    reader = SecretsManager(settings=Settings({"A_FILE": str(tmp_path / "a")}))
    with pytest.raises(DamagedStoreError, match=r"a_previous\.json") as caught:
        reader.versions("A")
    assert "canary" not in str(caught.value)


def test_the_names_are_those_with_a_value() -> None:
    values = EnvironmentBackend({"A": "1", "B_FILE": "/b", "EMPTY": ""}).load().values
    assert sorted(values) == ["A", "B"]
    assert len(values) == 2
    assert "1" not in repr(values)
    with pytest.raises(KeyError):
        values["MISSING"]


def test_the_environment_cannot_be_written() -> None:
    with pytest.raises(ConfigurationError, match="cannot be written"):
        EnvironmentBackend({}).save({"A": Change("1")})
    assert EnvironmentBackend({}).describe() == "environment variables"
