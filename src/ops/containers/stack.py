"""The running stack, through Docker Compose."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from src.ops.deployment.children import Child, ChildError, run_child
from src.utils.secrets.command import compose, program
from src.utils.secrets.errors import SecretsError
from src.utils.secrets.settings import PROJECT_DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from src.ops.deployment.deployment import Deployment

COMPOSE_FILE = "docker-compose.yml"
STORE_ONLY = "If the stack does not run on this machine: --store-only"
READY_SECONDS = 120
COMMAND_SECONDS = 300
_PROJECT_LABEL = "com.docker.compose.project"
_FOLDER_LABEL = "com.docker.compose.project.working_dir"


@dataclass(frozen=True)
class Resources:
    """What Docker has of one Compose project.

    Attributes:
        containers: Their names.
        volumes: Their names.
        folders: The projects' folders that the containers were started from.
    """

    containers: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    folders: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.containers or self.volumes)


class StackError(SecretsError):
    """The stack does not do what it was asked for."""


class Stack:
    """The containers of one deployment.

    Args:
        deployment: Whose.
        seconds: How long each of Compose's answers may take.
    """

    def __init__(self, deployment: Deployment, *, seconds: float = COMMAND_SECONDS) -> None:
        self._deployment = deployment
        self._seconds = seconds
        own = os.path.join(deployment.project_directory, "scripts", "compose.sh")
        self._script = own if os.path.exists(own) else os.path.join(PROJECT_DIRECTORY, "scripts", "compose.sh")

    def services(self) -> dict[str, dict[str, Any]]:
        """What Compose says of each container that there is, by service; none without Docker or a Compose file.

        Raises:
            StackError: There is a Compose file, and Docker, but they do not answer.
        """
        if not self._is_there():
            return {}
        done = self._compose("ps", "--all", "--format", "json")
        if done.code:
            reason = done.reason
            raise StackError(
                f"Docker Compose does not say what is running: {reason.text}",
                hint=[
                    *reason.hints,
                    program("docker", "info", purpose="Check Docker"),
                    STORE_ONLY,
                ],
            )
        lines = done.output.strip().splitlines()
        # One object in each line; Compose before 2.21 printed one list.
        texts = [done.output] if done.output.startswith("[") else lines
        answers = [_parse(text) for text in texts]
        rows = answers[0] if done.output.startswith("[") else answers
        return {row["Service"]: row for row in rows}

    def configuration(self) -> dict[str, Any]:
        """The Compose file as Compose understands it; empty without Docker or a Compose file.

        Raises:
            StackError: Compose does not understand it.
        """
        if not self._is_there():
            return {}
        done = self._compose("config", "--format", "json")
        if done.code:
            reason = done.reason
            raise StackError(
                f"Docker Compose does not understand {COMPOSE_FILE}: {reason.text}",
                hint=[*reason.hints, compose("config")],
            )
        content: dict[str, Any] = _parse(done.output)
        return content

    def exists(self) -> bool:
        """Whether there are containers, running or not, or volumes with data from earlier ones.

        Raises:
            StackError: Docker does not answer.
        """
        if self.services():
            return True
        name = self.configuration().get("name")
        if not name or not shutil.which("docker"):
            return False
        label = f"label={_PROJECT_LABEL}={name}"
        return bool(_ask_docker("volume", "ls", "--quiet", "--filter", label))

    def resources(self, name: str) -> Resources:
        """What Docker has of the Compose project called ``name``; nothing without Docker.

        Raises:
            StackError: Docker does not answer.
        """
        if not shutil.which("docker"):
            return Resources()
        label = f"label={_PROJECT_LABEL}={name}"
        form = f'{{{{.Names}}}}\t{{{{.Label "{_FOLDER_LABEL}"}}}}'
        rows = [line.split("\t") for line in _list_docker("ps", "--all", "--filter", label, "--format", form)]
        volumes = _list_docker("volume", "ls", "--quiet", "--filter", label)
        folders = frozenset(row[1] for row in rows if row[1:] and row[1])
        return Resources(tuple(row[0] for row in rows), tuple(volumes), folders)

    def remove(self, name: str) -> None:
        """Remove the containers, networks and volumes of the Compose project called ``name``.

        Raises:
            StackError: Something of it is left.
        """
        # The name is given here, because an exported COMPOSE_PROJECT_NAME would outrank the one of the settings.
        done = self._compose("--project-name", name, "down", "--volumes", "--remove-orphans")
        if done.code:
            reason = done.reason
            raise StackError(
                f"The containers and volumes of {name} were not removed: {reason.text}",
                hint=[*reason.hints, program("docker", "info", purpose="Check Docker")],
            )
        left = self.resources(name)
        if left:
            commands = [program("docker", "rm", "--force", *left.containers)] if left.containers else []
            commands += [program("docker", "volume", "rm", *left.volumes)] if left.volumes else []
            raise StackError(
                f"Compose has left something of {name}: {', '.join(left.containers + left.volumes)}", hint=commands
            )

    def started_at(self, services: Collection[str]) -> dict[str, datetime]:
        """When the containers of some services were last started; without those of which Docker does not say it."""
        rows = self.services()
        identities = {name: str(rows[name].get("ID")) for name in sorted(services) if rows.get(name, {}).get("ID")}
        if not identities or not shutil.which("docker"):
            return {}
        answer = _ask_docker("inspect", "--format", "{{.State.StartedAt}}", *identities.values())
        started = {}
        for name, line in zip(identities, answer.splitlines(), strict=False):
            with contextlib.suppress(ValueError):
                started[name] = datetime.fromisoformat(line)
        return started

    def running(self) -> set[str]:
        """The services that run now."""
        return {name for name, row in self.services().items() if row.get("State") == "running"}

    def execute(self, service: str, command: Sequence[str], standard_input: str) -> str:
        """Run a command in a container.

        Args:
            service: Which.
            command: What.
            standard_input: What it reads; the place for secrets.

        Returns:
            What it printed.

        Raises:
            StackError: It failed.
        """
        done = self._compose("exec", "-T", service, *command, standard_input=standard_input)
        if done.code:
            reason = done.reason
            raise StackError(
                f"{' '.join(command[-1:])} failed in the container of {service}: {reason.text}",
                hint=[*reason.hints, compose("logs", service, purpose="See what it logs")],
            )
        return done.output.strip()

    def read_secret(self, service: str, mount_name: str) -> str:
        """What a running container has of a secret, as it stands in its file; empty when it has none.

        Args:
            service: Which container.
            mount_name: The name of the Compose secret.
        """
        done = self._compose("exec", "-T", service, "cat", f"/run/secrets/{mount_name}")
        return done.output if done.code == 0 else ""

    def restart(self, service: str) -> None:
        """Restart a service, and wait until it is healthy.

        Raises:
            StackError: It does not come back.
        """
        done = self._compose("restart", service)
        if done.code:
            reason = done.reason
            raise StackError(
                f"{service} was not restarted: {reason.text}",
                hint=[*reason.hints, compose("logs", service, purpose="See what it logs")],
            )
        self.wait_until_healthy(service)

    def wait_until_healthy(self, service: str) -> None:
        """Wait for a service's health check.

        Raises:
            StackError: It is not healthy after two minutes.
        """
        deadline = time.monotonic() + READY_SECONDS
        while self.services().get(service, {}).get("Health") != "healthy":
            if time.monotonic() > deadline:
                raise StackError(
                    f"{service} is not healthy {READY_SECONDS} s after its restart",
                    hint=compose("logs", service, purpose="See what it logs"),
                )
            time.sleep(0.5)

    def _is_there(self) -> bool:
        has_docker = bool(shutil.which("docker") or shutil.which("docker-compose"))
        return has_docker and os.path.isfile(os.path.join(self._deployment.project_directory, COMPOSE_FILE))

    def _compose(self, *arguments: str, standard_input: str = "") -> Child:
        directory = self._deployment.project_directory
        flags = ["--project-directory", directory]
        if os.path.exists(self._deployment.compose_file):
            flags += ["--env-file", self._deployment.compose_file]
        command = [self._script, *flags, *arguments]
        try:
            return run_child(command, seconds=self._seconds, standard_input=standard_input, folder=directory)
        except ChildError as error:
            raise StackError(
                f"Docker Compose does not work: {error}", hint=program("docker", "info", purpose="Check Docker")
            ) from None


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise StackError(
            "Docker Compose answers with something other than JSON", hint=program("docker", "compose", "version")
        ) from None


def _ask_docker(*arguments: str) -> str:
    """What Docker itself answers; nothing when it refuses."""
    return _run_docker(*arguments).output.strip()


def _list_docker(*arguments: str) -> list[str]:
    """The lines of what Docker itself answers; unlike :func:`_ask_docker`, a refusal is not an empty answer."""
    done = _run_docker(*arguments)
    if done.code:
        reason = done.reason
        raise StackError(
            f"Docker does not answer: {reason.text}",
            hint=[*reason.hints, program("docker", "info", purpose="Check Docker")],
        )
    return [line for line in done.output.splitlines() if line.strip()]


def _run_docker(*arguments: str) -> Child:
    try:
        return run_child(["docker", *arguments], seconds=COMMAND_SECONDS)
    except ChildError as error:
        raise StackError(str(error), hint=program("docker", "info", purpose="Check Docker")) from None
