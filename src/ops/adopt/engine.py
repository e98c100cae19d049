"""The original's containers and volumes, and what its Compose file says where there are no containers."""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from src.ops.containers.stack import (
    COMPOSE_FILE,
    SECONDS_FOR_DOCKER,
    StackError,
    compose_environ,
    has_docker,
    list_docker,
    run_docker,
)
from src.utils.secrets.children import run_child
from src.utils.secrets.command import program
from src.utils.secrets.judge import SECRETS_MOUNT
from src.utils.secrets.settings import PROJECT_DIRECTORY

from .files import read_named
from .found import Found, FoundValue

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from src.ops.values.importing.names import Names

    from .original import Original

DATA_FOLDER = "/var/lib/postgresql/data"
_FOLDER_LABEL = "com.docker.compose.project.working_dir"
_FILES_LABEL = "com.docker.compose.project.config_files"
_PROJECT_LABEL = "com.docker.compose.project"
_SERVICE_LABEL = "com.docker.compose.service"
_COMPOSE_SECONDS = 60
_LOGIN_SECONDS = 20
_REFUSED = "password authentication failed"


@dataclass(frozen=True)
class Service:
    """One service of the original: its container, or what its Compose file says of it.

    Attributes:
        name: Its name in the Compose file.
        image: Its image.
        environ: Its variables.
        command: Its command line.
        volumes: The names of its volumes, by the folder that each is mounted on.
        folders: Folders of this machine, by the folder that each is mounted on.
        container: The name of its container; empty when there is none.
        is_running: Whether that runs.
    """

    name: str
    image: str
    environ: Mapping[str, str] = field(repr=False)
    command: tuple[str, ...] = field(repr=False)
    volumes: Mapping[str, str] = field(default_factory=dict)
    folders: Mapping[str, str] = field(default_factory=dict)
    container: str = ""
    is_running: bool = False

    @property
    def is_postgres(self) -> bool:
        """Whether it is the database."""
        return DATA_FOLDER in self.volumes or "PG_MAJOR" in self.environ or _product(self.image) in _POSTGRES

    @property
    def is_redis(self) -> bool:
        """Whether it is Redis."""
        return _product(self.image) in _REDIS or "redis-server" in " ".join(self.command)

    @property
    def place(self) -> str:
        """Where its values lie, human-readable."""
        return f"container {self.container}" if self.container else f"the service {self.name} of its Compose file"


_POSTGRES = frozenset({"postgres", "postgis", "timescaledb"})
_REDIS = frozenset({"redis", "valkey"})


@dataclass(frozen=True)
class OriginalStack:
    """What Docker and the Compose file say of the original.

    Attributes:
        project: The name of its Compose project; empty when nothing says it.
        services: Its services.
    """

    project: str = ""
    services: tuple[Service, ...] = ()

    @property
    def postgres(self) -> Service | None:
        """Its database."""
        return next((service for service in self.services if service.is_postgres), None)

    @property
    def redis(self) -> Service | None:
        """Its Redis."""
        return next((service for service in self.services if service.is_redis and not service.is_postgres), None)

    @property
    def running(self) -> list[str]:
        """The names of its containers that run."""
        return [service.container for service in self.services if service.is_running]


def inspect_stack(original: Original, project_directory: str) -> OriginalStack:
    """Ask Docker for the original's containers, and Compose for the rest. Nothing is changed.

    Args:
        original: Where its Compose file is.
        project_directory: This project's folder, whose containers are none of the original's.

    Raises:
        StackError: Docker does not answer, or Compose does not understand the file.
    """
    if not has_docker():
        if original.compose_file is None:
            return OriginalStack()
        raise StackError(
            "Docker is not found on this PATH, so it is not known which data the original has; nothing was changed",
            hint="If it is installed, add its folder to PATH. Otherwise run this where the original runs",
        )
    label = f"label={_FOLDER_LABEL}={os.path.realpath(original.folder)}"
    try:
        identities = list_docker("ps", "--all", "--quiet", "--no-trunc", "--filter", label)
    except StackError:
        if original.compose_file is None:  # it was started in another way, and has no volumes
            return OriginalStack()
        raise
    containers = json.loads(_inspect("inspect", *identities)) if identities else []
    described = _described(original)
    own = os.path.join(os.path.realpath(project_directory), COMPOSE_FILE)
    containers = [one for one in containers if not _is_ours(one, own)]
    services = [_of_container(container) for container in containers if _SERVICE_LABEL in _labels(container)]
    known = {service.name for service in services}
    services += [
        _of_description(item[0], item[1], described)
        for item in described.get("services", {}).items()
        if item[0] not in known
    ]
    projects = [_labels(container).get(_PROJECT_LABEL, "") for container in containers]
    return OriginalStack(next(filter(None, [*projects, described.get("name", "")]), ""), tuple(services))


