"""The stores under the contract: how to reach each, and how to look at it without the project's code."""

from __future__ import annotations

import json
import os
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

from cryptography.fernet import Fernet

from src.utils.secrets.backends.base import Backend
from src.utils.secrets.errors import DecryptionError, SecretsError, StoreDeniedError, StoreError, StoreUnavailableError
from src.utils.secrets.manager import open_backend
from src.utils.secrets.settings import Settings
from tests.servers.aws import Aws
from tests.servers.keyvault import KeyVault
from tests.servers.ports import free_port
from tests.servers.vault import Vault


class Store(ABC):
    """One store, empty at first.

    Attributes:
        environ: The settings with which it opens.
        unreachable_error: What it raises when it is not there.
        refused_error: What it raises when it does not let somebody in.
        has_compare_and_set: Whether two writers of one secret cannot both believe that they were first.
        is_atomic: Whether several secrets are written together or not at all.
    """

    environ: dict[str, str]
    unreachable_error: type[SecretsError] = StoreUnavailableError
    refused_error: type[SecretsError] = StoreDeniedError
    has_compare_and_set = True
    is_atomic = True

    def open(self, **changed: str) -> Backend:
        """A backend as another process would have it."""
        return open_backend(Settings(self.environ | changed))

    @abstractmethod
    def unreachable(self) -> dict[str, str]:
        """The settings that differ when nothing answers."""

    @abstractmethod
    def refused(self) -> dict[str, str]:
        """The settings that differ when the credentials are wrong."""

    @abstractmethod
    def put(self, values: Mapping[str, str]) -> None:
        """Store ``values`` as another program would, in place of everything."""

    @abstractmethod
    def raw(self) -> dict[str, str]:
        """Every name and value, as another program sees them."""


class FileStore(Store):
    unreachable_error = StoreError
    refused_error = DecryptionError

    def __init__(self, directory: Path) -> None:
        self._path, self._key = directory / "secrets.enc", Fernet.generate_key()
        self.environ = {
            "SECRETS_BACKEND": "file",
            "SECRETS_FILE_PATH": str(self._path),
            "SECRETS_MASTER_KEY": self._key.decode(),
        }

    def unreachable(self) -> dict[str, str]:
        return {"SECRETS_FILE_PATH": str(self._path / "not a folder" / "secrets.enc")}

    def refused(self) -> dict[str, str]:
        return {"SECRETS_MASTER_KEY": Fernet.generate_key().decode()}

    def put(self, values: Mapping[str, str]) -> None:
        self._path.unlink(missing_ok=True)
        self._path.write_bytes(Fernet(self._key).encrypt(json.dumps(dict(values)).encode()))

    def raw(self) -> dict[str, str]:
        content = json.loads(Fernet(self._key).decrypt(self._path.read_bytes()))
        values: dict[str, str] = content.get("secrets", content)
        return values


class AwsStore(Store):
    def __init__(self, server: Aws) -> None:
        self.server = server
        self.secret_id = f"cctv-{uuid.uuid4().hex[:8]}"
        self.environ = server.environ(self.secret_id)

    def unreachable(self) -> dict[str, str]:
        return {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}"}

    def refused(self) -> dict[str, str]:
        os.environ["AWS_ACCESS_KEY_ID"] = ""
        del os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
        return {}

    def put(self, values: Mapping[str, str]) -> None:
        text = json.dumps(dict(values))
        client = self.server.client()
        if any(secret["Name"] == self.secret_id for secret in client.list_secrets()["SecretList"]):
            client.put_secret_value(SecretId=self.secret_id, SecretString=text)
        else:
            client.create_secret(Name=self.secret_id, SecretString=text)

    def raw(self) -> dict[str, str]:
        answer = self.server.client().get_secret_value(SecretId=self.secret_id, VersionStage="AWSCURRENT")
        content: dict[str, str] = json.loads(answer["SecretString"])
        content.pop("_METADATA", None)
        return content


class VaultStore(Store):
    mount = "secret"

    def __init__(self, server: Vault) -> None:
        self.server = server
        self.path = f"cctv-{uuid.uuid4().hex[:8]}"
        self.environ = server.environ(self.path, self.mount)

    def unreachable(self) -> dict[str, str]:
        return {"VAULT_ADDR": f"http://127.0.0.1:{free_port()}"}

    def refused(self) -> dict[str, str]:
        return {"VAULT_TOKEN": "s.wrong"}

    def put(self, values: Mapping[str, str]) -> None:
        engine = self.server.client().secrets.kv.v2
        engine.create_or_update_secret(self.path, dict(values), mount_point=self.mount)

    def raw(self) -> dict[str, str]:
        engine = self.server.client().secrets.kv.v2
        answer = engine.read_secret_version(self.path, mount_point=self.mount, raise_on_deleted_version=True)
        content: dict[str, str] = answer["data"]["data"]
        content.pop("_METADATA", None)
        return content


class VaultVersion1Store(VaultStore):
    mount = "kv1"
    has_compare_and_set = False

    def put(self, values: Mapping[str, str]) -> None:
        self.server.client().secrets.kv.v1.create_or_update_secret(self.path, dict(values), mount_point=self.mount)

    def raw(self) -> dict[str, str]:
        content: dict[str, str] = self.server.client().secrets.kv.v1.read_secret(self.path, self.mount)["data"]
        content.pop("_METADATA", None)
        return content


class AzureStore(Store):
    has_compare_and_set = False
    is_atomic = False

    def __init__(self, server: KeyVault) -> None:
        server.clear()
        self.server = server
        self.environ = server.environ()

    def unreachable(self) -> dict[str, str]:
        return {"AZURE_KEYVAULT_URL": f"https://localhost:{free_port()}"}

    def refused(self) -> dict[str, str]:
        os.environ["IDENTITY_HEADER"] = "wrong"
        return {}

    def put(self, values: Mapping[str, str]) -> None:
        self.server.secrets.clear()
        for name, value in values.items():
            self.server.put(name.lower().replace("_", "-"), value)

    def raw(self) -> dict[str, str]:
        return {name.upper().replace("-", "_"): versions[-1].value for name, versions in self.server.secrets.items()}


class EnvironmentStore(Store):
    """Variables and the files that they name; written by whoever starts the process."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.environ = {"SECRETS_BACKEND": "environment"}

    def unreachable(self) -> dict[str, str]:
        return {"API_KEY_FILE": str(self._directory / "missing")}

    def refused(self) -> dict[str, str]:
        raise NotImplementedError

    def put(self, values: Mapping[str, str]) -> None:
        for name, value in values.items():
            path = self._directory / name
            path.write_bytes(value.encode())
            self.environ[f"{name}_FILE"] = str(path)

    def raw(self) -> dict[str, str]:
        return {
            name.removesuffix("_FILE"): Path(path).read_text(encoding="utf-8")
            for name, path in self.environ.items()
            if name.endswith("_FILE")
        }
