"""The types of the public names, for programs that import them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conftest import PROJECT

RIGHT = """
from typing import Any, assert_type

from src.utils.secrets import SecretsBackend, SecretsManager, get_secret, get_secret_json, get_secrets_manager
from src.utils.secrets import require_secret

assert_type(get_secret("NAME"), str | None)
assert_type(get_secret("NAME", "default"), str)
assert_type(require_secret("NAME"), str)
manager = get_secrets_manager()
assert_type(manager, SecretsManager)
assert_type(manager.get_secret("NAME"), str | None)
assert_type(manager.get_secret("NAME", "default"), str)
assert_type(manager.get_secret_json("NAME"), Any)
assert_type(manager.get_secret_json("NAME", {}), Any)
assert_type(get_secret_json("NAME", default=[]), Any)
assert_type(manager.validate_required_secrets(["NAME"]), bool)
assert_type(manager.versions("NAME"), list[str])
assert_type(manager.refresh(), None)
SecretsManager(backend=SecretsBackend.AWS)
"""
WRONG = [
    'password: str = get_secret("NAME")',
    "get_secret(1)",
    'get_secret("NAME", 5)',
    "require_secret()",
    'require_secret("NAME", "default")',
    'SecretsManager(backend="aws")',
    "SecretsBackend.SQL",
]


def check(tmp_path: Path, code: str) -> str:
    """Return what mypy prints for this program."""
    path = tmp_path / "program.py"
    path.write_text(code)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", path],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


def test_the_public_names_have_their_types(tmp_path: Path) -> None:
    assert check(tmp_path, RIGHT) == ""


def test_wrong_uses_are_found(tmp_path: Path) -> None:
    head = "from src.utils.secrets import SecretsBackend, SecretsManager, get_secret, require_secret\n"
    said = check(tmp_path, head + "\n".join(WRONG) + "\n")
    lines = {int(line.split(":")[1]) for line in said.splitlines() if ": error:" in line}
    assert lines == set(range(2, len(WRONG) + 2)), said
