"""The real servers as fixtures: started by the first test of a process that needs one, and emptied for each test."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # tests that need no server do not import these
    from tests.servers.aws import Aws
    from tests.servers.keyvault import KeyVault
    from tests.servers.ministack import Account
    from tests.servers.postgres import Postgres
    from tests.servers.vault import Vault


@pytest.fixture(scope="session")
def aws_server() -> Iterator[Aws]:
    from botocore.loaders import JSONFileLoader

    from tests.servers.aws import running_aws

    with pytest.MonkeyPatch.context() as patch, running_aws() as server:
        # Each new client parses two megabytes of descriptions; the tests make four hundred clients.
        patch.setattr(JSONFileLoader, "load_file", _parsed_once(JSONFileLoader))
        yield server


def _parsed_once(loader: type) -> object:
    load = loader().load_file
    return staticmethod(functools.cache(load))


@pytest.fixture(scope="session")
def vault_server() -> Iterator[Vault]:
    from tests.servers.vault import running_vault

    with running_vault() as server:
        yield server


@pytest.fixture(scope="module")
def sealed_vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vault]:
    """A Vault with TLS, a seal and policies."""
    from tests.servers.vault import running_sealed_vault

    with running_sealed_vault(tmp_path_factory.mktemp("vault")) as server:
        yield server


@pytest.fixture(scope="module")
def aws_account() -> Iterator[Account]:
    """An AWS account that enforces its policies."""
    from tests.servers.ministack import running_account

    with running_account() as server:
        yield server


@pytest.fixture(scope="session")
def keyvault_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyVault]:
    from tests.servers.keyvault import running_keyvault

    with running_keyvault(tmp_path_factory.mktemp("keyvault")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    from tests.servers.postgres import running_postgres

    with running_postgres() as server:
        yield server


@pytest.fixture
def aws(aws_server: Aws) -> Aws:
    """AWS without secrets."""
    aws_server.clear()
    return aws_server


@pytest.fixture
def vault(vault_server: Vault) -> Vault:
    """A Vault without secrets and auth methods."""
    vault_server.clear()
    return vault_server


@pytest.fixture
def keyvault(keyvault_server: KeyVault) -> KeyVault:
    """A key vault without secrets and faults."""
    keyvault_server.clear()
    return keyvault_server


@pytest.fixture
def postgres(postgres_server: Postgres) -> Postgres:
    """A database without tables."""
    postgres_server.execute("DROP TABLE IF EXISTS accounts, encryption_canary")
    return postgres_server
