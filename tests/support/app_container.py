"""The application in its real image and limits, on this machine's network, with pretended cores."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import PROJECT
from tests.servers.ports import free_port
from tests.support.engine import alone, docker, standin_images

_UID = 10001
_PRETEND = """\
import os

cores = int(os.environ["PRETENDED_CORES"])
os.cpu_count = os.process_cpu_count = lambda: cores
os.sched_getaffinity = lambda pid: set(range(cores))
"""


@contextmanager
def app_image(name: str) -> Iterator[str]:
    """Build the application's image; remove it at the end."""
    base = standin_images()["BASE_IMAGE"]
    with alone("build"):
        os.environ["DOCKER_BUILDKIT"] = "0"
        docker("build", "--network", "host", "--build-arg", f"BASE_IMAGE={base}", "--tag", name, str(PROJECT))
    try:
        yield name
    finally:
        docker("image", "rm", name, check=False)


class AppContainer:
    """A running container of the application."""

    def __init__(self, name: str, port: int) -> None:
        self._name = name
        self.port = port
        self._cgroup = _memory_folder(self._state()["Pid"])

    @property
    def has_ended(self) -> bool:
        """Whether it was ended, by whomever."""
        return not self._state()["Running"]

    def log(self) -> str:
        """Everything that it has written."""
        return docker("logs", self._name, check=False)

    def peak_memory(self) -> int:
        """The most bytes that it had at once."""
        for name in ("memory.peak", "memory.max_usage_in_bytes"):
            if (self._cgroup / name).exists():
                return int((self._cgroup / name).read_text())
        raise AssertionError("the container has no memory controller, or has ended")

    def state(self) -> str:
        """How it ended, for messages."""
        state = self._state()
        return f"running={state['Running']} exit={state['ExitCode']} oom={state['OOMKilled']}"

    def _state(self) -> Any:
        return json.loads(docker("inspect", self._name))[0]["State"]


@contextmanager
def running_container(
    image: str, name: str, values: Mapping[str, str], environ: Mapping[str, str], folder: Path, cores: int
) -> Iterator[AppContainer]:
    """Start the application in a container.

    Args:
        image: Its image.
        name: The container's name.
        values: The secrets; the container sees them as files.
        environ: Its settings.
        folder: For the files that are mounted.
        cores: How many cores Python believes in.
    """
    port = free_port()
    settings = dict(environ) | {"APP_HOST": "0.0.0.0", "APP_PORT": str(port), "SECRETS_BACKEND": "environment"}
    settings |= {f"{secret}_FILE": f"/run/secrets/{secret}" for secret in values}
    settings |= {"PRETENDED_CORES": str(cores), "PYTHONPATH": "/pretend"}
    mounts = [
        f"{_written(folder / 'secrets', values)}:/run/secrets:ro",
        f"{_written(folder / 'pretend', {'sitecustomize.py': _PRETEND})}:/pretend:ro",
    ]
    options = [
        *_limits(),
        *(part for key, value in settings.items() for part in ("--env", f"{key}={value}")),
        *(part for mount in mounts for part in ("--volume", mount)),
    ]
    docker("run", "--detach", "--name", name, "--network", "host", "--user", f"{_UID}:{_UID}", *options, image)
    try:
        yield AppContainer(name, port)
    finally:
        docker("rm", "--force", name, check=False)


def _limits() -> list[str]:
    """The limits that docker-compose.yml gives the application, as options of ``docker run``."""
    app = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["services"]["app"]
    options = [f"--memory={app['mem_limit']}", f"--memory-swap={app['mem_limit']}", f"--pids-limit={app['pids_limit']}"]
    options += ["--read-only"] if app["read_only"] else []
    options += [f"--cap-drop={name}" for name in app["cap_drop"]]
    options += [f"--security-opt={option}" for option in app["security_opt"]]
    options += [f"--tmpfs={mount}" for mount in app["tmpfs"]]
    for name, limit in app.get("ulimits", {}).items():
        soft, hard = (limit["soft"], limit["hard"]) if isinstance(limit, dict) else (limit, limit)
        options.append(f"--ulimit={name}={soft}:{hard}")
    return options


def _written(folder: Path, files: Mapping[str, str]) -> Path:
    """A folder with these files, for the container's user alone."""
    folder.mkdir(mode=0o700)
    for name, content in files.items():
        path = folder / name
        path.touch(0o400)
        path.write_text(content)
        os.chown(path, _UID, _UID)
    os.chown(folder, _UID, _UID)
    return folder


def _memory_folder(pid: int) -> Path:
    """The folder of the memory controller of a process, in both versions of cgroups."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return Path("/sys/fs/cgroup/memory" + path)
        if number == "0" and Path("/sys/fs/cgroup/cgroup.controllers").exists():
            return Path("/sys/fs/cgroup" + path)
    raise AssertionError("the container has no memory controller")
