"""The cloud stores, which tests of other things than the contract use too."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping

from tests.servers.aws import Aws
from tests.servers.keyvault import KeyVault
from tests.servers.ports import free_port
from tests.servers.vault import Vault

from .contract import Store


class AwsStore(Store):
    """A new secret in AWS Secrets Manager, not created yet."""

    def __init__(self, server: Aws) -> None:
        self.server = server
        self.secret_id = f"cctv-{uuid.uuid4().hex[:8]}"
        super().__init__(
            environ=server.environ(self.secret_id),
            put=self._put,
            raw=self._raw,
            unreachable={"AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}"},
            refused={"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
        )

    def _put(self, values: Mapping[str, str]) -> None:
        text = json.dumps(dict(values))
        client = self.server.client()
        if any(secret["Name"] == self.secret_id for secret in client.list_secrets()["SecretList"]):
            client.put_secret_value(SecretId=self.secret_id, SecretString=text)
        else:
            client.create_secret(Name=self.secret_id, SecretString=text)

    def _raw(self) -> dict[str, str]:
        answer = self.server.client().get_secret_value(SecretId=self.secret_id, VersionStage="AWSCURRENT")
        content: dict[str, str] = json.loads(answer["SecretString"])
        content.pop("_METADATA", None)
        return content


class VaultStore(Store):
    """A new path in Vault, in an engine with versions."""

    mount = "secret"

    def __init__(self, server: Vault) -> None:
        self.server = server
        self.path = f"cctv-{uuid.uuid4().hex[:8]}"
        super().__init__(
            environ=server.environ(self.path, self.mount),
            put=self._put,
            raw=self._raw,
            unreachable={"VAULT_ADDR": f"http://127.0.0.1:{free_port()}"},
            refused={"VAULT_TOKEN": "s.wrong"},
        )

    def _put(self, values: Mapping[str, str]) -> None:
        engine = self.server.client().secrets.kv.v2
        engine.create_or_update_secret(self.path, dict(values), mount_point=self.mount)

    def _raw(self) -> dict[str, str]:
        engine = self.server.client().secrets.kv.v2
        answer = engine.read_secret_version(self.path, mount_point=self.mount, raise_on_deleted_version=True)
        content: dict[str, str] = answer["data"]["data"]
        content.pop("_METADATA", None)
        return content


class VaultVersion1Store(VaultStore):
    """A new path in Vault, in an engine without versions."""

    mount = "kv1"

    def _put(self, values: Mapping[str, str]) -> None:
        self.server.client().secrets.kv.v1.create_or_update_secret(self.path, dict(values), mount_point=self.mount)

    def _raw(self) -> dict[str, str]:
        content: dict[str, str] = self.server.client().secrets.kv.v1.read_secret(self.path, self.mount)["data"]
        content.pop("_METADATA", None)
        return content


class AzureStore(Store):
    """The whole key vault, emptied."""

    def __init__(self, server: KeyVault) -> None:
        server.clear()
        self.server = server
        super().__init__(
            environ=server.environ(),
            put=self._put,
            raw=self._raw,
            unreachable={"AZURE_KEYVAULT_URL": f"https://localhost:{free_port()}"},
            refused={"IDENTITY_HEADER": "wrong"},
        )

    def _put(self, values: Mapping[str, str]) -> None:
        self.server.secrets.clear()
        for name, value in values.items():
            self.server.put(name.lower().replace("_", "-"), value)

    def _raw(self) -> dict[str, str]:
        return {name.upper().replace("-", "_"): versions[-1].value for name, versions in self.server.secrets.items()}
