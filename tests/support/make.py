"""Tasks of the Makefile that need additional tools."""

from __future__ import annotations

import subprocess

from tests.conftest import PROJECT, need, need_program


def make(task: str, *, tools: str) -> None:
    """Run a task; skip the test if its ``tools`` cannot be installed."""
    need_program("make", "make")
    installed = _make(f".venv/{tools}/.installed")
    need(f"the packages for `make {task}`", installed.returncode == 0, f"make {task}, once, with a network")
    done = _make(task)
    assert done.returncode == 0, done.stdout + done.stderr


def _make(target: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", target], cwd=PROJECT, check=False, capture_output=True, text=True)
