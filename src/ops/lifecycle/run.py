"""Turning this process into a program that has the secrets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn

from src.utils.secrets.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OWN_FAILURE = 125


def replace_process(command: Sequence[str], values: Mapping[str, str], *, as_files: bool) -> NoReturn:
    """Become ``command``: its exit code and its signals are those of the program itself.

    Args:
        command: Program and arguments.
        values: The secrets by name.
        as_files: Give each as ``NAME_FILE``, a path to memory that is gone with the process, and not as ``NAME``.

    Raises:
        ConfigurationError: The program cannot be run.
    """
    environ = dict(os.environb)  # as bytes: the locale has no say in what a value is
    for name, value in values.items():
        environ.pop(name.encode(), None)
        environ.pop(f"{name}_FILE".encode(), None)
        if as_files:
            environ[f"{name}_FILE".encode()] = _memory_file(name, value).encode()
        else:
            environ[name.encode()] = value.encode()
    try:
        os.execvpe(command[0], list(command), environ)  # noqa: S606
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a usable command"
        raise ConfigurationError(
            f"The program cannot be run: {reason}", hint="Give the program and its arguments after --"
        ) from None


def _memory_file(name: str, value: str) -> str:
    """A path to memory: memfd_create(2) makes a file that has no name and that no disk ever sees."""
    if not hasattr(os, "memfd_create"):
        raise ConfigurationError("--files needs Linux", hint="Leave it out: then the values are in the environment")
    descriptor = os.memfd_create(name, 0)
    os.fchmod(descriptor, 0o400)
    data = memoryview(value.encode())
    while data:
        data = data[os.write(descriptor, data) :]
    # By its number, not as /proc/self: the programs that this one starts can read it, too.
    return f"/proc/{os.getpid()}/fd/{descriptor}"
