"""What the stack needs of this machine is looked at before anything is asked or started."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.ops.containers.preflight import find_problems
from src.ops.deployment.deployment import Deployment
from src.utils.secrets.command import spell
from tests.conftest import Project

DOCKER = """#!/bin/sh
case "$*" in
info*) {info};;
*version*) {version};;
*ps*) echo '{rows}';;
esac
"""


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


class Machine:
    """A deployment with a Compose file, on a machine with a Docker that says what it is told to."""

    def __init__(self, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._project = project
        self._folder = tmp_path / "programs"
        self._folder.mkdir()
        (project.directory / "docker-compose.yml").write_text("services: {}\n")
        for name in ("bash", "sh", "env", "dirname"):
            (self._folder / name).symlink_to(f"/bin/{name}" if name != "env" else "/usr/bin/env")
        monkeypatch.setenv("PATH", str(self._folder))
        monkeypatch.setenv("HOME", str(project.home))

    def give_docker(self, *, info: str = "echo 20.10", version: str = "exit 0", rows: str = "") -> None:
        program = self._folder / "docker"
        program.write_text(DOCKER.format(info=info, version=version, rows=rows))
        program.chmod(0o755)

    def problems(self, port: int = 1) -> list[str]:
        (self._project.directory / ".env").write_text(f"APP_PORT={port}\n")
        deployment = Deployment.locate(
            project_directory=str(self._project.directory),
            catalog=str(Path(__file__).parents[2] / "config/catalog.toml"),
            environ=dict(os.environ),
        )
        return [" | ".join([problem.message, *map(spell, problem.hints)]) for problem in find_problems(deployment)]


@pytest.fixture
def machine(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(project, tmp_path, monkeypatch)


def test_a_machine_that_has_everything(machine: Machine) -> None:
    machine.give_docker()
    assert machine.problems() == []


def test_a_machine_without_docker(machine: Machine) -> None:
    (problem,) = machine.problems()
    assert problem.startswith("Docker is not found on this machine | Install Docker")


def test_a_docker_that_does_not_answer(machine: Machine) -> None:
    machine.give_docker(info="echo 'Cannot connect to the Docker daemon.' >&2; exit 1")
    assert machine.problems() == [
        "Docker does not answer: Cannot connect to the Docker daemon. | Look at it: docker info"
    ]


def test_a_docker_without_compose(machine: Machine) -> None:
    machine.give_docker(version="exit 1")
    (problem,) = machine.problems()
    assert "Docker Compose v2 is not installed" in problem
    assert "https://docs.docker.com/compose/install" in problem


def test_no_script_of_the_project_that_is_looked_at_runs(machine: Machine, project: Project) -> None:
    script = project.directory / "scripts/compose.sh"
    script.parent.mkdir()
    script.write_text(f"#!/bin/sh\ntouch {project.home}/ran\nexit 1\n")
    script.chmod(0o755)
    machine.give_docker()
    assert machine.problems() == []
    assert not (project.home / "ran").exists()


def test_a_port_on_which_somebody_else_listens(machine: Machine, taken: int) -> None:
    machine.give_docker()
    (problem,) = machine.problems(taken)
    assert problem.startswith(f"Another program listens on port {taken} | Choose another one: ")
    assert "APP_PORT=8001" in problem


def test_the_port_of_the_app_itself_is_fine(machine: Machine, taken: int) -> None:
    machine.give_docker(rows='{"Service": "app", "State": "running"}')
    assert machine.problems(taken) == []


def test_a_deployment_without_containers_needs_nothing(machine: Machine, project: Project) -> None:
    (project.directory / "docker-compose.yml").unlink()
    assert machine.problems() == []
