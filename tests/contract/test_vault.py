"""Behaviour that only HashiCorp Vault has, on a server with TLS, seal and policies."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from src.utils.secrets.backends.hashicorp_vault import VaultBackend, open_backend
from src.utils.secrets.changes import Change
from src.utils.secrets.errors import (
    ConfigurationError,
    StoreChangedError,
    StoreDeletedError,
    StoreDeniedError,
    StoreEmptyError,
    StoreError,
    StoreUnavailableError,
)
from src.utils.secrets.settings import Settings
from tests.servers.faulty import Answer, running_faulty
from tests.servers.vault import Vault

READ_POLICY = 'path "secret/data/cctv" { capabilities = ["read"] }'


@pytest.fixture(scope="module")
def server(sealed_vault: Vault) -> Vault:
    client = sealed_vault.client()
    client.sys.create_or_update_policy("app", READ_POLICY)
    client.auth.approle.create_or_update_approle("app", token_policies=["app"], token_ttl="4s")
    return sealed_vault


@pytest.fixture(autouse=True)
def stored(server: Vault) -> None:
    engine = server.client().secrets.kv.v2
    engine.delete_metadata_and_all_versions("cctv")
    engine.create_or_update_secret("cctv", {"A": "1"})


def opened(server: Vault, tmp_path: Path, **changed: str) -> VaultBackend:
    environ = server.environ() | {"HOME": str(tmp_path), "SECRETS_BACKEND": "vault"} | changed
    return open_backend(Settings(environ))


def issue(server: Vault, **parameters: Any) -> str:
    token: str = server.client().auth.token.create(**parameters)["auth"]["client_token"]
    return token


def app_role(server: Vault) -> dict[str, str]:
    approle = server.client().auth.approle
    return {
        "VAULT_TOKEN": "",
        "VAULT_ROLE_ID": approle.read_role_id("app")["data"]["role_id"],
        "VAULT_SECRET_ID": approle.generate_secret_id("app")["data"]["secret_id"],
    }


def test_a_load_is_one_request_after_the_mount_was_looked_up_once(vault_server: Vault, tmp_path: Path) -> None:
    vault_server.client().secrets.kv.v2.create_or_update_secret("cctv", {f"S{n}": "x" for n in range(200)})
    with running_faulty(vault_server.url) as faulty:
        backend = opened(vault_server, tmp_path, VAULT_ADDR=faulty.url)
        assert len(backend.load().values) == 200
        assert [path for _, path, _ in faulty.requests] == ["/v1/sys/internal/ui/mounts/secret", "/v1/secret/data/cctv"]


def test_a_write_based_on_an_old_version_changes_nothing(server: Vault, tmp_path: Path) -> None:
    slow = opened(server, tmp_path)
    content, revision = slow.read_if_any()
    opened(server, tmp_path).save({"A": Change("2")})
    assert slow.write({**content, "A": "3"}, revision) is None
    assert opened(server, tmp_path).load().values == {"A": "2"}


def test_a_sealed_server_is_reported_and_works_again_after_unsealing(server: Vault, tmp_path: Path) -> None:
    backend = opened(server, tmp_path)
    assert backend.load().values == {"A": "1"}
    server.client().sys.seal()
    try:
        for action in (backend.load, opened(server, tmp_path).load):
            with pytest.raises(StoreUnavailableError, match="Vault is sealed") as error:
                action()
            assert "unseal" in error.value.hint
    finally:
        server.unseal()
    assert backend.load().values == {"A": "1"}


def test_an_app_role_logs_in_and_again_when_its_token_has_expired(server: Vault, tmp_path: Path) -> None:
    backend = opened(server, tmp_path, **app_role(server))
    assert backend.load().values == {"A": "1"}
    first = backend._client.token
    server.client().auth.token.revoke(first)
    assert backend.load().values == {"A": "1"}
    assert backend._client.token != first


def test_a_wrong_app_role_fails_to_authenticate(server: Vault, tmp_path: Path) -> None:
    with pytest.raises(StoreDeniedError, match=r"Vault authentication failed.*does not accept this AppRole") as error:
        opened(server, tmp_path, **app_role(server) | {"VAULT_SECRET_ID": "wrong"}).load()
    assert "wrong" not in str(error.value)


def test_a_token_that_may_be_renewed_is_renewed(server: Vault, tmp_path: Path) -> None:
    token = issue(server, policies=["app"], ttl="3s", period="3s")
    backend = opened(server, tmp_path, VAULT_TOKEN=token)
    for _ in range(9):
        assert backend.load().values == {"A": "1"}
        time.sleep(0.7)


def test_the_lifetime_of_the_token_is_known(server: Vault, tmp_path: Path) -> None:
    left = opened(server, tmp_path, VAULT_TOKEN=issue(server, policies=["app"], ttl="2h")).seconds_of_token()
    assert left is not None
    assert 7000 < left <= 7200
    assert opened(server, tmp_path).seconds_of_token() is None  # the root token never expires
    assert opened(server, tmp_path, **app_role(server)).seconds_of_token() is None  # it signs in again automatically


def test_an_expired_token_is_read_again_from_its_file(server: Vault, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(issue(server, policies=["app"]) + "\n")
    backend = opened(server, tmp_path, VAULT_TOKEN="", VAULT_TOKEN_FILE=str(path))
    assert backend.load().values == {"A": "1"}
    server.client().auth.token.revoke(path.read_text().strip())
    with pytest.raises(StoreDeniedError, match="Vault authentication failed"):
        backend.load()
    path.write_text(issue(server, policies=["app"]))
    assert backend.load().values == {"A": "1"}


def test_the_token_of_vault_login_is_found(server: Vault, tmp_path: Path) -> None:
    (tmp_path / ".vault-token").write_text(server.token)
    assert opened(server, tmp_path, VAULT_TOKEN="").load().values == {"A": "1"}


def test_without_a_token_it_says_what_was_tried(server: Vault, tmp_path: Path) -> None:
    with pytest.raises(StoreDeniedError, match=r"Vault authentication failed: no token was found.*~/.vault-token"):
        opened(server, tmp_path, VAULT_TOKEN="").load()


def test_a_bad_token_and_a_denied_permission_give_different_errors(server: Vault, tmp_path: Path) -> None:
    with pytest.raises(StoreDeniedError, match="Vault authentication failed"):
        opened(server, tmp_path, VAULT_TOKEN="s.bad").load()
    reader = opened(server, tmp_path, VAULT_TOKEN=issue(server, policies=["app"]))
    assert reader.load().values == {"A": "1"}
    with pytest.raises(StoreDeniedError, match="Vault denies writing on secret/cctv"):
        reader.save({"A": Change("2")})
    with pytest.raises(StoreDeniedError, match="Vault denies writing on secret/cctv"):
        reader.check_access([])
    assert opened(server, tmp_path).load().values == {"A": "1"}


def test_a_wrong_mount_and_a_wrong_kind_of_engine_are_explained(server: Vault, tmp_path: Path) -> None:
    with pytest.raises(StoreDeniedError, match="no secrets engine at nothing/"):
        opened(server, tmp_path, VAULT_MOUNT_POINT="nothing").load()
    with pytest.raises(ConfigurationError, match="not a key-value one: its type is cubbyhole"):
        opened(server, tmp_path, VAULT_MOUNT_POINT="cubbyhole").load()


def test_a_missing_path_is_empty(server: Vault, tmp_path: Path) -> None:
    with pytest.raises(StoreEmptyError, match="Secret not found in HashiCorp Vault: secret/other"):
        opened(server, tmp_path, VAULT_SECRET_PATH="other").load()


def test_a_deleted_version_can_be_restored_and_a_destroyed_one_is_explained(server: Vault, tmp_path: Path) -> None:
    backend = opened(server, tmp_path)
    server.client().secrets.kv.v2.delete_latest_version_of_secret("cctv")
    with pytest.raises(StoreDeletedError):
        backend.load()
    with pytest.raises(StoreDeletedError):
        backend.save({"B": Change("2")})
    backend.restore([])
    assert backend.load().values == {"A": "1"}
    server.client().secrets.kv.v2.destroy_secret_versions("cctv", [1])
    with pytest.raises(StoreError, match="destroyed"):
        backend.load()


def test_an_untrusted_certificate_is_refused(server: Vault, tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match=r"The TLS certificate of Vault.*not accepted") as error:
        opened(server, tmp_path, VAULT_CACERT="").load()
    assert "VAULT_CACERT" in error.value.hint
    with pytest.raises(ConfigurationError, match="VAULT_CACERT names"):
        opened(server, tmp_path, VAULT_CACERT=str(tmp_path / "missing"))


def test_a_redirect_is_not_followed_with_the_token(vault_server: Vault, tmp_path: Path) -> None:
    with running_faulty(vault_server.url) as elsewhere, running_faulty(vault_server.url) as standby:
        standby.fault = lambda method, path, headers: (307, {"Location": elsewhere.url + path}, b"")
        with pytest.raises(StoreUnavailableError, match="standby") as error:
            opened(vault_server, tmp_path, VAULT_ADDR=standby.url).load()
        assert elsewhere.url in str(error.value)
        assert elsewhere.requests == []


@pytest.mark.parametrize(
    ("status", "text"),
    [(429, "limiting the rate"), (500, "internal error"), (502, "internal error"), (501, "not init")],
)
def test_server_errors_are_explained(status: int, text: str, vault_server: Vault, tmp_path: Path) -> None:
    body = json.dumps({"errors": ["trouble"]}).encode()
    with running_faulty(vault_server.url) as faulty:
        faulty.fault = lambda *_: (status, {"Content-Type": "application/json"}, body)
        with pytest.raises(StoreUnavailableError, match=text):
            opened(vault_server, tmp_path, VAULT_ADDR=faulty.url).load()


def test_short_server_errors_are_retried(vault_server: Vault, tmp_path: Path) -> None:
    vault_server.client().secrets.kv.v2.create_or_update_secret("cctv", {"A": "1"})
    with running_faulty(vault_server.url) as faulty:
        answers: list[Answer] = [(429, {}, b"{}"), (502, {}, b"{}")]
        faulty.fault = lambda *_: answers.pop() if answers else None
        assert opened(vault_server, tmp_path, VAULT_ADDR=faulty.url).load().values == {"A": "1"}


def test_version_1_is_detected_and_a_conflicting_write_is_reported(
    vault_server: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = vault_server.client().secrets.kv.v1
    engine.create_or_update_secret("cctv", {"A": "1"}, mount_point="kv1")
    backend = opened(vault_server, tmp_path, VAULT_MOUNT_POINT="kv1")
    assert "version 1" in backend.check_access([])
    real = backend._client.secrets.kv.v1.create_or_update_secret

    def crossed(**parameters: Any) -> Any:
        answer = real(**parameters)
        engine.create_or_update_secret("cctv", {"A": "theirs"}, mount_point="kv1")
        return answer

    monkeypatch.setattr(backend._client.secrets.kv.v1, "create_or_update_secret", crossed)
    with pytest.raises(StoreChangedError, match="at the same moment"):
        backend.save({"A": Change("ours")})


def test_a_write_waits_for_an_engine_that_is_being_upgraded(vault_server: Vault, tmp_path: Path) -> None:
    client = vault_server.client()
    client.sys.enable_secrets_engine("kv", path="growing", options={"version": "1"})
    try:
        for number in range(400):
            client.secrets.kv.v1.create_or_update_secret(f"other-{number}", {"A": "1"}, mount_point="growing")
        client.secrets.kv.v1.create_or_update_secret("cctv", {"A": "1"}, mount_point="growing")
        backend = opened(vault_server, tmp_path, VAULT_MOUNT_POINT="growing")
        assert backend.load().values == {"A": "1"}
        client.sys.tune_mount_configuration("growing", options={"version": "2"})
        assert backend.save({"B": Change("2")}).values == {"A": "1", "B": "2"}
        assert backend.load().values == {"A": "1", "B": "2"}
    finally:
        client.sys.disable_secrets_engine("growing")


def test_an_engine_whose_upgrade_does_not_end_is_an_error(
    vault_server: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.utils.secrets.backends.hashicorp_vault.UPGRADE_PAUSES", (0.01, 0.01))
    body = json.dumps({"errors": ["Upgrading from non-versioned to versioned data."]}).encode()
    with running_faulty(vault_server.url) as faulty:
        faulty.fault = lambda method, path, headers: (
            (400, {"Content-Type": "application/json"}, body) if "/data/" in path else None
        )
        with pytest.raises(StoreUnavailableError, match="is upgrading the secrets engine"):
            opened(vault_server, tmp_path, VAULT_ADDR=faulty.url).load()
        assert len([path for _, path, _ in faulty.requests if "/data/" in path]) == 3
