"""An encrypted file with a few secrets, and a clock that stands still."""

from __future__ import annotations

from pathlib import Path

import pytest

from src.utils.secrets import manager
from src.utils.secrets.backends.file import FileBackend
from src.utils.secrets.changes import Change
from src.utils.secrets.masterkey import MasterKey
from tests.support.managers import KEY, Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(manager, "monotonic", clock)
    return clock


@pytest.fixture
def store(tmp_path: Path) -> FileBackend:
    store = FileBackend(str(tmp_path / "secrets.enc"), MasterKey([KEY], "a test"))
    store.save({"A": Change("1"), "CONFIG": Change('{"port": 5}'), "BAD": Change("{canary-4711")})
    return store
