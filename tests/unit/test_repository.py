"""What git keeps out by itself."""

from __future__ import annotations

import subprocess

import pytest

from tests.conftest import PROJECT, need_program


def is_ignored(path: str) -> bool:
    need_program("git", "git")
    # In a copy of the project that is no checkout, its .gitignore still has to say so.
    done = subprocess.run(
        ["git", "-c", "core.excludesFile=", "check-ignore", "--no-index", "--quiet", path], cwd=PROJECT, check=False
    )
    return done.returncode == 0


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        ".env.production",
        ".env.staging",
        "config/secrets.enc",
        "config/secrets.enc.bak",
        "config/secrets.enc.sum",
        "config/secrets.enc.lock",
        "config/secrets.enc.lost-2025-01-01T000000Z",
        "config/secrets.staging.enc",
        "config/.secrets.enc.1-0123456789abcdef.tmp",
        "secrets/db_password.txt",
        "secrets/staging/db_password.txt",
        "secrets/.db_password.txt.1-0123456789abcdef.tmp",
        "master.key",
        "config/master.key",
        "server.pem",
        ".vault-token",
    ],
)
def test_what_may_hold_a_secret_is_ignored(path: str) -> None:
    assert is_ignored(path)


@pytest.mark.parametrize("path", [".env.example", ".env.production.example", "config/catalog.toml", "src/ops/plan.py"])
def test_what_belongs_to_the_project_is_not(path: str) -> None:
    assert not is_ignored(path)
