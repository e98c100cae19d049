"""The running stack, through Docker Compose."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from src.ops.deployment.dotenv import read_dotenv
from src.utils.secrets.children import Child, ChildError, run_child
from src.utils.secrets.command import append_lines, compose, program
from src.utils.secrets.errors import SecretsError
from src.utils.secrets.settings import CREDENTIALS, PROJECT_DIRECTORY

from .folder import has_docker_files

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from src.ops.deployment.deployment import Deployment

COMPOSE_FILE = "docker-compose.yml"
READY_SECONDS = 120
COMMAND_SECONDS = 300
SECONDS_FOR_DOCKER = 10  # where Docker is only asked, and somebody waits for the answer
DATA_SETTINGS = ("POSTGRES_VOLUME", "REDIS_VOLUME")
OWN_LABEL = "cctv.secrets/managed"  # on each service of our Compose file
# https://github.com/docker/compose/blob/main/pkg/api/labels.go
PROJECT_LABEL = "com.docker.compose.project"
FOLDER_LABEL = f"{PROJECT_LABEL}.working_dir"
FILES_LABEL = f"{PROJECT_LABEL}.config_files"
SERVICE_LABEL = "com.docker.compose.service"
ONE_OFF_LABEL = "com.docker.compose.oneoff"


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
        # These tools' own: the project that is looked at may be a stranger's.
        self._script = os.path.join(PROJECT_DIRECTORY, "scripts", "compose.sh")

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
                hint=[*reason.hints, program("docker", "info", purpose="Check Docker")],
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
        if self.services() or any(map(read_dotenv(self._deployment.compose_file).get, DATA_SETTINGS)):
            return True
        name = self.configuration().get("name")
        if not name or not shutil.which("docker"):
            return False
        return bool(_ask_docker("volume", "ls", "--quiet", "--filter", project_filter(name)))

    def resources(self, name: str) -> Resources:
        """What Docker has of the Compose project called ``name``; nothing without Docker.

        Raises:
            StackError: Docker does not answer.
        """
        if not shutil.which("docker"):
            return Resources()
        label = project_filter(name)
        form = f'{{{{.Names}}}}\t{{{{.Label "{FOLDER_LABEL}"}}}}'
        rows = [line.split("\t") for line in list_docker("ps", "--all", "--filter", label, "--format", form)]
        volumes = list_docker("volume", "ls", "--quiet", "--filter", label)
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
        return running_services(self.services())

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

    def secret_hashes(self, service: str) -> dict[str, str]:
        """The SHA-256 of each secret that a running container has, by the name of its file; none where it cannot tell.

        Args:
            service: Which container.
        """
        script = "cd /run/secrets 2>/dev/null && sha256sum -- *"
        done = self._compose("exec", "-T", service, "sh", "-c", script)
        rows = (line.split(maxsplit=1) for line in done.output.splitlines())
        return {row[1]: row[0] for row in rows if len(row) == 2}  # noqa: PLR2004 - hash and name

    def reload(self, service: str) -> None:
        """Let a service read its secrets again, with SIGHUP.

        Raises:
            StackError: It does not run.
        """
        done = self._compose("kill", "--signal", "SIGHUP", service)
        if done.code:
            raise StackError(f"{service} was not told to read its secrets again: {done.reason.text}")

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
        """Wait for a service's health check; one that has none is not waited for.

        Raises:
            StackError: It is not healthy after two minutes.
        """
        deadline = time.monotonic() + READY_SECONDS
        while not _is_well(self.services().get(service, {})):
            if time.monotonic() > deadline:
                raise StackError(
                    f"{service} is not healthy {READY_SECONDS} s after its restart",
                    hint=compose("logs", service, purpose="See what it logs"),
                )
            time.sleep(0.5)

    @property
    def is_used(self) -> bool:
        """Whether this deployment has secrets for containers: Docker files are, or were, written for its Compose file.

        Nothing is asked: neither Docker nor Compose has to be there.
        """
        is_recorded = bool(read_dotenv(self._deployment.compose_file).get("APP_UID"))
        return self.has_compose_file and (is_recorded or has_docker_files(self._deployment))

    def is_running(self) -> bool:
        """Whether containers of this deployment run. Where Docker does not say it, none do as far as is known."""
        try:
            return self.is_used and bool(self.running())
        except SecretsError:
            return False

    def require_compose(self) -> None:
        """Refuse to go on without a Compose that understands the Compose file.

        Raises:
            StackError: There is none.
        """
        done = self._compose("version")
        if done.code:
            raise StackError(done.reason.text, hint=done.reason.hints)

    def require_own(self) -> None:
        """Refuse to work on the containers of another checkout that has the same project name.

        Where that folder is no more, this one is the same checkout, moved.

        Raises:
            StackError: They were started from another folder, which still has its Compose file.
        """
        name = self.configuration().get("name")
        own = os.path.realpath(self._deployment.project_directory)
        for folder in sorted(self.resources(name).folders) if name else ():
            if os.path.realpath(folder) != own and os.path.isfile(os.path.join(folder, COMPOSE_FILE)):
                raise StackError(
                    f"The containers of the Compose project {name} were started from another folder: {folder}",
                    hint=[
                        "Work there, or stop them there first",
                        append_lines(
                            os.path.abspath(self._deployment.compose_file),
                            f"COMPOSE_PROJECT_NAME={name}-2",
                            purpose="Or give this one a name of its own; it gets a database of its own, too",
                        ),
                    ],
                )

    def foreign_users(self) -> list[str]:
        """The containers of others that have the data open which the settings name for this deployment, or come back
        to it when Docker starts.

        Two servers on the same files destroy them.

        Raises:
            StackError: Docker does not answer.
        """
        lines = read_dotenv(self._deployment.compose_file)
        volumes = [volume for name in DATA_SETTINGS if (volume := lines.get(name))]
        if not volumes or not shutil.which("docker"):
            return []
        filters = [word for volume in volumes for word in ("--filter", f"volume={volume}")]
        users = list_docker("ps", "--all", *filters, "--format", "{{.Names}}")
        form = "{{.State.Running}} {{.HostConfig.RestartPolicy.Name}}"
        states = list_docker("inspect", "--format", form, *users) if users else []
        users = [user for user, state in zip(users, states, strict=True) if re.match("true|.* always$", state)]
        # Compose takes the place of a container with the name of one of its services.
        services = set(self.configuration().get("services", {})) if users else set()
        own = {row.get("Name") for service, row in self.services().items() if service in services} if users else set()
        return sorted(set(users) - own)

    def require_docker(self) -> None:
        """Refuse to take a stack for absent because Docker is not found.

        Raises:
            StackError: There is neither ``docker`` nor ``docker-compose``.
        """
        if not has_docker():
            raise StackError(
                "Docker is not found on this PATH, so it is not known what the containers use",
                hint="If it is installed, add its folder to PATH; cron has a PATH of its own",
            )

    def _is_there(self) -> bool:
        return has_docker() and self.has_compose_file

    @property
    def has_compose_file(self) -> bool:
        """Whether the deployment has a Compose file."""
        return os.path.isfile(os.path.join(self._deployment.project_directory, COMPOSE_FILE))

    def _compose(self, *arguments: str, standard_input: str = "") -> Child:
        directory = self._deployment.project_directory
        flags = ["--project-directory", directory]
        if os.path.exists(self._deployment.compose_file):
            flags += ["--env-file", self._deployment.compose_file]
        command = ["bash", self._script, *flags, *arguments]
        try:
            return run_child(
                command,
                seconds=self._seconds,
                standard_input=standard_input,
                folder=directory,
                environ=compose_environ(),
            )
        except ChildError as error:
            raise StackError(
                f"Docker Compose does not work: {error}", hint=program("docker", "info", purpose="Check Docker")
            ) from None


def running_services(services: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """The services that run, of those that :meth:`Stack.services` found."""
    return {name for name, row in services.items() if row.get("State") == "running"}


def compose_environ() -> dict[str, str]:
    """What Compose gets: it starts programs of others (plugins, credential helpers), which need no store."""
    return {name: value for name, value in os.environ.items() if name not in CREDENTIALS}


def project_name(folder: str) -> str:
    """What Compose calls the project in a folder. https://docs.docker.com/compose/how-tos/project-name/"""
    return re.sub(r"[^a-z0-9_-]", "", os.path.basename(os.path.realpath(folder)).lower()).lstrip("_-")


