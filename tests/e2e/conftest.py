"""The cloud stores' servers, one of each for a module's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.aws import Aws, running_aws
from tests.servers.keyvault import KeyVault, running_keyvault
from tests.servers.vault import Vault, running_vault


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with running_aws() as server:
        yield server


@pytest.fixture(scope="module")
def vault() -> Iterator[Vault]:
    with running_vault() as server:
        yield server


@pytest.fixture(scope="module")
def keyvault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyVault]:
    with running_keyvault(tmp_path_factory.mktemp("keyvault")) as server:
        yield server
