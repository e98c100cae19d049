"""The real Docker Engine and Compose, and stand-ins for images that cannot be downloaded here."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from tests.conftest import PROJECT, need

BUILD_SCRIPT = PROJECT / "tests/e2e/images/build.sh"


@functools.cache
def _compose() -> tuple[str, ...]:
    if shutil.which("docker") and _works("docker", "compose", "version"):
        return ("docker", "compose")
    return ("docker-compose",) if shutil.which("docker-compose") else ()


def compose_command() -> tuple[str, ...]:
    """Return the command of Compose v2 on this machine."""
    command = _compose()
    need("Docker Compose v2", bool(command), "https://docs.docker.com/compose/install/linux/")
    return command


@functools.cache
def _engine_answers() -> bool:
    return bool(shutil.which("docker")) and _works("docker", "info")


def need_engine() -> None:
    """Skip without a Docker Engine."""
    need("a Docker Engine", _engine_answers(), "apt-get install docker.io, and start it; the tests have to reach it")
    compose_command()


@functools.cache
def postgres_16_image() -> str:
    """Return the tag of the stand-in for PostgreSQL 16, which the original system runs."""
    standin_images()
    with alone("images"):
        done = subprocess.run([BUILD_SCRIPT, "--postgres-16"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(line.split("=", 1) for line in done.stdout.splitlines())["POSTGRES_16_IMAGE"]


@contextmanager
def alone(thing: str) -> Iterator[None]:
    """Lock a resource that exists once in an engine, for one test in any process."""
    with FileLock(Path(tempfile.gettempdir(), f"cctv-tests-{os.getuid()}-{thing}.lock")):
        yield


@functools.cache
def standin_images() -> dict[str, str]:
    """Return the tags of the stand-in images by the variables of docker-compose.yml; builds missing images."""
    need_engine()
    need("mmdebstrap", bool(shutil.which("mmdebstrap")), "apt-get install mmdebstrap")
    with alone("images"):
        done = subprocess.run([BUILD_SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def give_compose(home: Path) -> Path:
    """Let a process with another home run Compose, as `docker compose` and as the README's `docker-compose`.

    Returns:
        A folder for its PATH.
    """
    compose_command()
    own = Path(os.environ.get("DOCKER_CONFIG") or Path("~/.docker").expanduser()) / "cli-plugins/docker-compose"
    program = str(own) if own.exists() else shutil.which("docker-compose")
    plugins, folder = home / ".docker/cli-plugins", home / "bin"
    plugins.mkdir(parents=True, exist_ok=True)
    folder.mkdir(exist_ok=True)
    if program:  # otherwise Docker has it for all users
        shutil.copy2(program, plugins / "docker-compose")
    shim = folder / "docker-compose"
    shim.write_text('#!/bin/sh\nexec docker compose "$@"\n')
    shim.chmod(0o755)
    return folder


def docker(*arguments: str, check: bool = True) -> str:
    """Run the docker client; returns what it prints."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, timeout=300)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout + ("" if check else done.stderr)


def _works(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0
