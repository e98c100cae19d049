"""One process's view of one store: a snapshot, refreshed when it is older than ``SECRETS_CACHE_TTL``."""

from __future__ import annotations

import threading
from time import monotonic

from .errors import ConfigurationError, InvalidSecretError, SecretNotFoundError, SecretsError
from .settings import SecretsBackend, Settings
from .snapshot import Snapshot, utc_now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, overload

    from .backends.base import Backend
else:

    def overload(function: object) -> object:
        return function


LONGEST_RETRY_SECONDS = 60.0


class SecretsManager:
    """Reads secrets from one store.

    The first read loads the store and raises when that fails. Once a load has worked, a store that fails later leaves
    the last good values in use, with one warning, and is tried again after 1, 2, 4, ... up to 60 seconds.

    Args:
        backend: The store; ``SECRETS_BACKEND`` when left out.
        settings: Where it is; read from the environment when left out.
    """

    def __init__(self, backend: SecretsBackend | None = None, *, settings: Settings | None = None) -> None:
        self._settings = settings or Settings(backend=backend)
        self._store: Backend | None = None
        self._snapshot: Snapshot | None = None
        self._fresh_until = 0.0
        self._failures = 0
        self._refresh_error: SecretsError | None = None
        self._lock = threading.Lock()

    @overload
    def get_secret(self, name: str) -> str | None: ...
    @overload
    def get_secret(self, name: str, default: str) -> str: ...
    @overload
    def get_secret(self, name: str, default: None) -> str | None: ...
    def get_secret(self, name: str, default: str | None = None) -> str | None:
        """The value of ``name``, or ``default`` when the store has none.

        Raises:
            SecretsError: The store cannot be read. It never turns into ``default``.
        """
        # An empty value means "not set" everywhere: nothing is ever signed with it.
        return self._current().values.get(name) or default

    def require_secret(self, name: str) -> str:
        """The value of ``name``.

        Raises:
            SecretNotFoundError: The store has none.
        """
        value = self.get_secret(name)
        if value is None:
            raise SecretNotFoundError(f"{name} is not in {self.describe()}", hint=self._missing_hint(name))
        return value

    def get_secret_json(self, name: str) -> Any:
        """The value of ``name``, parsed as JSON; ``None`` when the store has none.

        Raises:
            InvalidSecretError: It is not JSON.
        """
        value = self.get_secret(name)
        if value is None:
            return None
        import json

        try:
            return json.loads(value)
        except json.JSONDecodeError as error:
            place = f"line {error.lineno}, column {error.colno}"
        except RecursionError:
            place = "nested too deeply"
        raise InvalidSecretError(f"{name} is not valid JSON ({place})", hint=f"Set {name} again")

    def validate_required_secrets(self, names: Iterable[str]) -> bool:
        """Whether the store has all of ``names``; logs those it has not."""
        missing = [name for name in names if self.get_secret(name) is None]
        if not missing:
            return True
        import logging

        logging.getLogger(__name__).error("Required secrets are not set: %s", ", ".join(missing))
        return False

    def versions(self, name: str) -> list[str]:
        """The current value of ``name`` first, then its earlier values that are still accepted."""
        return self._current().versions(name, utc_now())

    def refresh(self) -> None:
        """Read the store again now.

        Raises:
            SecretsError: It cannot be read. The last good values stay in use.
        """
        with self._lock:
            self._load()

    def describe(self) -> str:
        """Where the secrets come from, for people."""
        return self._open_store().describe()

    @property
    def refresh_error(self) -> SecretsError | None:
        """Why the store could not be read the last time, so that older values are in use; ``None`` when it could."""
        return self._refresh_error

    @property
    def backend(self) -> SecretsBackend:
        """The kind of store."""
        return self._settings.backend

    def __repr__(self) -> str:
        return f"<SecretsManager of {self._settings.backend.value}>"

    def __reduce__(self) -> str:
        raise TypeError("a SecretsManager holds secrets and is not pickled or copied")

    def _current(self) -> Snapshot:
        snapshot = self._snapshot
        if snapshot is not None and monotonic() < self._fresh_until:
            return snapshot
        # While one thread refreshes, the others go on with what there is; a first load is waited for, and so is
        # every read when nothing may be cached.
        wait = snapshot is None or self._settings.cache_ttl == 0
        if not self._lock.acquire(blocking=wait):
            assert snapshot is not None
            return snapshot
        try:
            if self._snapshot is not None and monotonic() < self._fresh_until:
                return self._snapshot
            return self._load_or_keep()
        finally:
            self._lock.release()

    def _load_or_keep(self) -> Snapshot:
        try:
            return self._load()
        except SecretsError as error:
            if self._snapshot is None:
                raise
            self._note_failure(error)
            return self._snapshot

    def _load(self) -> Snapshot:
        store = self._open_store()
        snapshot = store.load()
        if self._failures:
            import logging

            logging.getLogger(__name__).warning("Secrets are read again from %s", store.describe())
        self._failures = 0
        self._refresh_error = None
        self._snapshot = snapshot
        self._fresh_until = float("inf") if store.live else monotonic() + self._settings.cache_ttl
        if not store.live:
            from . import redaction

            redaction.protect(snapshot)
        return snapshot

    def _note_failure(self, error: SecretsError) -> None:
        if not self._failures:
            import logging

            logging.getLogger(__name__).warning("Secrets cannot be refreshed, the last good ones stay: %s", error)
        self._refresh_error = error
        self._fresh_until = monotonic() + min(2.0**self._failures, LONGEST_RETRY_SECONDS)
        self._failures += 1

    def _open_store(self) -> Backend:
        if self._store is None:
            self._store = open_backend(self._settings)
        return self._store

    def _missing_hint(self, name: str) -> str:
        if self._settings.backend is SecretsBackend.ENV:
            return f"Set {name}, or {name}_FILE to the path of a file that holds it, or run `make secrets`"
        return "Run `make secrets`: it keeps what is there and asks for what is missing"


def open_backend(settings: Settings) -> Backend:
    """The store that the settings choose. Imports that store's file and no other.

    Raises:
        ConfigurationError: A setting that it needs is missing or wrong, or its package is not installed.
    """
    import importlib

    try:
        module = importlib.import_module(f"{__package__}.backends.{settings.backend.value}")
        store: Backend = module.open_backend(settings)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{settings.backend.title} needs the Python package {error.name!r}, which is not installed",
            hint="Install what this store needs: make install",
        ) from None
    return store


_manager: SecretsManager | None = None
_manager_lock = threading.Lock()


def get_secrets_manager() -> SecretsManager:
    """The process's one manager, for the store that ``SECRETS_BACKEND`` names."""
    global _manager
    if _manager is None:
        with _manager_lock:
            if _manager is None:
                _manager = SecretsManager()
    return _manager


@overload
def get_secret(name: str) -> str | None: ...
@overload
def get_secret(name: str, default: str) -> str: ...
@overload
def get_secret(name: str, default: None) -> str | None: ...
def get_secret(name: str, default: str | None = None) -> str | None:
    """The value of ``name`` in the process's store, or ``default``. See :meth:`SecretsManager.get_secret`."""
    return get_secrets_manager().get_secret(name, default)


def require_secret(name: str) -> str:
    """The value of ``name`` in the process's store. See :meth:`SecretsManager.require_secret`."""
    return get_secrets_manager().require_secret(name)
