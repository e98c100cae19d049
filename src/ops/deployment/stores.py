"""Opening a store to write to it. The environment store is written where its values stand: in its dotenv file."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from src.utils.secrets.backends.environment import EnvironmentBackend
from src.utils.secrets.changes import check_value
from src.utils.secrets.command import program, set_up
from src.utils.secrets.errors import ConfigurationError, StoreChangedError, StoreEmptyError, StoreError
from src.utils.secrets.manager import open_backend
from src.utils.secrets.settings import SecretsBackend, merge_dotenv
from src.utils.secrets.snapshot import Snapshot

from .dotenv import quote, read_dotenv, write_dotenv

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from src.utils.secrets.backends.base import Backend
    from src.utils.secrets.changes import Change

    from .deployment import Deployment

LOCK_TIMEOUT_SECONDS = 30


class DotenvStore:
    """The environment store of a deployment, with its dotenv file to write to.

    Args:
        path: The dotenv file.
        names: The names that are secrets; everything else in the environment is not.
        environ: The variables of the process.
    """

    live = False
    empty_revision = hashlib.sha256(b"").hexdigest()

    def __init__(self, path: str, names: Sequence[str], environ: Mapping[str, str]) -> None:
        self.path = path
        self._names = names
        self._environ = environ

    def load(self) -> Snapshot:
        """The secrets that are set, in the environment or in the file."""
        revision = self.empty_revision = self._revision()
        live = EnvironmentBackend(merge_dotenv(self._environ, read_dotenv(self.path))).load()
        values = {name: value for name in self._names if (value := live.values.get(name)) is not None}
        metadata = {name: entry for name in values if (entry := live.metadata.get(name)) is not None}
        if not values:
            raise StoreEmptyError(f"No secret is set in {self.path}", hint=set_up(purpose="Make a first set"))
        return Snapshot(values, metadata, revision)

    def save(
        self,
        changes: Mapping[str, Change],
        *,
        expected_revision: str | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> Snapshot:
        """Write ``changes`` to the file, which keeps no earlier values: what a change replaces is gone."""
        from filelock import FileLock, Timeout

        for name, change in changes.items():
            self._check(name, change)
        try:
            with FileLock(f"{self.path}.lock", timeout=LOCK_TIMEOUT_SECONDS, mode=0o600):
                if expected_revision not in (None, self._revision()):
                    raise StoreChangedError(
                        f"{self.path} was changed by another run meanwhile",
                        hint="Nothing was written. Run the same command again",
                    )
                write_dotenv(self.path, {name: change.value for name, change in changes.items()})
        except Timeout:
            raise StoreError(
                f"Another program has been writing {self.path} for {LOCK_TIMEOUT_SECONDS} s",
                hint="Wait for it to end, then run this again",
            ) from None
        stored = load_if_any(self)
        different = [name for name, change in changes.items() if stored.values.get(name) != change.value]
        if different:
            raise StoreError(
                f"{', '.join(different)} read back differently from {self.path}",
                hint=program("less", self.path, purpose="Look at it"),
            )
        for name in changes:
            if progress:
                progress(name)
        return stored

    def describe(self) -> str:
        """The file's path."""
        return f"the dotenv file {self.path}"

    def _check(self, name: str, change: Change) -> None:
        for variable in (name, f"{name}_FILE"):
            if self._environ.get(variable):
                raise ConfigurationError(
                    f"{variable} is set in this shell and outranks {self.path}",
                    hint=program("unset", variable, purpose="Unset it, and run this again"),
                )
        if read_dotenv(self.path).get(f"{name}_FILE"):
            raise ConfigurationError(
                f"{name} comes from the file that {name}_FILE in {self.path} names",
                hint="Change that file, or remove the line",
            )
        if change.value is not None:
            check_value(name, change.value)
            quote(name, change.value)

    def _revision(self) -> str:
        try:
            with open(self.path, "rb") as file:
                return hashlib.sha256(file.read()).hexdigest()
        except FileNotFoundError:
            return self.empty_revision


def open_writable_store(deployment: Deployment, backend: SecretsBackend | None = None) -> Backend:
    """The store of ``deployment``, or its store of another kind, to read and to write.

    Raises:
        SecretsError: A setting is missing or wrong.
    """
    deployment.export_sdk_settings()
    settings = deployment.settings(backend)
    if settings.backend is SecretsBackend.ENV:
        return DotenvStore(deployment.compose_file, deployment.catalog.names, deployment.environ)
    return open_backend(settings)


def load_if_any(store: Backend) -> Snapshot:
    """What ``store`` holds; empty when it holds nothing yet."""
    try:
        return store.load()
    except StoreEmptyError:
        return Snapshot({}, revision=store.empty_revision)