def project_filter(name: str) -> str:
    """What ``--filter`` takes for the containers, or the volumes, of a Compose project."""
    return f"label={PROJECT_LABEL}={name}"


def has_docker() -> bool:
    """Whether a program that talks to Docker is on the PATH."""
    return bool(shutil.which("docker") or shutil.which("docker-compose"))


def _is_well(row: dict[str, Any]) -> bool:
    return row.get("State") == "running" and row.get("Health") in ("healthy", "", None)


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise StackError(
            "Docker Compose answers with something other than JSON", hint=program("docker", "compose", "version")
        ) from None


def _ask_docker(*arguments: str) -> str:
    """What Docker itself answers; nothing when it refuses."""
    return run_docker(*arguments).output.strip()


def list_docker(*arguments: str) -> list[str]:
    """The lines of what Docker itself answers; unlike :func:`_ask_docker`, a refusal is not an empty answer."""
    done = run_docker(*arguments)
    if done.code:
        reason = done.reason
        raise StackError(
            f"Docker does not answer: {reason.text}",
            hint=[*reason.hints, program("docker", "info", purpose="Check Docker")],
        )
    return [line for line in done.output.splitlines() if line.strip()]


def run_docker(*arguments: str, standard_input: str = "", seconds: float = COMMAND_SECONDS) -> Child:
    """Run the Docker client.

    Raises:
        StackError: It cannot be run, or does not end.
    """
    try:
        return run_child(["docker", *arguments], seconds=seconds, standard_input=standard_input)
    except ChildError as error:
        raise StackError(str(error), hint=program("docker", "info", purpose="Check Docker")) from None
