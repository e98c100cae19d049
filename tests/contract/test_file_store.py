"""The encrypted file keeps the contract."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from src.utils.secrets.errors import DecryptionError, StoreError

from .contract import Store, StoreContract


class TestFileStore(StoreContract):
    unreachable_error = StoreError
    refused_error = DecryptionError

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        path, key = tmp_path / "secrets.enc", Fernet.generate_key()

        def put(values: Mapping[str, str]) -> None:
            path.unlink(missing_ok=True)
            path.write_bytes(Fernet(key).encrypt(json.dumps(dict(values)).encode()))

        def raw() -> dict[str, str]:
            content = json.loads(Fernet(key).decrypt(path.read_bytes()))
            values: dict[str, str] = content.get("secrets", content)
            return values

        return Store(
            environ={
                "SECRETS_BACKEND": "file",
                "SECRETS_FILE_PATH": str(path),
                "SECRETS_MASTER_KEY": key.decode(),
            },
            put=put,
            raw=raw,
            unreachable={"SECRETS_FILE_PATH": str(path / "not a folder" / "secrets.enc")},
            refused={"SECRETS_MASTER_KEY": Fernet.generate_key().decode()},
        )