def read_services(stack: OriginalStack, names: Names) -> Found:
    """What the services of the original were given."""
    found = Found()
    for service in stack.services:
        for name, value in service.environ.items():
            if value:
                found.add(read_named(name, value, service.place, names.find(name), is_running=service.is_running))
    redis = stack.redis
    password = _option(redis.command, "requirepass") if redis else ""
    if redis and password:
        found.values.append(FoundValue("REDIS_PASSWORD", password, f"{redis.place}, in its command", redis.is_running))
    return found


def keeps_append_only_file(redis: Service) -> bool:
    """Whether a Redis writes each change to a file, from which alone it then starts."""
    return _option(redis.command, "appendonly").lower() == "yes"


def volume_exists(name: str) -> bool:
    """Whether Docker has a volume of this name."""
    return name in list_docker("volume", "ls", "--quiet", "--filter", f"name={name}")


def find_major(postgres: Service) -> int | None:
    """The major version that the database's files belong to; ``None`` when nothing says it.

    Raises:
        StackError: Docker does not answer.
    """
    folder = postgres.environ.get("PGDATA", DATA_FOLDER)
    if postgres.is_running:
        done = run_docker("exec", postgres.container, "cat", f"{folder}/PG_VERSION", seconds=_LOGIN_SECONDS)
    else:
        volume = postgres.volumes.get(DATA_FOLDER, "")
        mount = f"type=volume,source={volume},target={DATA_FOLDER},readonly"
        limits = ["--rm", "--pull", "never", "--network", "none", "--user", "0", "--entrypoint", "cat"]
        arguments = ["run", *limits, "--mount", mount, postgres.image, f"{folder}/PG_VERSION"]
        done = run_docker(*arguments, seconds=_COMPOSE_SECONDS)
    said = done.output if done.code == 0 else postgres.environ.get("PG_MAJOR", "") or _tag(postgres.image)
    digits = re.match(r"\d+", said.strip())
    return int(digits[0]) if digits else None


def accepts(postgres: Service, user: str, database: str, password: str) -> bool:
    """Whether the running database lets somebody in with a password.

    Raises:
        StackError: It does not answer.
    """
    # Not through loopback, where the official image asks for no password. The value is in no argument.
    script = (
        "IFS= read -r PGPASSWORD; export PGPASSWORD; host=$(hostname -i); "
        'exec psql -w -X -h "${host%% *}" -U "$1" -d "$2" -Atqc "SELECT 1"'
    )
    arguments = ["exec", "--interactive", postgres.container, "sh", "-c", script, "sh", user, database]
    done = run_docker(*arguments, standard_input=f"{password}\n", seconds=_LOGIN_SECONDS)
    if done.code and _REFUSED not in done.errors:
        raise StackError(
            f"The original's database ({postgres.container}) does not answer; nothing was changed",
            hint=program("docker", "logs", "--tail", "20", postgres.container, purpose="See what it logs"),
        )
    return done.code == 0


def asks_for_password(postgres: Service, user: str, database: str) -> bool:
    """Whether the running database refuses a wrong password at all.

    Raises:
        StackError: It does not answer.
    """
    return not accepts(postgres, user, database, secrets.token_urlsafe())


