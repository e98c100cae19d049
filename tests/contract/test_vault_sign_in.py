"""The ways in to Vault, each against a real server: signed tokens, agents, client certificates, namespaces."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hvac
import pytest

from src.utils.secrets.backends.hashicorp_vault import VaultBackend, open_backend
from src.utils.secrets.backends.hashicorp_vault_login import KUBERNETES_TOKEN
from src.utils.secrets.changes import Change
from src.utils.secrets.errors import ConfigurationError, StoreDeniedError, StoreUnavailableError
from src.utils.secrets.settings import Settings
from tests.servers.certificates import Authority
from tests.servers.faulty import running_faulty
from tests.servers.ports import free_port
from tests.servers.process import running
from tests.servers.vault import PROGRAM, Vault
from tests.support.issuer import Issuer

POLICY = 'path "secret/data/cctv" { capabilities = ["create", "update", "read"] }'


@pytest.fixture
def server(vault_server: Vault) -> Vault:
    """A server with one secret and the policy to read and write it."""
    vault_server.clear()
    client = vault_server.client()
    client.sys.create_or_update_policy("app", POLICY)
    client.secrets.kv.v2.create_or_update_secret("cctv", {"A": "1"})
    return vault_server


def opened(environ: dict[str, str], tmp_path: Path, **changed: str) -> VaultBackend:
    return open_backend(Settings({"HOME": str(tmp_path), "SECRETS_BACKEND": "vault"} | environ | changed))


def trust(server: Vault, issuer: Issuer, mount: str = "jwt", ttl: str = "1h") -> None:
    """Let the server sign in whom the issuer vouches for."""
    client = server.client()
    client.sys.enable_auth_method("jwt", path=mount)
    client.auth.jwt.configure(jwt_validation_pubkeys=[issuer.public_key], path=mount)
    client.auth.jwt.create_role(
        name="cctv",
        role_type="jwt",
        allowed_redirect_uris=[],
        user_claim="sub",
        bound_audiences=["vault"],
        token_policies=["app"],
        token_ttl=ttl,
        path=mount,
    )


@pytest.mark.parametrize("mount", ["jwt", "ci/tokens"])
def test_a_signed_token_signs_in_and_again_from_its_file_when_the_issued_one_has_ended(
    mount: str, server: Vault, tmp_path: Path
) -> None:
    issuer, path = Issuer(), tmp_path / "jwt"
    trust(server, issuer, mount)
    path.write_text(issuer.sign() + "\n")
    way = {"VAULT_ADDR": server.url, "VAULT_AUTH_ROLE": "cctv", "VAULT_JWT_FILE": str(path)}
    backend = opened(way, tmp_path, **({} if mount == "jwt" else {"VAULT_AUTH_MOUNT": mount}))
    assert backend.load().values == {"A": "1"}
    assert backend.save({"B": Change("2")}).values == {"A": "1", "B": "2"}
    assert backend.seconds_of_token() is None  # it signs in again by itself
    server.client().auth.token.revoke(backend._client.token)
    path.write_text(issuer.sign())
    assert backend.load().values == {"A": "1", "B": "2"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"VAULT_JWT": ""}, "error validating token|invalid"),
        ({"VAULT_AUTH_ROLE": "nobody"}, 'role "nobody"'),
        ({"VAULT_AUTH_MOUNT": "elsewhere"}, "no such way to sign in"),
    ],
)
def test_a_refused_signed_token_says_what_the_server_says(
    change: dict[str, str], said: str, server: Vault, tmp_path: Path
) -> None:
    issuer = Issuer()
    trust(server, issuer)
    stranger = Issuer().sign()
    way = {"VAULT_ADDR": server.url, "VAULT_AUTH_ROLE": "cctv", "VAULT_JWT": issuer.sign()}
    way |= {name: value or stranger for name, value in change.items()}
    with pytest.raises(StoreDeniedError, match=f"Vault authentication failed.*({said})") as error:
        opened(way, tmp_path).load()
    assert way["VAULT_JWT"] not in str(error.value)
    assert way["VAULT_JWT"].split(".")[2] not in str(error.value)


def test_a_pod_signs_in_with_its_own_token(server: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    issuer, token = Issuer(), tmp_path / "token"
    trust(server, issuer, "kubernetes")
    token.write_text(issuer.sign())
    assert KUBERNETES_TOKEN.endswith("/serviceaccount/token")
    monkeypatch.setattr("src.utils.secrets.backends.hashicorp_vault_login.KUBERNETES_TOKEN", str(token))
    assert opened({"VAULT_ADDR": server.url, "VAULT_AUTH_ROLE": "cctv"}, tmp_path).load().values == {"A": "1"}


@contextmanager
def running_proxy(server: Vault, tmp_path: Path, *, signs_in: bool = True) -> Iterator[str]:
    """Start ``bao proxy``, which signs its clients in."""
    port = free_port()
    approle = server.client().auth.approle
    server.client().sys.enable_auth_method("approle")
    approle.create_or_update_approle("app", token_policies=["app"])
    (tmp_path / "role").write_text(approle.read_role_id("app")["data"]["role_id"])
    (tmp_path / "secret").write_text(approle.generate_secret_id("app")["data"]["secret_id"])
    auto_auth = f"""
        auto_auth {{
          method "approle" {{
            config = {{
              role_id_file_path = "{tmp_path}/role"
              secret_id_file_path = "{tmp_path}/secret"
            }}
          }}
        }}
        api_proxy {{
          use_auto_auth_token = true
        }}
    """
    (tmp_path / "proxy.hcl").write_text(
        f"""
        vault {{
          address = "{server.url}"
        }}
        {auto_auth if signs_in else "api_proxy {}"}
        listener "tcp" {{
          address = "127.0.0.1:{port}"
          tls_disable = true
        }}
        """
    )
    with running([PROGRAM, "proxy", f"-config={tmp_path}/proxy.hcl"], port, log=tmp_path / "proxy.log"):
        yield f"http://127.0.0.1:{port}"


def test_behind_an_agent_that_signs_in_no_token_is_needed(server: Vault, tmp_path: Path) -> None:
    with running_proxy(server, tmp_path) as address:
        backend = opened({"VAULT_ADDR": address, "VAULT_AUTH_METHOD": "agent"}, tmp_path)
        assert "secret/cctv" in backend.check_access([])
        assert backend.load().values == {"A": "1"}
        assert backend.save({"B": Change("2")}).values == {"A": "1", "B": "2"}
        assert backend.seconds_of_token() is None


def test_an_agent_that_does_not_sign_in_is_explained(server: Vault, tmp_path: Path) -> None:
    with running_proxy(server, tmp_path, signs_in=False) as address:
        backend = opened({"VAULT_ADDR": address, "VAULT_AUTH_METHOD": "agent"}, tmp_path)
        with pytest.raises(StoreDeniedError, match="does not sign in for its clients"):
            backend.load()


@pytest.fixture
def strict_server(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A server that demands a certificate of its clients; the settings for one that has it."""
    port, authority = free_port(), Authority(tmp_path)
    served, client = authority.issue("localhost"), authority.issue("client")
    (tmp_path / "server.hcl").write_text(
        f"""
        storage "inmem" {{}}
        listener "tcp" {{
          address = "127.0.0.1:{port}"
          tls_cert_file = "{served.certificate}"
          tls_key_file = "{served.key}"
          tls_client_ca_file = "{authority.certificate}"
          tls_require_and_verify_client_cert = true
        }}
        api_addr = "https://127.0.0.1:{port}"
        """
    )
    with running([PROGRAM, "server", f"-config={tmp_path}/server.hcl"], port, log=tmp_path / "server.log"):
        url, ca = f"https://127.0.0.1:{port}", str(authority.certificate)
        certificate = (str(client.certificate), str(client.key))
        issued = hvac.Client(url=url, verify=ca, cert=certificate).sys.initialize(1, 1)
        vault = Vault(url, issued["root_token"], ca, issued["keys"][0])
        administrator = hvac.Client(url=url, verify=ca, cert=certificate, token=vault.token)
        administrator.sys.submit_unseal_key(vault.unseal_key)
        _wait_until_active(administrator)
        administrator.sys.enable_secrets_engine("kv", path="secret", options={"version": "2"})
        yield vault.environ() | {"VAULT_CLIENT_CERT": certificate[0], "VAULT_CLIENT_KEY": certificate[1]}


