"""Moving secrets between any two different stores, on the real servers."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from src.ops.deployment.deployment import Deployment
from src.ops.lifecycle.migrate import delete_source, migrate, plan_migration
from src.ops.store_kinds import kind_of, open_store
from src.ops.store_kinds.named_stores import parse_store_name
from src.utils.secrets.changes import Change, load_if_any
from src.utils.secrets.errors import ConfigurationError, SecretsError, StoreEmptyError, StoreError
from src.utils.secrets.settings import SecretsBackend
from src.utils.secrets.snapshot import utc_after
from tests.conftest import PROJECT
from tests.servers.aws import Aws
from tests.servers.faulty import running_faulty
from tests.servers.keyvault import KeyVault
from tests.servers.vault import Vault
from tests.support.files import write_read_only

from .conftest import SDK_VARIABLES

KINDS = ["file", "aws", "vault", "azure", "env"]
VALUES = {
    "SECRET_KEY": "dollar $HOME ${X} $(id) `id`",
    "JWT_SECRET_KEY": "quotes ' without the other ones",
    "ENCRYPTION_KEY": "hash # and = and % and spaces  ",
    "WEBHOOK_SECRET": "two\nlines\n\n",
    "DATABASE_PASSWORD": "pässwörd-密码-🔑",
    "REDIS_PASSWORD": "x" * 20_000,
    "ADMIN_USERNAME": "admin",
}


@pytest.fixture
def deployment(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    aws_server: Aws,
    vault_server: Vault,
    keyvault_server: KeyVault,
) -> Deployment:
    """A project that can reach all five stores."""
    keyvault_server.clear()
    name = f"migration-{tmp_path.name}"
    environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    environ |= aws_server.environ(name) | vault_server.environ(name) | keyvault_server.environ()
    del environ["SECRETS_BACKEND"]
    for variable, value in environ.items():
        if variable.startswith(SDK_VARIABLES):
            monkeypatch.setenv(variable, value)
    monkeypatch.setenv("HOME", str(tmp_path))
    directory = tmp_path / "project"
    (directory / "config").mkdir(parents=True)
    (directory / "config/catalog.toml").write_text((PROJECT / "config/catalog.toml").read_text())
    return Deployment.locate(project_directory=str(directory), environ=environ)


def fill(deployment: Deployment, kind: str) -> dict[str, str]:
    """Make this the store in use, with the values, one of them with a previous value."""
    backend = SecretsBackend.from_name(kind)
    directory = Path(deployment.project_directory)
    if kind == "env":
        (directory / ".env").write_text("SECRETS_BACKEND=environment\n")
    else:
        (directory / ".env.production").write_text(f"SECRETS_BACKEND={backend.value}\n")
    if kind == "file":
        key = directory.parent / "master.key"
        write_read_only(key, Fernet.generate_key())
        with (directory / ".env.production").open("a") as file:
            file.write(f"SECRETS_MASTER_KEY_FILE={key}\n")
    store = open_store(deployment)
    store.save({"JWT_SECRET_KEY": Change("the first one, in grace")})
    changes = {name: Change(value, previous_valid_until=utc_after(3600)) for name, value in VALUES.items()}
    store.save(changes)
    return VALUES


def stored(deployment: Deployment, kind: str) -> Mapping[str, str]:
    return open_store(deployment, kind_of(SecretsBackend.from_name(kind))).load().values


@pytest.mark.parametrize(("source", "target"), list(itertools.permutations(KINDS, 2)))
def test_every_value_arrives_unchanged_and_the_target_is_in_use(
    deployment: Deployment, source: str, target: str
) -> None:
    values = fill(deployment, source)
    migration = plan_migration(parse_store_name(source, deployment), parse_store_name(target, deployment))
    assert set(migration.written) == set(values)
    migrate(deployment, migration)
    assert {name: stored(deployment, target).get(name) for name in values} == values
    assert deployment.settings().backend is SecretsBackend.from_name(target)
    in_use = open_store(deployment).load()
    assert {name: in_use.values[name] for name in values} == values
    if "env" not in (source, target):
        assert in_use.versions("JWT_SECRET_KEY", utc_after(0))[1:] == ["the first one, in grace"]
        again = plan_migration(parse_store_name(source, deployment), parse_store_name(target, deployment))
        assert again.written == []


@pytest.mark.parametrize("source", ["file", "aws", "vault", "azure", "env"])
def test_the_source_can_be_emptied_afterwards(deployment: Deployment, source: str) -> None:
    values = fill(deployment, source)
    target = "vault" if source != "vault" else "aws"
    migration = plan_migration(parse_store_name(source, deployment), parse_store_name(target, deployment))
    migrate(deployment, migration)
    delete_source(deployment, migration)
    try:
        left = migration.source_store.load().values
    except StoreEmptyError:
        left = {}
    assert not set(left) & set(values)
    assert {name: stored(deployment, target).get(name) for name in values} == values


def test_a_failed_target_leaves_the_source_in_use_and_the_same_command_continues(
    deployment: Deployment, keyvault_server: KeyVault
) -> None:
    """Azure writes one secret at a time, so a failure leaves some of them written."""
    values = fill(deployment, "file")
    settings = Path(deployment.settings_file).read_text()
    answer, writes = keyvault_server.answer, itertools.count()

    def failing(method: str, *arguments: object) -> object:
        if method == "PUT" and next(writes) >= 3:
            return 403, {"error": {"code": "Forbidden", "message": "no more"}}, {}
        return answer(method, *arguments)  # type: ignore[arg-type]

    keyvault_server.answer = failing  # type: ignore[method-assign, assignment]
    try:
        migration = plan_migration(parse_store_name("file", deployment), parse_store_name("azure", deployment))
        with pytest.raises(SecretsError):
            migrate(deployment, migration)
    finally:
        keyvault_server.answer = answer  # type: ignore[method-assign]
    assert Path(deployment.settings_file).read_text() == settings
    assert dict(stored(deployment, "file")) == values
    written = len(keyvault_server.secrets)
    assert 0 < written < len(values)
    migration = plan_migration(parse_store_name("file", deployment), parse_store_name("azure", deployment))
    assert 0 < len(migration.written) < len(values)
    migrate(deployment, migration)
    assert dict(stored(deployment, "azure")) == values


def test_an_unavailable_target_changes_nothing(deployment: Deployment, aws_server: Aws) -> None:
    values = fill(deployment, "vault")
    with running_faulty(aws_server.url) as faulty:
        environ = dict(deployment.environ) | {"AWS_ENDPOINT_URL": faulty.url}
        os.environ["AWS_ENDPOINT_URL"] = faulty.url
        there = replace(deployment, environ=environ)
        migration = plan_migration(parse_store_name("vault", there), parse_store_name("aws", there))
        faulty.fault = lambda *_: (500, {"Content-Type": "application/x-amz-json-1.1"}, b"{}")
        with pytest.raises(StoreError):
            migrate(there, migration)
    assert deployment.settings().backend is SecretsBackend.VAULT
    assert stored(deployment, "vault") == values
    os.environ["AWS_ENDPOINT_URL"] = aws_server.url
    assert load_if_any(open_store(deployment, kind_of(SecretsBackend.AWS))).values == {}


def test_an_exported_setting_that_would_override_is_reported_first(deployment: Deployment) -> None:
    fill(deployment, "file")
    for environ, variable, target in (
        ({"SECRETS_BACKEND": "file"}, "SECRETS_BACKEND", "vault"),
        ({"VAULT_SECRET_PATH": "another"}, "VAULT_SECRET_PATH", "vault:secret/mine"),
    ):
        here = replace(deployment, environ=dict(deployment.environ) | environ)
        with pytest.raises(ConfigurationError, match=f"{variable} is set in this shell"):
            plan_migration(parse_store_name("file", here), parse_store_name(target, here))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("aws:eu-central-1/{name}-one", "aws:us-east-1/{name}-two"),
        ("vault:secret/{name}-one", "vault:kv1/{name}-two"),
        ("file:{home}/one.enc", "file:{home}/two.enc"),
    ],
)
def test_secrets_move_between_two_places_of_the_same_kind(
    deployment: Deployment, tmp_path: Path, one: str, other: str
) -> None:
    values = fill(deployment, "file")
    environ = {name: value for name, value in deployment.environ.items() if not name.startswith("VAULT_SECRET")}
    environ.pop("SECRETS_AWS_SECRET_ID")
    environ.pop("AWS_REGION")
    environ.pop("VAULT_MOUNT_POINT")
    deployment = replace(deployment, environ=environ)
    places = [text.format(name=tmp_path.name, home=tmp_path) for text in (one, other)]
    first, second = (parse_store_name(place, deployment) for place in places)
    migrate(deployment, plan_migration(parse_store_name("file", deployment), first))
    migrate(deployment, plan_migration(first, second))
    assert dict(open_store(deployment).load().values) == values
    assert dict(second.open().load().values) == values


def test_values_that_a_target_cannot_store_are_reported_before_any_write(deployment: Deployment) -> None:
    fill(deployment, "file")
    store = open_store(deployment)
    store.save({"SMTP_PASSWORD": Change("it's \\ and $X"), "WEBHOOK_SECRET": Change("y" * 30_000)})
    with pytest.raises(SecretsError, match="SMTP_PASSWORD cannot be written to a dotenv file"):
        plan_migration(parse_store_name("file", deployment), parse_store_name("env", deployment))
    migration = plan_migration(parse_store_name("file", deployment), parse_store_name("azure", deployment))
    with pytest.raises(SecretsError, match="WEBHOOK_SECRET is 30000 bytes long"):
        migrate(deployment, migration)
    assert deployment.settings().backend is SecretsBackend.FILE
    assert load_if_any(migration.target_store).values == {}
