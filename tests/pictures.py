"""Pictures of the real terminal for the README, as SVG: ``make pictures``. A test checks that they are up to date."""

from __future__ import annotations

import io
import itertools
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.style import Style
from rich.text import Text

from tests.conftest import PROJECT, Project
from tests.support.checkout import make_own_project
from tests.support.terminal import ENTER, Terminal

PICTURES = PROJECT / "docs/pictures"
COLUMNS = 88
DOCTOR = ("settings", "secrets-file-mode", "master-key-mode", "docker-files-mode", "store")
_SHOWN_DIRECTORY = "/srv/cctv-camera"


def draw_all() -> dict[str, str]:
    """Return each picture's SVG by its file name."""
    with _fresh_project() as project:
        pictures = _draw_wizard(project)
        _run(project, "generate_docker_secrets.sh")
        pictures["status.svg"] = _draw_command(project, "status")
        (project.directory / "secrets/jwt_secret_key.txt").chmod(0o644)
        pictures["doctor.svg"] = _draw_command(
            project, "doctor", *[word for name in DOCTOR for word in ("--only", name)]
        )
    return pictures


@contextmanager
def _fresh_project() -> Iterator[Project]:
    """Make a project whose path is as long as the one in the pictures."""
    base = Path(tempfile.mkdtemp(prefix="", dir="/tmp"))
    directory = Path(f"{base}{'-' * (len(_SHOWN_DIRECTORY) - len(str(base)))}")
    home = Path(f"{directory}.home")
    base.rename(directory)
    try:
        directory.rmdir()
        yield make_own_project(directory, home)
    finally:
        shutil.rmtree(directory)
        shutil.rmtree(home, ignore_errors=True)


def _draw_wizard(project: Project) -> dict[str, str]:
    terminal = Terminal(
        project.script("setup_secrets.py"),
        environ=_environ(project),
        cwd=str(project.directory),
        columns=COLUMNS,
        rows=24,
    )
    pictures = {}
    questions = [
        "Where do you want to store the secrets",
        "Name of",
        "Password of",
        "SMS",
        "e-mail",
        "Where do you want to save the master",
        "Write",
    ]
    for number, question in enumerate(questions):
        terminal.wait_for(question)
        terminal.settle()
        if number in (0, len(questions) - 1):
            name = "wizard.svg" if number == 0 else "review.svg"
            pictures[name] = _svg(project, terminal, "make secrets", name)
        terminal.process.send(ENTER)
    assert terminal.finish() == 0, terminal.text
    return pictures


def _draw_command(project: Project, *arguments: str) -> str:
    terminal = Terminal(
        project.script("manage_secrets.py", *arguments),
        environ=_environ(project),
        cwd=str(project.directory),
        columns=COLUMNS,
        rows=40,
    )
    terminal.finish()
    return _svg(project, terminal, f"./scripts/manage_secrets.py {arguments[0]}", arguments[0])


def _run(project: Project, script: str) -> None:
    done = project.run(script)
    assert done.returncode == 0, done.stderr


def _environ(project: Project) -> dict[str, str]:
    return project.environ({"APP_UID": str(os.getuid()), "APP_GID": str(os.getgid())})


def _svg(project: Project, terminal: Terminal, title: str, name: str) -> str:
    console = Console(
        record=True,
        width=COLUMNS,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        legacy_windows=False,
    )
    for line in _styled_lines(terminal):
        line.plain = line.plain.replace(str(project.directory), _SHOWN_DIRECTORY)
        console.print(line, no_wrap=True, overflow="crop")
    svg = console.export_svg(title=title, unique_id=f"picture-{name.removesuffix('.svg')}")
    return re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)  # nothing is loaded from elsewhere


def _styled_lines(terminal: Terminal) -> list[Text]:
    screen = terminal.screen
    lines = []
    for y in range(len(terminal.lines)):
        line = Text()
        cells = [screen.buffer[y][x] for x in range(COLUMNS)]
        for (colour, bold, reverse), run in itertools.groupby(cells, lambda cell: (cell.fg, cell.bold, cell.reverse)):
            line.append("".join(cell.data for cell in run), Style(color=_colour(colour), bold=bold, reverse=reverse))
        line.rstrip()
        lines.append(line)
    return lines


def _colour(name: str) -> str | None:
    """Return rich's name of the colour that pyte calls ``name``."""
    if name == "default":
        return None
    if re.fullmatch("[0-9a-f]{6}", name):
        return f"#{name}"
    return name.replace("brown", "yellow").replace("bright", "bright_")


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    for name, svg in draw_all().items():
        (PICTURES / name).write_text(svg)
        print(f"docs/pictures/{name}")  # noqa: T201
