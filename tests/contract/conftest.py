"""What the tests of one store and of all stores share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from .contract import Store

SDK_VARIABLES = ("AWS_", "AZURE_", "IDENTITY_", "REQUESTS_CA_BUNDLE")


@pytest.fixture(autouse=True)
def sdk_settings(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the variables that SDKs read in the process's environment, for each test with a store."""
    if "store" not in request.fixturenames:
        return
    store: Store = request.getfixturevalue("store")
    monkeypatch.setenv("HOME", str(tmp_path))
    store.environ["HOME"] = str(tmp_path)
    for name, value in store.environ.items():
        if name.startswith(SDK_VARIABLES):
            monkeypatch.setenv(name, value)


@pytest.fixture(autouse=True)
def no_leftovers() -> Iterator[None]:
    """Undo what a test sets in the environment for an SDK."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
