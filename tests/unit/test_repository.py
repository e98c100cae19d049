"""What git ignores."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT, need_program


def is_ignored(path: str) -> bool:
    need_program("git", "git")
    # In a copy of the project that is no checkout, use its .gitignore.
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
        "secrets.backup",
        "master.key",
        "config/master.key",
        "server.pem",
        ".vault-token",
        "config/SETUP.md",
        "config/SETUP.staging.md",
    ],
)
def test_files_that_may_contain_a_secret_are_ignored(path: str) -> None:
    assert is_ignored(path)


@pytest.mark.parametrize(
    "path", [".env.example", ".env.production.example", "config/catalog.toml", "src/ops/setup/plan.py"]
)
def test_project_files_are_not_ignored(path: str) -> None:
    assert not is_ignored(path)


def test_every_claim_of_the_threat_model_points_to_a_test_that_is_there() -> None:
    text = (PROJECT / "docs/threat-model.md").read_text()
    section = text.partition("## Claims")[2].partition("## Not protected")[0]
    rows = [line for line in section.splitlines() if "|" in line]
    claims = [row for row in rows if not re.search(r"\| (claim|---) ", row)]
    assert len(claims) > 15
    present = {
        name
        for path in (PROJECT / "tests").rglob("*.py")
        for name in re.findall(r"^ *def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    for claim in claims:
        named = re.findall(r"`(test_\w+)`", claim)
        assert named, claim
        assert set(named) <= present, claim


def test_a_clone_that_turns_line_ends_into_those_of_windows_still_starts(tmp_path: Path) -> None:
    """git for Windows does this by default; the user may then run the project in WSL."""
    need_program("git", "git")
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    for folder in ("scripts", "src", "config", "tests/e2e/images"):
        shutil.copytree(PROJECT / folder, origin / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".gitattributes", ".gitignore", "Makefile", "Dockerfile", "docker-compose.yml", "pyproject.toml"):
        shutil.copy(PROJECT / name, origin)
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q"], ["add", "-A"], [*who, "commit", "-qm", "x"]):
        subprocess.run(["git", "-c", "core.autocrlf=true", *command], cwd=origin, check=True, capture_output=True)
    subprocess.run(["git", "clone", "-q", "-c", "core.autocrlf=true", origin, clone], check=True, capture_output=True)
    files = [path for path in clone.rglob("*") if path.is_file() and ".git" not in path.parts]
    assert clone / "tests/e2e/images/postgres/docker-entrypoint.sh" in files
    assert [path for path in files if b"\r" in path.read_bytes()] == []
    done = subprocess.run(
        [sys.executable, clone / "scripts/manage_secrets.py", "--version"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert subprocess.run(["bash", "-n", clone / "scripts/generate_docker_secrets.sh"], check=False).returncode == 0
