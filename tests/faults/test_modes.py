"""Files are private from the first byte: checked at the system calls that create them, not afterwards."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Project

from .commands import COMMANDS, Runner, environ_of, prepare
from .interpreter import Interpreter
from .stage import Stage
from .steps import OPENING, RECORDING, Call, changing_calls, read_recording

OTHERS = 0o077


def open_to_others(calls: list[Call], project: Project) -> list[str]:
    """Return the calls that let other users read a file or folder, with a umask that forbids nothing."""
    return [
        f"{call.name} {call.paths}: {mode:04o}"
        for call in changing_calls(calls, project)
        if (mode := given_mode(call)) is not None and mode & OTHERS
    ]


def given_mode(call: Call) -> int | None:
    """Return the mode that a call sets."""
    makes = call.name in OPENING and ("O_CREAT" in call.arguments or "O_TMPFILE" in call.arguments)
    if not makes and not call.name.startswith(("creat", "mkdir", "mknod", "chmod", "fchmod")):
        return None
    numbers = re.findall(r", (?:mode=)?(0\d*)(?=$|, |})", re.sub(r'"(?:[^"\\]|\\.)*"', "", call.arguments))
    assert numbers, f"no mode in {call.name}({call.arguments[:200]})"
    return int(numbers[-1], 8)


def test_the_mode_of_every_file_is_right_from_its_first_byte(stage: Stage) -> None:
    calls = stage.recorded.calls
    assert sum(given_mode(call) is not None for call in changing_calls(calls, stage.project)) >= 3
    assert open_to_others(calls, stage.project) == []


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("generate_docker_secrets.sh", ("--output", "other")),
        ("manage_secrets.py", ("export", "--output", "plain.env")),
        ("manage_secrets.py", ("migrate", "--to", "env", "--apply", "--yes")),
        ("manage_secrets.py", ("backup", "--output", "folder/a.backup", "--key-file", "backup.key")),
    ],
    ids=["Docker-files-elsewhere", "export", "migrate-to-a-dotenv-file", "backup-in-a-new-folder"],
)
def test_the_modes_are_right_for_commands_that_write_elsewhere(
    script: str, arguments: tuple[str, ...], interpreter: Interpreter, tmp_path: Path
) -> None:
    project = Project(tmp_path / "now/a project", tmp_path / "now/home")
    prepare(Runner(interpreter, project), next(command for command in COMMANDS if command.name == "backup"))
    done = subprocess.run(
        ["strace", *RECORDING, "-o", tmp_path / "log", *project.script(script, *arguments)],
        env=environ_of(project),
        cwd=project.directory,
        capture_output=True,
        text=True,
        check=False,
        umask=0,
    )
    assert done.returncode == 0, done.stderr
    calls = read_recording(tmp_path / "log", project.directory)
    assert changing_calls(calls, project)
    assert open_to_others(calls, project) == []