def _inspect(*arguments: str) -> str:
    done = run_docker(*arguments, seconds=SECONDS_FOR_DOCKER)
    if done.code:
        raise StackError(f"Docker does not answer: {done.reason.text}", hint=program("docker", "info"))
    return done.output


def _described(original: Original) -> dict[str, Any]:
    """The Compose file of the original as Compose understands it; empty without one."""
    if original.compose_file is None:
        return {}
    script = os.path.join(PROJECT_DIRECTORY, "scripts", "compose.sh")
    command = ["bash", script, "--project-directory", original.folder, "--file", original.compose_file]
    for path in reversed(original.dotenv_files):  # the last one comes first
        command += ["--env-file", path]
    done = run_child(
        [*command, "config", "--format", "json"],
        seconds=_COMPOSE_SECONDS,
        folder=original.folder,
        environ=compose_environ(),
    )
    if done.code:
        shown = original.shown(original.compose_file)
        raise StackError(
            f"Docker Compose does not understand {shown} of the original; nothing was changed",
            hint=program("docker-compose", *command[2:], "config", "--quiet", purpose="See why"),
        )
    described: dict[str, Any] = json.loads(done.output)
    return described


def _of_container(container: Mapping[str, Any]) -> Service:
    config = container["Config"]
    variables = dict(variable.split("=", 1) for variable in config.get("Env") or [] if "=" in variable)
    mounts = container.get("Mounts") or []
    return Service(
        _labels(container)[_SERVICE_LABEL],
        config["Image"],
        variables,
        (*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())),
        {mount["Destination"]: mount["Name"] for mount in mounts if mount.get("Type") == "volume"},
        {mount["Destination"]: mount["Source"] for mount in mounts if mount.get("Type") == "bind"},
        container["Name"].removeprefix("/"),
        container.get("State", {}).get("Running") is True,
    )


def _of_description(name: str, service: Mapping[str, Any], described: Mapping[str, Any]) -> Service:
    names = {key: volume.get("name", key) for key, volume in (described.get("volumes") or {}).items()}
    mounts = [mount for mount in service.get("volumes") or [] if mount.get("source")]
    # Compose prints each $ twice.
    variables = {
        key: str(value).replace("$$", "$") for key, value in (service.get("environment") or {}).items() if value
    }
    command = tuple(str(part).replace("$$", "$") for part in service.get("command") or ())
    kinds: dict[str, dict[str, str]] = {"volume": {}, "bind": {}}
    for mount in mounts:
        kinds.get(mount.get("type"), {})[mount["target"]] = names.get(mount["source"], mount["source"])
    return Service(name, service.get("image", ""), variables, command, kinds["volume"], kinds["bind"])


def _is_ours(container: Mapping[str, Any], compose_file: str) -> bool:
    """Whether this project started a container: from a file that may have taken the place of one of the original."""
    files = _labels(container).get(_FILES_LABEL, "").split(",")
    mounted = [mount.get("Destination", "") for mount in container.get("Mounts") or []]
    return compose_file in files and any(path.startswith(SECRETS_MOUNT) for path in mounted)


def _labels(container: Mapping[str, Any]) -> dict[str, str]:
    return container["Config"].get("Labels") or {}


def _option(command: Sequence[str], name: str) -> str:
    """What a command line gives an option of redis-server; empty when it does not."""
    words = list(_words(command))
    places = [place for place, word in enumerate(words[:-1]) if word == f"--{name}"]
    return words[places[-1] + 1] if places else ""


def _words(command: Iterable[str]) -> Iterable[str]:
    """The words of a command line; those of a shell's script in it one by one."""
    parts = list(command)
    for before, part in zip(["", *parts], parts, strict=False):
        if before not in ("-c", "-ec", "-euc"):
            yield part
            continue
        try:
            yield from shlex.split(part)
        except ValueError:
            yield part


def _product(image: str) -> str:
    """``postgres`` of ``registry:5000/library/postgres:16-alpine``."""
    return image.rpartition("/")[2].partition("@")[0].partition(":")[0]


def _tag(image: str) -> str:
    return image.rpartition("/")[2].partition("@")[0].partition(":")[2]
