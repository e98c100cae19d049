"""Azure Key Vault keeps the contract."""

from __future__ import annotations

import pytest

from tests.servers.keyvault import KeyVault

from .contract import StoreContract
from .stores import AzureStore


class TestAzureStore(StoreContract):
    has_compare_and_set = False
    is_atomic = False

    @pytest.fixture
    def store(self, keyvault_server: KeyVault) -> AzureStore:
        return AzureStore(keyvault_server)
