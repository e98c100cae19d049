"""Swarm secrets. They cannot be changed, so every run makes a new set with the next version number."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from src.utils.secrets.children import ChildError, run_child
from src.utils.secrets.errors import StoreError

if TYPE_CHECKING:
    from .secret_files import SecretFile

TIMEOUT_SECONDS = 60
_SMALLEST_SECRET = b"\n"  # Swarm takes no empty secret; a reader strips one newline, so this reads as "not set"


def create_secrets(files: list[SecretFile], prefix: str) -> int:
    """Make a Swarm secret ``<prefix>_<name>_v<version>`` of each file; the value goes in through standard input.

    Returns:
        The version number of this set.

    Raises:
        StoreError: Docker refuses; the secrets of this set that were made are removed again.
    """
    version = _last_version(prefix) + 1
    made: list[str] = []
    try:
        for file in files:
            name = secret_name(prefix, file, version)
            _docker(["secret", "create", name, "-"], file.content or _SMALLEST_SECRET)
            made.append(name)
    except BaseException:
        if made:
            _docker(["secret", "rm", *made])
        raise
    return version


def secret_name(prefix: str, file: SecretFile, version: int) -> str:
    """The Swarm secret for a file."""
    return f"{prefix}_{mount_name(file)}_v{version}"


def mount_name(file: SecretFile) -> str:
    """The name that a stack file refers to, without the version."""
    return file.name.removesuffix(".txt").removesuffix(".json")


def stanza(files: list[SecretFile], prefix: str, version: int) -> str:
    """The ``secrets:`` part of a stack file for this set."""
    lines = ["secrets:"]
    for file in files:
        lines += [f"  {mount_name(file)}:", "    external: true", f"    name: {secret_name(prefix, file, version)}"]
    return "\n".join(lines)


def _last_version(prefix: str) -> int:
    names = _docker(["secret", "ls", "--format", "{{.Name}}"]).split()
    pattern = re.compile(re.escape(prefix) + r"_.+_v(\d+)")
    return max((int(match[1]) for name in names if (match := pattern.fullmatch(name))), default=0)


def _docker(arguments: list[str], standard_input: bytes = b"") -> str:
    command = ["docker", *arguments]
    hints = ("Check the engine: docker info", "For Swarm secrets it has to be a manager: docker swarm init")
    try:
        done = run_child(command, seconds=TIMEOUT_SECONDS, standard_input=standard_input)
    except ChildError as error:
        raise StoreError(f"docker {arguments[0]} {arguments[1]} failed: {error}", hint=hints) from None
    if done.code:
        reason = done.reason
        raise StoreError(f"docker {arguments[0]} {arguments[1]} failed: {reason.text}", hint=[*reason.hints, *hints])
    return done.output
