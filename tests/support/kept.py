"""A deployment that several tests need: it is made once in each process, and put back before each test."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.conftest import PROJECT, Project


class Kept:
    """A deployment at a place of its own, with a copy to put back.

    Args:
        base: An empty folder.
        make: Makes the deployment from an empty project with the real catalogue.
    """

    def __init__(self, base: Path, make: Callable[[Project], object]) -> None:
        self._now, self._copy = base / "now", base / "kept"
        (self._now / "a project/config").mkdir(parents=True)
        (self._now / "home").mkdir()
        shutil.copy(PROJECT / "config/catalog.toml", self._now / "a project/config/catalog.toml")
        make(self.project())
        _copy(self._now, self._copy)

    def project(self) -> Project:
        """Return the deployment as it is now."""
        return Project(self._now / "a project", self._now / "home")

    def put_back(self) -> Project:
        """Return the deployment as it was made."""
        shutil.rmtree(self._now)
        _copy(self._copy, self._now)
        return self.project()


def _copy(source: Path, target: Path) -> None:
    """Copy a folder with the owners of its files, which `shutil` would not keep."""
    subprocess.run(["cp", "-a", source, target], check=True)
