"""The environment as a store: ``NAME``, or ``NAME_FILE`` with the path of a file that holds the value.

It is live: a changed variable or file is seen at the next look. Beside a value's file may lie
``<stem>_previous.json``, the earlier values still accepted, as the Docker secrets have it. The file's own time says
when the value changed; of a variable nobody knows.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping

from ..command import write_docker_files
from ..errors import ConfigurationError, DamagedStoreError
from ..settings import Settings, read_value_file, read_variable
from ..snapshot import PreviousValue, SecretMetadata, Snapshot, utc_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..changes import Change


class EnvironmentBackend:
    """Reads variables; they are written where the process is started.

    Args:
        environ: The variables to read.
    """

    live = True
    empty_revision = ""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def load(self) -> Snapshot:
        """A live view of the variables; nothing is read before it is asked for."""
        return Snapshot(_Values(self._environ), _Previous(self._environ))

    def save(
        self,
        changes: Mapping[str, Change],  # noqa: ARG002
        *,
        expected_revision: str | None = None,  # noqa: ARG002
        progress: Callable[[str], None] | None = None,  # noqa: ARG002
    ) -> Snapshot:
        """Always refused: a process cannot change the environment it will be started with."""
        raise ConfigurationError(
            "Environment variables cannot be written from here",
            hint="Change them where they are set: the .env file, the shell, or the service's unit",
        )

    def describe(self) -> str:
        """Human-readable."""
        return "environment variables"


class _Values(Mapping[str, str]):
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def __getitem__(self, name: str) -> str:
        value = read_variable(self._environ, name)
        if value is None:
            raise KeyError(name)
        return value

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        value = read_variable(self._environ, name)
        return default if value is None else value

    def __iter__(self) -> Iterator[str]:
        return iter({name.removesuffix("_FILE"): None for name, value in self._environ.items() if value})

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return "<the environment's values>"


class _Previous(Mapping[str, SecretMetadata]):
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def __getitem__(self, name: str) -> SecretMetadata:
        path = self._environ.get(name + "_FILE")
        if not path:
            raise KeyError(name)
        beside = previous_file(path)
        text = read_value_file(beside, name + "_FILE") if os.path.exists(beside) else ""
        return SecretMetadata(_time_of(path), parse_previous(text, beside))

    def __iter__(self) -> Iterator[str]:
        return (name.removesuffix("_FILE") for name, path in self._environ.items() if path and name.endswith("_FILE"))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _time_of(path: str) -> str | None:
    """When the value changed: who writes the file gives it that time, and an editor does so anyway."""
    try:
        return utc_at(os.stat(path).st_mtime)
    except OSError:
        return None


def previous_file(path: str) -> str:
    """Where the earlier values of the secret in the file ``path`` are: ``secret_key.txt`` has
    ``secret_key_previous.json`` beside it, and so has the mounted ``secret_key``."""
    return path.removesuffix(".txt") + "_previous.json"


def parse_previous(text: str, path: str) -> list[PreviousValue]:
    """The earlier values in a ``*_previous.json``.

    Raises:
        DamagedStoreError: The text is not of that form.
    """
    try:
        return list(SecretMetadata.from_document({"previous": json.loads(text or "[]")}).previous)
    except (ValueError, TypeError, KeyError, RecursionError):
        raise DamagedStoreError(
            f"{path} does not hold a list of earlier values",
            hint=write_docker_files(purpose="Write it again"),
        ) from None


def open_backend(settings: Settings) -> EnvironmentBackend:
    """The store for these settings."""
    return EnvironmentBackend(settings.environ)