def _wait_until_active(client: Any) -> None:
    import time

    for _ in range(200):
        try:
            client.auth.token.lookup_self()
        except hvac.exceptions.VaultError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the server does not become active")


def test_a_client_certificate_is_used_and_its_absence_explained(strict_server: dict[str, str], tmp_path: Path) -> None:
    backend = opened(strict_server, tmp_path)
    assert backend.save({"A": Change("1")}).values == {"A": "1"}
    for name in ("VAULT_CLIENT_CERT", "VAULT_CLIENT_KEY"):
        strict_server.pop(name)
    with pytest.raises(
        (ConfigurationError, StoreUnavailableError), match=r"certificate of its clients|while TLS"
    ) as error:
        opened(strict_server, tmp_path).load()
    assert "certificate" in error.value.hint


def test_a_token_without_the_default_policy_is_used_and_told_from_a_wrong_one(server: Vault, tmp_path: Path) -> None:
    issued = server.client().auth.token.create(policies=["app"], no_default_policy=True)["auth"]["client_token"]
    environ = server.environ() | {"VAULT_TOKEN": issued}
    backend = opened(environ, tmp_path)
    assert "secret/cctv" in backend.check_access([])
    assert backend.save({"B": Change("2")}).values == {"A": "1", "B": "2"}
    with pytest.raises(StoreDeniedError, match="Vault denies reading on secret/other"):
        opened(environ, tmp_path, VAULT_SECRET_PATH="other").load()
    server.client().auth.token.revoke(issued)
    with pytest.raises(StoreDeniedError, match="does not accept the token"):
        backend.load()


