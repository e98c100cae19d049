"""An empty store for each test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from .stores import AwsStore, AzureStore, EnvironmentStore, FileStore, Store, VaultStore, VaultVersion1Store

SDK_VARIABLES = ("AWS_", "AZURE_", "IDENTITY_", "REQUESTS_CA_BUNDLE")
WRITABLE = ["file", "aws", "vault", "vault version 1", "azure"]


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store that the test is parametrised with, the SDKs' own settings in the process's environment."""
    made = _make_store(request.param, request, tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    made.environ["HOME"] = str(tmp_path)
    for name, value in made.environ.items():
        if name.startswith(SDK_VARIABLES):
            monkeypatch.setenv(name, value)
    return made


def _make_store(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    match kind:
        case "file":
            return FileStore(tmp_path)
        case "aws":
            return AwsStore(request.getfixturevalue("aws_server"))
        case "vault":
            return VaultStore(request.getfixturevalue("vault_server"))
        case "vault version 1":
            return VaultVersion1Store(request.getfixturevalue("vault_server"))
        case "azure":
            return AzureStore(request.getfixturevalue("keyvault_server"))
    return EnvironmentStore(tmp_path)


@pytest.fixture(autouse=True)
def no_leftovers() -> Iterator[None]:
    """What a test sets for an SDK ends with it."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
