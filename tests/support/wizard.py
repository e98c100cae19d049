"""The wizard at a terminal, and the questions of its first run."""

from __future__ import annotations

import re

from tests.conftest import Project

from .terminal import ENTER, Terminal

FIRST_RUN = [
    "Where do you want to store the secrets",
    "Name of the first administrator",
    "Password of the first administrator",
    "Do you send SMS",
    "Do you send e-mail",
    "Where do you want to save the master key",
    "Write this now",
]


def wizard(project: Project, *arguments: str, columns: int = 80, environ: dict[str, str] | None = None) -> Terminal:
    return Terminal(
        project.script("setup_secrets.py", *arguments),
        environ=project.environ(environ),
        cwd=str(project.directory),
        columns=columns,
    )


def store_shown_key(terminal: Terminal) -> str:
    """Read the key from the screen and confirm its last characters; returns the key."""
    terminal.wait_for("Have you stored it")
    match = re.search(r"^\s*([A-Za-z0-9_-]{43}=)$", terminal.text, re.MULTILINE)
    assert match
    terminal.answer("Have you stored it", "y")
    terminal.answer("The last 6 characters", "wrong" + ENTER)
    terminal.wait_for("These are not the last 6 characters")
    terminal.process.send("\x15" + match[1][-6:] + ENTER)
    return match[1]
