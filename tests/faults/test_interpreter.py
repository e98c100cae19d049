"""The forks of the fault tests behave like a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conftest import PROJECT

from .commands import environ_of
from .stage import Stage
from .states import read_state
from .steps import RECORDING, kind_of, points_of, read_recording


def test_a_fork_makes_the_same_calls_as_a_fresh_interpreter(stage: Stage, tmp_path: Path) -> None:
    command = stage.command
    script = (
        ["-m", command.script] if command.script.startswith("src.") else [str(PROJECT / "scripts" / command.script)]
    )
    arguments = [*script, *command.arguments, "--project-directory", str(stage.project.directory)]
    done = subprocess.run(
        [
            "strace",
            *RECORDING,
            "-e",
            "trace=!mmap,munmap,newfstatat",
            "-o",
            tmp_path / "log",
            sys.executable,
            *arguments,
        ],
        env=environ_of(stage.project),
        cwd=stage.project.directory,
        input=command.standard_input,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    fresh = points_of(read_recording(tmp_path / "log", stage.project.directory), stage.project)
    assert [kind_of(point.call, stage.project) for point in fresh] == [point.kind for point in stage.points]
    stage.assert_done(read_state(stage.project))
