"""The time from the command to the first question on the screen."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pexpect

from .fixtures import PROJECT, environ_of
from .measure import Result, turns

FIVE_LINES = """\
import questionary

stores = ["Encrypted File", "AWS Secrets Manager", "HashiCorp Vault", "Azure Key Vault", "Environment variables"]
store = questionary.select("Where do you want to store the secrets?", choices=stores).ask()
print(store)
"""


def first_question(folder: Path) -> Iterator[Result]:
    """Compare the wizard with a script of five lines that asks the same question with the same library."""
    (folder / "config").mkdir(exist_ok=True)
    shutil.copy(PROJECT / "config/catalog.toml", folder / "config")
    python = str(PROJECT / ".venv/bin/python")  # as in `make secrets`, without another start of Python
    ours = [python, str(PROJECT / "scripts/setup_secrets.py"), "--project-directory", str(folder)]
    environ = environ_of(folder, TERM="xterm-256color")
    times = turns(lambda command: _seconds_to_last_choice(command, environ), ours, [python, "-c", FIVE_LINES])
    yield Result("first question of the wizard", "questionary, 5 lines", *times, 1.25)


def _seconds_to_last_choice(command: Sequence[str], environ: Mapping[str, str]) -> float:
    start = time.perf_counter()
    terminal = pexpect.spawn(command[0], list(command[1:]), env=dict(environ), dimensions=(24, 80), timeout=30)
    terminal.delaybeforesend = None
    while terminal.expect([rb"\x1b\[6n", rb"Environment variables"]) == 0:
        terminal.send(b"\x1b[1;1R")  # where the cursor is
    seconds = time.perf_counter() - start
    terminal.kill(signal.SIGKILL)
    terminal.close()
    return seconds
