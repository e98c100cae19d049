"""A deployment that several tests need: it is made once in each process, and put back before each test."""

from __future__ import annotations

import shutil
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
        shutil.copytree(self._now, self._copy, symlinks=True)

    def project(self) -> Project:
        """Return the deployment as it is now."""
        return Project(self._now / "a project", self._now / "home")

    def put_back(self) -> Project:
        """Return the deployment as it was made."""
        shutil.rmtree(self._now)
        shutil.copytree(self._copy, self._now, symlinks=True)
        return self.project()
