"""A user's clone of the project, and its stack of containers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from cryptography.fernet import Fernet
from dotenv import dotenv_values

from tests.conftest import PROJECT, Project, need_root
from tests.leaks import leaked
from tests.servers.ports import free_port

from .engine import docker, give_compose, need_engine, standin_images


@dataclass
class Checkout:
    """A user's fresh clone, and that user's shell."""

    directory: Path
    home: Path
    uid: int
    environ: dict[str, str]
    transcript: str = ""
    seconds: float = 0

    def command(self, *command: str) -> list[str]:
        """Return ``command`` as that user runs it."""
        if self.uid == os.geteuid():
            return list(command)
        group = Path("/var/run/docker.sock").stat().st_gid if Path("/var/run/docker.sock").exists() else self.uid
        return ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", f"--groups={self.uid},{group}", "--", *command]

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the clone."""
        done = subprocess.run(
            self.command(*command),
            cwd=self.directory,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def compose(self, *arguments: str, check: bool = True) -> str:
        """Run docker-compose in the clone; returns what it prints."""
        done = self.run("docker-compose", *arguments, check=check)
        return done.stdout + ("" if check else done.stderr)

    @property
    def key_file(self) -> Path:
        return self.home / ".config/cctv-face-detection/master.key"

    def values(self) -> dict[str, str]:
        """Return the secrets, decrypted with three lines of plain cryptography."""
        fernet = Fernet(self.key_file.read_bytes().strip())
        text = fernet.decrypt((self.directory / "config/secrets.enc").read_bytes())
        values = json.loads(text)["secrets"]
        assert isinstance(values, dict)
        return values


def copy_checkout(target: Path) -> None:
    """Copy the files that a clone of the project would have now."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (PROJECT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, target / name)


def linked_checkout(base: Path, **environ: str) -> Checkout:
    """Make a clone that uses the packages of this project."""
    directory, home = base / "project", base / "home"
    directory.mkdir()
    home.mkdir()
    copy_checkout(directory)
    (directory / ".venv").symlink_to(PROJECT / ".venv")
    path = f"{give_compose(home)}:{os.environ['PATH']}"
    kept = {}
    if "COVERAGE_FILE" in os.environ:
        kept = {
            "COVERAGE_FILE": os.environ["COVERAGE_FILE"],
            "COVERAGE_PROCESS_START": str(directory / "pyproject.toml"),
        }
    base_environ = {"HOME": str(home), "PATH": path, "DOCKER_BUILDKIT": "0"}
    return Checkout(directory, home, os.geteuid(), base_environ | kept | environ)


@contextmanager
def prepared_for_compose(checkout: Checkout, name: str, image: str = "APP_IMAGE") -> Iterator[dict[str, str]]:
    """Configure Compose for the tests; at the end remove the containers, volumes and the image.

    The settings are other images, a free port, other names, and a build that shares this machine's network.

    Args:
        checkout: The clone.
        name: The name of the project and of its image.
        image: The variable with the app's image.
    """
    settings = standin_images() | {
        image: f"{name}:latest",
        "APP_PORT": str(free_port()),
        "BUILD_NETWORK": "host",
        "COMPOSE_PROJECT_NAME": name,
    }
    env = checkout.directory / ".env"
    env.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    os.chown(env, checkout.uid, checkout.uid)
    try:
        yield settings
    finally:
        checkout.compose("down", "--volumes", "--timeout", "5", check=False)
        docker("image", "rm", settings[image], check=False)


@contextmanager
def running_stack(name: str) -> Iterator[Checkout]:
    """Three healthy containers with secrets from an encrypted file, in a clone of its own.

    Args:
        name: The beginning of the project's name.
    """
    need_root()
    need_engine()
    base = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    checkout = linked_checkout(base)
    try:
        with prepared_for_compose(checkout, f"{name}-test-{os.getpid()}"):
            # The app is asked for its health each second, not each fifth: this is what most tests wait for.
            often = "services: {app: {healthcheck: {interval: 1s, retries: 60}}}\n"
            (checkout.directory / "docker-compose.override.yml").write_text(often)
            checkout.run("scripts/setup_secrets.py", "--non-interactive", "--backend", "file")
            checkout.run("scripts/generate_docker_secrets.sh")
            checkout.run("docker-compose", "up", "-d")
            wait_until_healthy(checkout)
            yield checkout
    finally:
        shutil.rmtree(base, ignore_errors=True)


def containers(checkout: Checkout) -> dict[str, Any]:
    """Return the output of `docker inspect` for each service's container."""
    ids = checkout.compose("ps", "--all", "--quiet").split()
    return {
        item["Config"]["Labels"]["com.docker.compose.service"]: item for item in json.loads(docker("inspect", *ids))
    }


def wait_until_healthy(checkout: Checkout, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while True:
        states = {name: item["State"].get("Health", {}).get("Status") for name, item in containers(checkout).items()}
        if states == dict.fromkeys(("app", "postgres", "redis"), "healthy"):
            return
        assert time.monotonic() < deadline, f"{states}\n{checkout.compose('logs', check=False)}"
        time.sleep(0.5)


def client(checkout: Checkout) -> httpx.Client:
    port = dotenv_values(checkout.directory / ".env")["APP_PORT"]
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30)


def log_in(checkout: Checkout, password: str) -> httpx.Response:
    with client(checkout) as http:
        return http.post("/login", json={"username": "admin", "password": password})


def find_leaks(stack: Checkout, text: bytes) -> list[str]:
    return leaked(stack.values() | {"the master key": stack.key_file.read_text().strip()}, text)


class OwnProject(Project):
    """The tools' own project, as after a clone: the person is in its folder, and names nothing on the command line."""

    def script(self, name: str, *arguments: str) -> list[str]:
        return [str(self.directory / "scripts" / name), *arguments, *self.options]

    def environ(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """With a Docker that has Compose as a part, whatever this machine has, so that pages look the same."""
        given = super().environ(extra)
        return given | {"PATH": f"{self.home / 'bin'}:{given['PATH']}"}

    def state(self) -> dict[str, tuple[int, bytes]]:
        """Without the code, which Python compiles, and the packages."""
        code = tuple(f"{self.directory / name}/" for name in ("src", "scripts", ".venv"))
        return {path: entry for path, entry in super().state().items() if not path.startswith(code)}


def make_own_project(directory: Path, home: Path) -> OwnProject:
    """What the commands need of the project, in a folder of its own.

    Args:
        directory: The folder; it is made.
        home: That person's home; it is made.
    """
    for name in ("src", "scripts"):
        shutil.copytree(PROJECT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    (directory / "config").mkdir()
    for name in ("config/catalog.toml", "pyproject.toml"):
        shutil.copy(PROJECT / name, directory / name)
    (directory / ".venv").symlink_to(PROJECT / ".venv")
    (home / "bin").mkdir(parents=True)
    docker = home / "bin/docker"
    docker.write_text("#!/bin/sh\ncase $1 in info) echo '[]|/var/lib/docker';; esac\n")
    docker.chmod(0o755)
    return OwnProject(directory, home)
