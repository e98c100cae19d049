"""An earlier commit of this project, and its scripts."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.conftest import PROJECT, Project, need

FOLDERS = ("src", "scripts", "config", "main.py", "pyproject.toml")


def unpack(commit: str, folder: Path) -> Path:
    """Write the code of ``commit`` to ``folder``, to be run by this Python; returns the folder."""
    archive = subprocess.run(["git", "archive", commit, *FOLDERS], cwd=PROJECT, capture_output=True, check=False)
    need(f"the project's history back to {commit}", archive.returncode == 0, "git fetch --unshallow")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    # The scripts use the environment of the tests.
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


class OldProject(Project):
    """A project folder for the scripts of an earlier commit."""

    def __init__(self, directory: Path, home: Path, code: Path) -> None:
        super().__init__(directory, home)
        self.code = code

    def script(self, name: str, *arguments: str) -> list[str]:
        """Return the command line of an earlier script."""
        run = [] if name.endswith(".sh") else [str(self.code / ".venv/bin/python")]
        return [*run, str(self.code / "scripts" / name), *arguments, "--project-directory", str(self.directory)]
