"""Environment variables and the files they name keep the part of the contract about reading."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from src.utils.secrets.errors import ConfigurationError

from .contract import ReadContract, Store


class TestEnvironmentStore(ReadContract):
    unreachable_error = ConfigurationError

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        environ = {"SECRETS_BACKEND": "environment"}

        def put(values: Mapping[str, str]) -> None:
            for name, value in values.items():
                path = tmp_path / name
                path.write_bytes(value.encode())
                environ[f"{name}_FILE"] = str(path)

        def raw() -> dict[str, str]:
            return {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}

        return Store(environ=environ, put=put, raw=raw, unreachable={"API_KEY_FILE": str(tmp_path / "missing")})
