"""The environment store as the tools see it: read like the application does, written to its dotenv file."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from src.utils.secrets.backends.environment import EnvironmentBackend
from src.utils.secrets.changes import check_value, load_if_any, require_stored, require_unchanged
from src.utils.secrets.command import program, set_up
from src.utils.secrets.errors import ConfigurationError, StoreEmptyError
from src.utils.secrets.lockedfile import locked
from src.utils.secrets.settings import merge_dotenv
from src.utils.secrets.snapshot import Snapshot

from .dotenv import quote, read_dotenv, write_dotenv

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from src.utils.secrets.changes import Change


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
        for name, change in changes.items():
            self._check(name, change)
        wanted = {name: change.value for name, change in changes.items()}
        with locked(self.path):
            require_unchanged(self.path, expected_revision, self._revision())
            write_dotenv(self.path, wanted)
        stored = load_if_any(self)
        require_stored(wanted, stored.values, self.path, hint=program("less", self.path, purpose="Look at it"))
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
