"""The wizard on different terminals: tmux, `script`, a slow line, no colour, a screen reader."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Project, need_program
from tests.support.terminal import DOWN, ENTER, Terminal
from tests.support.wizard import FIRST_RUN, wizard

SLOW_SDKS = ("azure", "botocore", "cryptography", "hvac", "redis", "requests", "rich", "zxcvbn")


def play(terminal: Terminal) -> None:
    """Press Enter at each question."""
    for question in FIRST_RUN:
        terminal.answer(question.replace(" ", r"\s+"))
    assert terminal.finish() == 0, terminal.text


# --- tmux and script ------------------------------------------------------------------------------------------------


class Tmux:
    """A separate tmux server, with one window."""

    def __init__(self, program: str, project: Project, columns: int = 80, rows: int = 24) -> None:
        self._tmux = [program, "-L", f"test-{project.directory.parent.name}", "-f", "/dev/null"]
        self._environ = project.environ()
        command = project.script("setup_secrets.py")
        self.run("new-session", "-d", "-x", str(columns), "-y", str(rows), "-c", str(project.directory), "--", *command)
        self.run("set-option", "-g", "remain-on-exit", "on")

    def run(self, *arguments: str) -> str:
        """Send a command to the server."""
        done = subprocess.run(
            [*self._tmux, *arguments], env=self._environ, capture_output=True, text=True, check=False, timeout=20
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def wait_for(self, text: str) -> str:
        """Wait until ``text`` is on the screen; returns the screen."""
        deadline = time.monotonic() + 30
        while text not in (screen := self.run("capture-pane", "-p")):
            assert time.monotonic() < deadline, f"{text!r} did not appear:\n{screen}"
            time.sleep(0.1)
        return screen

    def press(self, *keys: str) -> None:
        """Press keys, by tmux's names."""
        self.run("send-keys", *keys)


@pytest.fixture
def tmux(project: Project) -> Iterator[Tmux]:
    session = Tmux(need_program("tmux", "tmux"), project)
    yield session
    session.run("kill-server")


def test_in_tmux_everything_works_and_earlier_pages_can_be_scrolled_back_to(tmux: Tmux, project: Project) -> None:
    tmux.wait_for(FIRST_RUN[0])
    tmux.press("Down", "Up", "Enter")
    tmux.wait_for(FIRST_RUN[1])
    tmux.press("Escape")
    tmux.wait_for(FIRST_RUN[0])
    tmux.press("Enter")
    for question in FIRST_RUN[1:]:
        screen = tmux.wait_for(question)
        assert len(re.findall(r"^\? ", screen, re.MULTILINE)) == 1
        tmux.press("Enter")
    tmux.wait_for("To read this again")
    history = tmux.run("capture-pane", "-p", "-S", "-")
    assert [question for question in FIRST_RUN if question not in history] == []
    assert len(project.values()) == 8


def test_the_record_of_script_is_readable_and_has_no_typed_value(project: Project, tmp_path: Path) -> None:
    program, record = need_program("script", "bsdutils"), tmp_path / "typescript"
    command = shlex.join(project.script("setup_secrets.py"))
    terminal = Terminal(
        [program, "-q", "-e", "-c", command, str(record)], environ=project.environ(), cwd=str(project.directory)
    )
    typed = "correct horse battery 7 staple"
    for question in FIRST_RUN[:2]:
        terminal.answer(question)
    terminal.answer(FIRST_RUN[2], DOWN + ENTER)
    terminal.answer(r"\(ADMIN_PASSWORD\)", typed + ENTER)
    terminal.answer("Repeat it", typed + ENTER)
    for question in FIRST_RUN[3:]:
        terminal.answer(question)
    assert terminal.finish() == 0, terminal.text
    recorded = record.read_text()
    assert "Write this now" in recorded
    values = project.values()
    assert values["ADMIN_PASSWORD"] == typed
    assert [name for name, value in values.items() if len(value) > 8 and value in recorded] == []


# --- A slow line ----------------------------------------------------------------------------------------------------


def test_on_a_slow_line_a_page_is_small_and_keys_that_come_in_pieces_are_understood(project: Project) -> None:
    terminal = wizard(project)
    sizes = []
    for number, question in enumerate(FIRST_RUN):
        before = len(terminal.transcript)
        terminal.wait_for(question)
        terminal.settle()
        sizes.append(len(terminal.transcript) - before)
        keys = [*DOWN, *"\x1b[A", ENTER] if number in (0, 2) else [ENTER]
        terminal.screen.reset()
        for key in keys:
            terminal.process.send(key)
            time.sleep(0.05)
    assert terminal.finish() == 0, terminal.text
    assert len(project.values()) == 8
    assert "\x1b[6n" not in terminal.transcript, "the terminal is asked nothing: its answer would come late"
    # 2,400 characters take two seconds on a line of 9,600 baud; a full redraw of the screen has as many cells.
    assert max(sizes) < 2400, sizes


def test_typing_ahead_of_a_slow_line_is_not_lost(project: Project) -> None:
    terminal = wizard(project)
    terminal.wait_for(FIRST_RUN[0])
    terminal.settle()
    terminal.process.send(ENTER)
    terminal.process.send("-person" + ENTER)
    for question in FIRST_RUN[2:]:
        terminal.answer(question)
    assert terminal.finish() == 0, terminal.text
    assert project.values()["ADMIN_USERNAME"] == "admin-person"


# --- Colour, and narrow plain text ----------------------------------------------------------------------------------


def test_without_colour_there_is_none_and_nothing_is_missing(project: Project) -> None:
    coloured = wizard(project)
    coloured.wait_for(FIRST_RUN[0])
    coloured.settle()
    shown = coloured.lines
    coloured.process.close(force=True)
    terminal = wizard(project, environ={"NO_COLOR": "1"})
    terminal.wait_for(FIRST_RUN[0])
    terminal.settle()
    assert terminal.lines == shown
    play(terminal)
    codes = {code for sequence in re.findall(r"\x1b\[([0-9;]*)m", terminal.transcript) for code in sequence.split(";")}
    assert codes <= {"", "0", "1", "2", "7"}, "only bold, faint and reverse"


@pytest.mark.parametrize("columns", [40, 120])
def test_plain_lines_are_broken_between_words(project: Project, columns: int) -> None:
    terminal = wizard(project, "--plain", columns=columns)
    play(terminal)
    lines = terminal.text.splitlines()
    paths = ("/scripts/", "/a project", "~/.config")
    long = [line for line in lines if len(line) > columns and not any(path in line for path in paths)]
    assert long == []


# --- The first question ---------------------------------------------------------------------------------------------


def test_nothing_slow_is_imported_before_the_first_question(project: Project, tmp_path: Path) -> None:
    record = tmp_path / "imports"
    command = shlex.join([sys.executable, "-X", "importtime", *project.script("setup_secrets.py")])
    terminal = Terminal(
        ["/bin/sh", "-c", f"exec {command} 2>{shlex.quote(str(record))}"],
        environ=project.environ(),
        cwd=str(project.directory),
    )
    terminal.wait_for(FIRST_RUN[0])
    imported = {line.split("|")[-1].strip() for line in record.read_text().splitlines()}
    terminal.process.close(force=True)
    assert "src.ops.wizard.conversation" in imported
    assert not [name for name in imported if name.split(".")[0] in SLOW_SDKS]
    assert (
        not {"src.ops.setup.inspect", "src.ops.setup.apply", "src.ops.wizard.values", "src.ops.wizard.connect"}
        & imported
    )
