"""The stack whose app reads its secrets from Vault itself, with its own AppRole."""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values

from tests.conftest import need_root
from tests.servers.vault import Vault, running_vault
from tests.support.checkout import (
    Checkout,
    containers,
    linked_checkout,
    log_in,
    prepared_for_compose,
    wait_until_healthy,
)
from tests.support.engine import docker, need_engine
from tests.support.files import write_read_only

APP_ID = 10001


@pytest.fixture(scope="module")
def vault() -> Iterator[Vault]:
    """A Vault that containers can reach, on this machine's address in the bridge network."""
    need_root()
    need_engine()
    with running_vault(_address_for_containers()) as server:
        yield server


def _address_for_containers() -> str:
    """Return this machine's address in the bridge network: the gateway, or else the first address.

    An engine that has just started does not list the gateway.
    """
    network = json.loads(docker("network", "inspect", "bridge"))[0]["IPAM"]["Config"][0]
    return str(network.get("Gateway") or next(ipaddress.ip_network(network["Subnet"]).hosts()))


@pytest.fixture(scope="module")
def stack(vault: Vault) -> Iterator[Checkout]:
    """Three healthy containers."""
    base = Path(tempfile.mkdtemp(prefix="cloud-stack-"))
    checkout = linked_checkout(base, VAULT_ADDR=vault.url, VAULT_TOKEN=vault.token)
    try:
        with prepared_for_compose(checkout, f"cloud-stack-test-{os.getpid()}", "APP_CLOUD_IMAGE"):
            checkout.run("scripts/setup_secrets.py", "--non-interactive", "--backend", "vault")
            with (checkout.directory / ".env").open("a") as file:
                file.writelines(f"{key}={value}\n" for key, value in app_sign_in(checkout, vault).items())
            checkout.run("scripts/generate_docker_secrets.sh", "--cloud")
            checkout.run("docker-compose", "up", "-d")
            wait_until_healthy(checkout)
            yield checkout
    finally:
        shutil.rmtree(base, ignore_errors=True)


def app_sign_in(checkout: Checkout, vault: Vault) -> dict[str, str]:
    """Create an AppRole with the app's policy; its secret id is in a file that only the app's user can read."""
    policy = checkout.run("scripts/manage_secrets.py", "policy", "vault").stdout
    client = vault.client()
    client.sys.create_or_update_policy("cctv-app", policy)
    client.sys.enable_auth_method("approle")
    client.auth.approle.create_or_update_approle("cctv-app", token_policies=["cctv-app"])
    path = checkout.home / "app-secret-id"
    write_read_only(path, client.auth.approle.generate_secret_id("cctv-app")["data"]["secret_id"])
    os.chown(path, APP_ID, APP_ID)
    role_id = client.auth.approle.read_role_id("cctv-app")["data"]["role_id"]
    return {"APP_VAULT_ROLE_ID": role_id, "APP_VAULT_SECRET_ID_FILE": str(path)}


def stored(vault: Vault) -> dict[str, str]:
    answer: dict[str, Any] = vault.client().secrets.kv.v2.read_secret_version("cctv", raise_on_deleted_version=True)
    content: dict[str, str] = answer["data"]["data"]
    return content


def test_only_postgres_and_redis_get_files(stack: Checkout) -> None:
    files = sorted(path.name for path in (stack.directory / "secrets").iterdir())
    assert files == ["db_password.txt", "redis_password.txt"]
    assert stat.S_IMODE((stack.directory / "secrets/db_password.txt").stat().st_mode) == 0o400
    app = containers(stack)["app"]
    sources = {mount["Source"] for mount in app["Mounts"]}
    assert not [source for source in sources if "/secrets/" in source]
    done = stack.run("scripts/generate_docker_secrets.sh", "--check")
    assert "2 files, all up to date" in done.stdout


def test_the_app_accepts_the_admin_password_in_vault(stack: Checkout, vault: Vault) -> None:
    values = stored(vault)
    assert log_in(stack, values["ADMIN_PASSWORD"]).status_code == 200
    assert log_in(stack, "wrong").status_code == 401


def test_no_secret_and_no_credential_is_in_inspect_or_logs(stack: Checkout, vault: Vault) -> None:
    values = [value for value in stored(vault).values() if len(value) > 8]
    values.append((stack.home / "app-secret-id").read_text())
    text = json.dumps(containers(stack)) + stack.compose("logs")
    assert not [value for value in values if value in text]


def test_the_mode_is_remembered_until_it_is_changed(stack: Checkout) -> None:
    compose_file = dotenv_values(stack.directory / ".env")["COMPOSE_FILE"]
    stack.run("scripts/generate_docker_secrets.sh")
    assert len(list((stack.directory / "secrets").iterdir())) == 2
    try:
        stack.run("scripts/generate_docker_secrets.sh", "--no-cloud")
        assert len(list((stack.directory / "secrets").iterdir())) == 15
        assert "COMPOSE_FILE" not in dotenv_values(stack.directory / ".env")
    finally:
        stack.run("scripts/generate_docker_secrets.sh", "--cloud", "--prune")
    assert dotenv_values(stack.directory / ".env")["COMPOSE_FILE"] == compose_file
    assert len(list((stack.directory / "secrets").iterdir())) == 2
