"""Fixtures for the tests of several stacks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from src.ops.setup.given import GivenValues
from src.ops.setup.plan import make_plan
from src.utils.secrets.catalog import load_catalog
from tests.servers.ports import free_port
from tests.servers.postgres import Postgres
from tests.support.checkout import Checkout
from tests.support.engine import alone, docker

CATALOG = load_catalog()


@pytest.fixture
def values() -> dict[str, str]:
    return make_plan(CATALOG, {}, GivenValues()).values()


@pytest.fixture
def value_files(values: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """NAME_FILE for every secret, as in a container."""
    environ = {}
    for name, value in values.items():
        path = tmp_path / "run" / name.lower()
        path.parent.mkdir(exist_ok=True)
        path.write_text(value)
        environ[f"{name}_FILE"] = str(path)
    return environ


@pytest.fixture
def database(postgres: Postgres, values: dict[str, str]) -> dict[str, str]:
    """Settings for an empty database with the right password."""
    postgres.set_password(values["DATABASE_PASSWORD"])
    return {"DATABASE_HOST": "127.0.0.1", "DATABASE_PORT": str(postgres.port)}


@pytest.fixture
def swarm(stack: Checkout) -> Iterator[Checkout]:
    """This engine as a Swarm with one node."""
    with alone("swarm"):
        was_active = docker("info", "--format", "{{.Swarm.LocalNodeState}}").strip() == "active"
        if not was_active:
            docker("swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", f"127.0.0.1:{free_port()}")
        before = set(docker("secret", "ls", "--quiet").split())
        try:
            yield stack
        finally:
            made = set(docker("secret", "ls", "--quiet").split()) - before
            if made:
                docker("secret", "rm", *made)
            if not was_active:
                docker("swarm", "leave", "--force")
