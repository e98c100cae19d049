"""HashiCorp Vault keeps the contract, with both versions of its key-value engine."""

from __future__ import annotations

import pytest

from tests.servers.vault import Vault

from .contract import StoreContract
from .stores import VaultStore, VaultVersion1Store


class TestVaultStore(StoreContract):
    @pytest.fixture
    def store(self, vault_server: Vault) -> VaultStore:
        return VaultStore(vault_server)


class TestVaultVersion1Store(StoreContract):
    has_compare_and_set = False

    @pytest.fixture
    def store(self, vault_server: Vault) -> VaultVersion1Store:
        return VaultVersion1Store(vault_server)
