"""Fixtures for the tests of several stacks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.ports import free_port
from tests.support.checkout import Checkout
from tests.support.engine import alone, docker


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
