"""Whether this machine has what the stack needs, looked at before anything is asked or started."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from src.ops.deployment.dotenv import read_dotenv
from src.utils.secrets.children import ChildError, run_child
from src.utils.secrets.command import append_lines, program
from src.utils.secrets.errors import SecretsError

from .servers import APP
from .stack import Stack, has_docker

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment
    from src.utils.secrets.command import Hint

SECONDS = 5
DEFAULT_PORT, DEFAULT_ADDRESS = "8000", "127.0.0.1"
INSTALL_DOCKER = "Install Docker with Compose v2: https://docs.docker.com/engine/install/"


@dataclass(frozen=True)
class Problem:
    """Why the stack cannot start on this machine as it is.

    Attributes:
        message: What is missing or in the way. One line.
        hints: What to do about it.
    """

    message: str
    hints: tuple[Hint, ...]


def find_problems(deployment: Deployment) -> list[Problem]:
    """What is missing for the stack: Docker, Compose, its port, data that nobody else has open.

    Args:
        deployment: What is going to be started.
    """
    stack = Stack(deployment, seconds=SECONDS)
    if not stack.has_compose_file:
        return []  # it is not for containers
    if not has_docker():
        return [Problem("Docker is not found on this machine", (INSTALL_DOCKER,))]
    with ThreadPoolExecutor() as pool:
        checks = [
            pool.submit(check, deployment, stack)
            for check in (_find_docker, _find_compose, _find_port, find_data_in_use)
        ]
        return [problem for check in checks if (problem := check.result()) is not None]


def _find_docker(_deployment: Deployment, _stack: Stack) -> Problem | None:
    look = program("docker", "info", purpose="Look at it")
    if not shutil.which("docker"):
        return None
    try:
        done = run_child(["docker", "info", "--format", "{{.ServerVersion}}"], seconds=SECONDS)
    except ChildError as error:
        return Problem(f"Docker does not answer: {error}", (look,))
    return Problem(f"Docker does not answer: {done.reason.text}", (look,)) if done.code else None


def _find_compose(_deployment: Deployment, stack: Stack) -> Problem | None:
    try:
        stack.require_compose()
    except SecretsError as error:
        return Problem(str(error), error.hints)
    return None


def _find_port(deployment: Deployment, stack: Stack) -> Problem | None:
    lines = read_dotenv(deployment.compose_file)
    port = deployment.environ.get("APP_PORT") or lines.get("APP_PORT") or DEFAULT_PORT
    address = deployment.environ.get("APP_BIND") or lines.get("APP_BIND") or DEFAULT_ADDRESS
    if not port.isdecimal() or not _is_taken(address, int(port)) or _is_own(stack):
        return None
    free = append_lines(os.path.abspath(deployment.compose_file), "APP_PORT=8001", purpose="Choose another one")
    return Problem(f"Another program listens on port {port}", (free,))


def find_data_in_use(_deployment: Deployment, stack: Stack) -> Problem | None:
    """Why the data that was taken over cannot be used yet."""
    try:
        users = stack.foreign_users()
    except SecretsError:
        return None  # said by the check of Docker
    if not users:
        return None
    keep = program("docker", "update", "--restart", "no", *users, purpose="Let it not start by itself again")
    stop = program("docker", "stop", *users, purpose="Stop it; the data stays")
    return Problem(f"Another container has this deployment's data open: {', '.join(users)}", (keep, stop))


def _is_taken(address: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    except OverflowError:
        return False
    return False


def _is_own(stack: Stack) -> bool:
    try:
        return APP in stack.running()
    except SecretsError:
        return False
