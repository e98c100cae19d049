"""One interpreter for the commands of a process, and the stage of each command, prepared once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import need_program, need_root

from .commands import COMMANDS, Command
from .interpreter import Interpreter
from .stage import Stage


@pytest.fixture(scope="session")
def interpreter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Interpreter]:
    need_root()
    need_program("strace", "strace")
    with Interpreter(tmp_path_factory.mktemp("interpreter")) as made:
        yield made


@pytest.fixture(scope="session")
def stages() -> dict[str, Stage]:
    return {}


@pytest.fixture(params=COMMANDS, ids=lambda command: command.name.replace(" ", "-"))
def command(request: pytest.FixtureRequest) -> Command:
    made: Command = request.param
    return made


@pytest.fixture
def stage(
    command: Command, interpreter: Interpreter, stages: dict[str, Stage], tmp_path_factory: pytest.TempPathFactory
) -> Stage:
    """The command's stage, in its start state."""
    if command.name not in stages:
        directory = tmp_path_factory.mktemp("stage")
        stages[command.name] = Stage(interpreter, directory, command)
    stages[command.name].reset()
    return stages[command.name]