def test_a_namespace_holds_secrets_of_its_own(server: Vault, tmp_path: Path) -> None:
    root = server.client()
    root.adapter.post("/v1/sys/namespaces/team")
    team = hvac.Client(url=server.url, token=server.token, namespace="team")
    team.sys.enable_secrets_engine("kv", path="secret", options={"version": "2"})
    backend = opened(server.environ() | {"VAULT_NAMESPACE": "team"}, tmp_path)
    assert backend.save({"A": Change("theirs")}).values == {"A": "theirs"}
    assert "in namespace team" in backend.describe()
    assert opened(server.environ(), tmp_path).load().values == {"A": "1"}
    with pytest.raises(ConfigurationError, match=r"no such namespace.*in namespace nowhere"):
        opened(server.environ() | {"VAULT_NAMESPACE": "nowhere"}, tmp_path).load()
    root.adapter.delete("/v1/sys/namespaces/team")


def test_a_server_without_namespaces_is_not_written_to_in_place_of_one(server: Vault, tmp_path: Path) -> None:
    """HashiCorp's free edition ignores the header: https://developer.hashicorp.com/vault/docs/enterprise/namespaces."""
    with running_faulty(server.url) as ignorant:
        # The proxy passes the real answer on, without the header.
        ignorant.dropped = {"x-vault-namespace"}
        backend = opened(server.environ() | {"VAULT_NAMESPACE": "team", "VAULT_ADDR": ignorant.url}, tmp_path)
        for action in (lambda: backend.save({"A": Change("lost")}), lambda: backend.check_access([])):
            with pytest.raises(ConfigurationError, match="the server knows no namespaces"):
                action()
    assert opened(server.environ(), tmp_path).load().values == {"A": "1"}


def test_the_variables_of_openbao_s_tools_are_known(server: Vault, tmp_path: Path) -> None:
    assert opened({"BAO_ADDR": server.url, "BAO_TOKEN": server.token}, tmp_path).load().values == {"A": "1"}
    theirs = {"BAO_ADDR": "http://127.0.0.1:1", "BAO_TOKEN": "s.wrong"}
    assert opened(theirs | server.environ(), tmp_path).load().values == {"A": "1"}
    role = {"VAULT_ADDR": server.url, "VAULT_ROLE_ID": "x", "BAO_TOKEN": server.token}
    with pytest.raises(StoreDeniedError, match=r"AppRole|way to sign in"):
        opened(role, tmp_path).load()


def test_a_password_in_netrc_is_not_sent(server: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("machine 127.1 login me password netrc-canary\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    with running_faulty(server.url) as faulty:
        # A spelling of the address that is not taken for this machine.
        address = faulty.url.replace("127.0.0.1", "127.1")
        assert opened(server.environ() | {"VAULT_ADDR": address}, tmp_path).load().values == {"A": "1"}
        assert all("Authorization" not in headers for _, _, headers in faulty.requests)


def test_a_connection_to_this_machine_goes_through_no_proxy(
    server: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_faulty(server.url) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        assert opened(server.environ(), tmp_path).load().values == {"A": "1"}
        assert proxy.requests == []


@pytest.mark.parametrize(
    ("address", "warns"),
    [
        ("http://vault.example.org:8200", True),
        ("http://10.0.0.5:8200", True),
        ("https://vault.example.org:8200", False),
        ("http://127.0.0.1:8200", False),
        ("http://[::1]:8200", False),
        ("http://localhost:8200", False),
    ],
)
def test_a_token_that_crosses_the_network_unencrypted_brings_a_warning(
    address: str, warns: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        opened({"VAULT_ADDR": address, "VAULT_TOKEN": "root"}, tmp_path)
    assert ("cross the network unencrypted" in caplog.text) is warns
