"""The original's containers and volumes, and what its Compose file says where there are no containers."""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import tempfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from src.ops.containers.stack import (
    COMPOSE_FILE,
    FILES_LABEL,
    FOLDER_LABEL,
    ONE_OFF_LABEL,
    OWN_LABEL,
    PROJECT_LABEL,
    SECONDS_FOR_DOCKER,
    SERVICE_LABEL,
    StackError,
    compose_environ,
    has_docker,
    list_docker,
    project_name,
    run_docker,
)
from src.ops.values.importing.names import Kind
from src.utils.secrets.children import run_child
from src.utils.secrets.command import program
from src.utils.secrets.settings import PROJECT_DIRECTORY

from .files import read_named
from .found import MASTER_KEY, Found, FoundValue, names_variable
from .original import read_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from src.ops.values.importing.names import Names
    from src.utils.secrets.children import Child

    from .original import Original

DATA_FOLDER = "/var/lib/postgresql/data"
REDIS_FOLDER = "/data"
_COMPOSE_SECONDS = 60
_LOGIN_SECONDS = 20
_REFUSED = "password authentication failed"
_NO_DATABASE = re.compile(r'database "[^"]*" does not exist')
_OF_IMAGES = frozenset({"GPG_KEY"})  # a public key that the official images of Python name
_OWN_VARIABLES = frozenset({"POSTGRES_INITDB_ARGS", "REDIS_APPENDONLY", "SECRETS_BACKEND"})
_KEPT = frozenset({"HOME", "LANG", "PATH", "TMPDIR", "USER", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"})


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
        comes_back: Whether Docker starts it again when it starts itself, although somebody has stopped it.
    """

    name: str
    image: str
    environ: Mapping[str, str] = field(repr=False)
    command: tuple[str, ...] = field(repr=False)
    volumes: Mapping[str, str] = field(default_factory=dict)
    folders: Mapping[str, str] = field(default_factory=dict)
    container: str = ""
    is_running: bool = False
    comes_back: bool = False

    @property
    def is_postgres(self) -> bool:
        """Whether it is a database."""
        is_image = "PG_MAJOR" in self.environ or _product(self.image) in _POSTGRES
        return is_image and (DATA_FOLDER in self.volumes or DATA_FOLDER in self.folders)

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
    def databases(self) -> list[Service]:
        """Its databases; those that run come first."""
        found = [service for service in self.services if service.is_postgres]
        return sorted(found, key=lambda service: not service.is_running)

    @property
    def redis(self) -> Service | None:
        """Its Redis."""
        return next((service for service in self.services if service.is_redis and not service.is_postgres), None)

    @property
    def running(self) -> list[str]:
        """The names of its containers that run."""
        return [service.container for service in self.services if service.is_running]

    @property
    def coming_back(self) -> list[str]:
        """The names of those that Docker starts again when it starts itself, although somebody has stopped them."""
        return [service.container for service in self.services if service.comes_back]


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
    try:
        containers = _containers_of(original.folder)
    except StackError:
        if original.compose_file is None:  # it was started in another way, and has no volumes
            return OriginalStack()
        raise
    own = os.path.join(os.path.realpath(project_directory), COMPOSE_FILE)
    containers = [one for one in containers if _is_of_original(one, own)]
    services = [_of_container(container) for container in containers]
    described = _described(original, may_fail=bool(services))
    known = {service.name for service in services}
    services += [
        _of_description(name, service, described)
        for name, service in described.get("services", {}).items()
        if name not in known
    ]
    projects = [_labels(container).get(PROJECT_LABEL, "") for container in containers]
    return OriginalStack(next(filter(None, [*projects, described.get("name", "")]), ""), tuple(services))


def _containers_of(folder: str) -> list[dict[str, Any]]:
    """What Docker says of the containers that were started from a folder, also through a link to it."""
    identities: dict[str, None] = {}
    for path in dict.fromkeys((folder, os.path.realpath(folder))):
        label = f"label={FOLDER_LABEL}={path}"
        identities |= dict.fromkeys(list_docker("ps", "--all", "--quiet", "--no-trunc", "--filter", label))
    containers: list[dict[str, Any]] = json.loads(_inspect("inspect", *identities)) if identities else []
    return containers


def read_services(stack: OriginalStack, names: Names) -> Found:
    """What the services of the original were given."""
    found = Found()
    for service in stack.services:
        for name, value in service.environ.items():
            match = names.find(name)
            if match is not None and match.kind is Kind.FILE:
                found.add(_read_mounted(service, match.spec.name, value))
            elif value and name not in _OF_IMAGES:
                found.add(
                    read_named(name, value, service.place, match, is_running=service.is_running, is_in_file=False)
                )
    redis = stack.redis
    password = _option(redis.command, "requirepass") if redis else ""
    if redis and password:
        place = f"{redis.place}, in its command"
        found.values.append(FoundValue("REDIS_PASSWORD", password, place, redis.is_running, is_in_file=False))
    return found


def _read_mounted(service: Service, name: str, path: str) -> Found:
    """The value in a file of a container."""
    if service.is_running:
        done = run_docker("exec", service.container, "cat", path, seconds=_LOGIN_SECONDS)
        value = done.output.removesuffix("\n").removesuffix("\r")
        if done.code == 0 and value:
            return Found([FoundValue(name, value, f"{service.place}, in a file", is_running=True, is_in_file=False)])
    return Found(unread=[(name, f"the file that {service.name} of the original has for it")])


def keeps_append_only_file(redis: Service) -> bool:
    """Whether a Redis writes each change to a file, from which alone it then starts.

    Raises:
        StackError: Docker does not answer.
    """
    said = _option(redis.command, "appendonly").lower()
    if said or not any(word.endswith(".conf") for word in redis.command):
        return said == "yes"
    # The rest of its settings is in a file, whose marks are beside the data.
    files = _in_volume(redis, REDIS_FOLDER, "ls", REDIS_FOLDER)
    return bool({"appendonlydir", "appendonly.aof"} & set((files or "").split()))


def volume_exists(name: str) -> bool:
    """Whether Docker has a volume of this name."""
    return name in list_docker("volume", "ls", "--quiet", "--filter", f"name={name}")


def find_major(postgres: Service) -> int | None:
    """The major version that the database's files belong to; ``None`` when nothing says it.

    Raises:
        StackError: Docker does not answer.
    """
    said = _in_volume(postgres, DATA_FOLDER, "cat", f"{DATA_FOLDER}/PG_VERSION")
    said = said or postgres.environ.get("PG_MAJOR", "") or _tag(postgres.image)
    digits = re.match(r"\d+", said.strip())
    return int(digits[0]) if digits else None


def _in_volume(service: Service, folder: str, *command: str) -> str | None:
    """What a command prints that looks at a service's volume; ``None`` when it fails."""
    if service.is_running:
        done = run_docker("exec", service.container, *command, seconds=_LOGIN_SECONDS)
    else:
        mount = f"type=volume,source={service.volumes[folder]},target={folder},readonly"
        limits = ["--rm", "--pull", "never", "--network", "none", "--user", "0", "--entrypoint", command[0]]
        arguments = ["run", *limits, "--mount", mount, service.image, *command[1:]]
        done = run_docker(*arguments, seconds=_COMPOSE_SECONDS)
    return done.output if done.code == 0 else None


def accepts(postgres: Service, user: str, database: str, password: str) -> bool | None:
    """Whether the running database lets somebody in with a password; ``None`` when it says neither.

    Raises:
        StackError: Docker does not answer.
    """
    # Not through loopback, where the official image asks for no password. The value is in no argument.
    script = (
        "IFS= read -r PGPASSWORD; export PGPASSWORD; host=$(hostname -i); "
        'exec psql -w -X -h "${host%% *}" -U "$1" -d "$2" -Atqc "SELECT 1"'
    )
    arguments = ["exec", "--interactive", postgres.container, "sh", "-c", script, "sh", user, database]
    done = run_docker(*arguments, standard_input=f"{password}\n", seconds=_LOGIN_SECONDS)
    if done.code == 0 or _NO_DATABASE.search(done.errors):  # said only to those who are let in
        return True
    return False if _REFUSED in done.errors else None


def can_be_asked(postgres: Service, user: str, database: str) -> bool:
    """Whether the answer of the running database means something: it knows the role, and refuses a wrong password.

    Raises:
        StackError: Docker does not answer.
    """
    words = ["exec", postgres.container, "psql", "-w", "-X", "-U", user, "-d", database, "-Atqc", "SELECT 1"]
    done = run_docker(*words, seconds=_LOGIN_SECONDS)
    return done.code == 0 and accepts(postgres, user, database, secrets.token_urlsafe()) is False


def _inspect(*arguments: str) -> str:
    done = run_docker(*arguments, seconds=SECONDS_FOR_DOCKER)
    if done.code:
        raise StackError(f"Docker does not answer: {done.reason.text}", hint=program("docker", "info"))
    return done.output


def _described(original: Original, *, may_fail: bool) -> dict[str, Any]:
    """The Compose file of the original as Compose understands it; empty without one.

    Args:
        original: Where it is.
        may_fail: Whether it is enough not to know.

    Raises:
        StackError: Compose does not understand the file.
    """
    if original.compose_file is None:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        done = _run_compose(original, original.compose_file, folder)
    if done.code == 0:
        described: dict[str, Any] = json.loads(done.output)
        return described
    if may_fail:
        return {}
    # What Compose says may have a value in it.
    raise StackError(
        f"Docker Compose does not understand {original.shown(original.compose_file)} of the original, which has no "
        "containers either; nothing was changed",
        hint="Start the original once as you always do, so that its containers can be asked, and run this again",
    )


def _run_compose(original: Original, compose_file: str, temporary: str) -> Child:
    """Let Compose read the original's file, with its ``.env`` less the master key: this may have any sign in it."""
    place, flags = original.folder, []
    env_file = next(iter(reversed(original.dotenv_files)), None)
    if env_file is not None:
        copy = os.path.join(temporary, "env")
        with open(copy, "w", encoding="utf-8", errors="surrogateescape") as file:  # the folder is private
            file.writelines(line for line in env_file.text.splitlines(keepends=True) if MASTER_KEY not in line)
        flags = ["--env-file", copy]
        place = os.path.dirname(env_file.path)
    if place != original.folder and not re.search(r"^name:", read_text(compose_file), re.MULTILINE):
        flags += ["--project-name", project_name(original.folder)]
    script = os.path.join(PROJECT_DIRECTORY, "scripts", "compose.sh")
    command = ["bash", script, "--project-directory", place, "--file", compose_file, *flags]
    kept = {name: value for name, value in compose_environ().items() if name in _KEPT or name.startswith("DOCKER_")}
    return run_child([*command, "config", "--format", "json"], seconds=_COMPOSE_SECONDS, folder=place, environ=kept)


def _of_container(container: Mapping[str, Any]) -> Service:
    config = container["Config"]
    variables = dict(variable.split("=", 1) for variable in config.get("Env") or [] if "=" in variable)
    mounts = container.get("Mounts") or []
    return Service(
        _labels(container)[SERVICE_LABEL],
        config["Image"],
        variables,
        (*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())),
        {mount["Destination"]: mount["Name"] for mount in mounts if mount.get("Type") == "volume"},
        {mount["Destination"]: mount["Source"] for mount in mounts if mount.get("Type") == "bind"},
        container["Name"].removeprefix("/"),
        container.get("State", {}).get("Running") is True,
        container.get("HostConfig", {}).get("RestartPolicy", {}).get("Name") == "always",
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


def _is_of_original(container: Mapping[str, Any], compose_file: str) -> bool:
    """Whether a container is a service of the original: no command that somebody ran, and not started by this project.

    This project's Compose file may have taken the place of one of the original.
    """
    labels = _labels(container)
    if SERVICE_LABEL not in labels or OWN_LABEL in labels or labels.get(ONE_OFF_LABEL, "").lower() == "true":
        return False
    # A stack that an earlier version of this project started has no label of ours.
    variables = {variable.partition("=")[0] for variable in container["Config"].get("Env") or []}
    return compose_file not in labels.get(FILES_LABEL, "").split(",") or not variables & _OWN_VARIABLES


def _labels(container: Mapping[str, Any]) -> dict[str, str]:
    return container["Config"].get("Labels") or {}


def _option(command: Sequence[str], name: str) -> str:
    """What a command line gives an option of redis-server; empty when it does not."""
    words = list(_words(command))
    places = [place for place, word in enumerate(words[:-1]) if word == f"--{name}"]
    value = words[places[-1] + 1] if places else ""
    return "" if value.startswith("--") or names_variable(value) else value


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
