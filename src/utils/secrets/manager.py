"""One process's view of one store: an immutable snapshot, kept fresh by a thread of its own.

Reading is a plain lookup in the last good snapshot: no lock, no system call, no clock. The thread reads the store
again every ``SECRETS_CACHE_TTL`` seconds and puts a new snapshot in place of the old one. With a time of 0 there is no
thread, and every read reads the store.
"""

from __future__ import annotations

import os
import threading
from time import monotonic
from weakref import WeakSet, ref

from .errors import (
    ConfigurationError,
    DecryptionError,
    InvalidSecretError,
    SecretNotFoundError,
    SecretsError,
    StoreError,
    StoreUnavailableError,
)
from .settings import SecretsBackend, Settings
from .snapshot import SecretMetadata, Snapshot, utc_now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, overload
    from weakref import ReferenceType

    from .backends.base import Backend
    from .command import Hint
else:

    def overload(function: object) -> object:
        return function


LONGEST_RETRY_SECONDS = 60.0
PATIENCE_SECONDS = 1.0
"""How long a read waits for a load that runs, when the values in use are older than they may be."""


class Health:
    """How a manager is doing.

    Attributes:
        age: Seconds since the store was last read; ``None`` before the first time.
        error: Name of the class of the error that the last attempt ended with; ``None`` when it worked.
        next_try: Seconds until the store is read again; ``None`` when nothing is planned.
    """

    __slots__ = ("age", "error", "next_try")

    def __init__(self, age: float | None, error: str | None, next_try: float | None) -> None:
        self.age = age
        self.error = error
        self.next_try = next_try

    def __repr__(self) -> str:
        return f"<Health age={self.age} error={self.error} next_try={self.next_try}>"


class SecretsManager:
    """Reads secrets from one store.

    The first read loads the store and raises when that fails. Once a load has worked, a store that fails later leaves
    the last good values in use, with one warning, and is tried again after about 1, 2, 4, ... up to 60 seconds;
    ``SECRETS_MAX_STALE`` is how many seconds old they may get before reading raises; so that there is time to read the
    store, that begins at the latest after half of these. While it runs, too, the clock alone says how old they are.

    Args:
        backend: The store; ``SECRETS_BACKEND`` when left out.
        settings: Where it is; read from the environment when left out.
    """

    def __init__(self, backend: SecretsBackend | None = None, *, settings: Settings | None = None) -> None:
        self._wake = threading.Event()
        self._settings = settings or Settings(backend=backend)
        self._store: Backend | None = None
        self._snapshot: Snapshot | None = None
        self._loaded_at = 0.0
        self._next_try = 0.0
        self._attempts = 0
        self._failures = 0
        self._refresh_error: SecretsError | None = None
        self._callbacks: list[Callable[[frozenset[str]], object]] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loading_thread = 0
        # What a read calls. Once there is a snapshot, the lookup in it.
        self._get: Callable[[str], str | None] = self._get_slowly
        _managers.add(self)

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
        return self._get(name) or default

    def require_secret(self, name: str) -> str:
        """The value of ``name``.

        Raises:
            SecretNotFoundError: The store has none.
        """
        value = self.get_secret(name)
        if value is None:
            raise SecretNotFoundError(
                f"{name} is not in {self.describe()}", hint=self._missing_hint(name), names=[name]
            )
        return value

    def get_secret_json(self, name: str, default: Any = None) -> Any:
        """The value of ``name``, parsed as JSON; ``default`` when the store has none.

        Raises:
            InvalidSecretError: It is not JSON. It never turns into ``default``.
        """
        value = self.get_secret(name)
        if value is None:
            return default
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

    def metadata(self, name: str) -> SecretMetadata:
        """When ``name`` last changed, and its earlier values: what the store knows of that.

        Raises:
            SecretsError: The store cannot be read, or what it keeps about ``name`` is damaged.
        """
        return self._current().metadata.get(name) or SecretMetadata()

    def snapshot_values(self, is_wanted: Callable[[str], bool]) -> dict[str, str]:
        """The secrets of one moment, for code that wants several.

        Args:
            is_wanted: Whether it wants the secret of this name. Of the environment, only what is wanted is read.
        """
        values = self._current().values
        return {name: value for name in values if is_wanted(name) and (value := values.get(name))}

    def refresh(self) -> None:
        """Read the store again now.

        Raises:
            SecretsError: It cannot be read. The last good values stay in use.
        """
        with self._lock:
            outcome = self._load()
        self._wake.set()  # the time of the next try is another one now
        self._tell(outcome)
        if outcome.error is not None:
            raise outcome.error.again()
        self._keep_fresh()

    async def aload(self) -> None:
        """Load the store without blocking the event loop. Afterwards no read blocks it.

        Raises:
            SecretsError: It cannot be read.
        """
        import asyncio

        await asyncio.to_thread(self._current)

    def on_change(self, callback: Callable[[frozenset[str]], object]) -> Callable[[], None]:
        """Have ``callback`` called with the names of the secrets whose values a refresh has changed.

        It is called in the thread that refreshed. The environment is live, and changes there are not reported.

        Returns:
            Call it to end that.
        """
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    def health(self) -> Health:
        """The age of the values in use, what is wrong with the store, and when it is tried again."""
        if self._snapshot is None:
            return Health(None, _class_name(self._refresh_error), None)
        now = monotonic()
        planned = None if self._is_live or not self._settings.cache_ttl else max(0.0, self._next_try - now)
        error = _class_name(self._refresh_error)
        if error is None and self._is_too_old():
            error = StoreUnavailableError.__name__  # it has been asked, and has not answered yet
        return Health(0.0 if self._is_live else now - self._loaded_at, error, planned)

    def describe(self) -> str:
        """Where the secrets come from, human-readable."""
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

    def __del__(self) -> None:
        self._wake.set()  # the thread is to end, too

    def __reduce__(self) -> str:
        raise TypeError("a SecretsManager holds secrets and is not pickled or copied")

    def _get_slowly(self, name: str) -> str | None:
        return self._current().values.get(name)

    def _current(self) -> Snapshot:
        """The snapshot to use. Loads it only when there is none, when none may be kept, or when it is too old."""
        snapshot = self._snapshot
        if snapshot is None or not self._may_be_kept:
            snapshot = self._load_now()
        self._keep_fresh()
        return snapshot

    def _load_now(self) -> Snapshot:
        attempts = self._attempts
        if self._loading_thread == threading.get_ident():
            raise StoreError(
                "A secret was asked for while this very thread loads them",
                hint="Read secrets before a logging handler needs them, not in it",
            )
        is_waiting_for_another = self._snapshot is not None and self._is_too_old()
        if not self._lock.acquire(timeout=PATIENCE_SECONDS if is_waiting_for_another else -1):
            raise self._no_answer()
        try:
            if self._snapshot is not None and self._may_be_kept:
                return self._snapshot  # another thread has loaded it meanwhile
            # A thread that waited while another one failed to make the first load shares that.
            shares_failure = self._snapshot is None and self._attempts != attempts
            is_too_early = self._failures > 0 and monotonic() < self._next_try
            outcome = _Outcome(self._refresh_error) if shares_failure or is_too_early else self._load()
            snapshot = self._snapshot
        finally:
            self._lock.release()
        self._tell(outcome)
        if outcome.error is not None and (snapshot is None or self._is_too_old()):
            raise outcome.error.again()
        assert snapshot is not None
        return snapshot

    def _refresh_if_due(self) -> None:
        """What the thread does each time that it wakes."""
        with self._lock:
            if monotonic() < self._next_try:
                return
            outcome = self._load()
        self._tell(outcome)

    def _load(self) -> _Outcome:
        """Read the store, with the lock held. Nothing is logged here: a handler might read a secret."""
        before, was_failing = self._snapshot, self._failures > 0
        self._loading_thread = threading.get_ident()
        timer = self._watch_age()
        try:
            snapshot = self._open_store().load()
        except SecretsError as error:
            return self._note_failure(error)
        except Exception as error:  # noqa: BLE001 - the thread must not end; its text may hold a value
            return self._note_failure(
                StoreError(f"The store failed with {type(error).__name__}", hint="Report this bug")
            )
        finally:
            self._loading_thread = 0
            self._attempts += 1
            if timer is not None:
                timer.cancel()
        self._failures, self._refresh_error = 0, None
        self._loaded_at = monotonic()
        self._next_try = self._loaded_at + self._seconds_between_loads
        self._snapshot = snapshot
        if self._thread is not None or self._is_live:
            self._get = snapshot.values.get
        if snapshot is before or self._is_live:
            return _Outcome(recovered=was_failing)
        from . import redaction

        redaction.protect(snapshot)
        return _Outcome(recovered=was_failing and before is not None, changed=_changed_names(before, snapshot))

    def _watch_age(self) -> threading.Timer | None:
        """While a load runs, have the values in use end at their time: reads are plain lookups, and know no clock."""
        max_stale = self._settings.max_stale
        if max_stale is None or self._snapshot is None or self._is_live:
            return None
        timer = threading.Timer(max(0.0, self._loaded_at + max_stale - monotonic()), self._stop_if_too_old)
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError:
            return None  # no thread to be had now: the end of the load is soon enough
        return timer

    def _stop_if_too_old(self) -> None:
        if self._is_too_old():
            self._get = self._get_slowly

    def _no_answer(self) -> StoreUnavailableError:
        return StoreUnavailableError(
            f"{self._settings.backend.title} has not answered yet, and the last good values are older than "
            "SECRETS_MAX_STALE allows",
            hint="Check the network and the server",
        )

    def _note_failure(self, error: SecretsError) -> _Outcome:
        is_first = self._failures == 0
        if isinstance(error, DecryptionError):
            self._store = None  # the master key may be another one by now
        self._refresh_error = error
        if self._snapshot is None:
            return _Outcome(error)
        # Between half and all of the time, so that many processes do not come back at the same moment.
        pause = min(2.0**self._failures, LONGEST_RETRY_SECONDS) * (0.5 + os.urandom(1)[0] / 510)
        self._failures = min(self._failures + 1, 16)
        self._next_try = monotonic() + pause
        if self._settings.max_stale is not None:
            self._next_try = min(self._next_try, max(monotonic(), self._loaded_at + self._settings.max_stale) + 0.01)
        if self._is_too_old():
            self._get = self._get_slowly
        return _Outcome(error, is_first_failure=is_first)

    def _tell(self, outcome: _Outcome) -> None:
        """Log and call back what came of a load, without the lock."""
        if outcome.is_first_failure:
            import logging

            logging.getLogger(__name__).warning(
                "Secrets cannot be refreshed, the last good ones stay: %s", outcome.error
            )
        if outcome.recovered:
            import logging

            logging.getLogger(__name__).warning("Secrets are read again from %s", self.describe())
        for callback in tuple(self._callbacks) if outcome.changed else ():
            try:
                callback(outcome.changed)
            except Exception as error:  # noqa: BLE001 - somebody else's code; its text may hold a value
                import logging

                logging.getLogger(__name__).error("A callback of on_change failed with %s", type(error).__name__)

    def _keep_fresh(self) -> None:
        """Start the thread that refreshes, where one is needed; from then on reads are plain lookups."""
        snapshot = self._snapshot
        if self._thread is not None or snapshot is None or self._is_live or not self._settings.cache_ttl:
            return
        with self._lock:
            if self._thread is not None:
                return
            wake = self._wake
            thread = threading.Thread(target=_refresh_for_ever, args=(ref(self), wake), name="secrets", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return  # no thread to be had now: the next read tries again
            self._thread = thread
            if not self._is_too_old():
                self._get = self._snapshot.values.get if self._snapshot else self._get_slowly

    @property
    def _seconds_between_loads(self) -> float:
        ttl, max_stale = self._settings.cache_ttl, self._settings.max_stale
        return ttl if max_stale is None else min(ttl, max(max_stale / 2, 1.0))

    def _seconds_to_next_try(self) -> float:
        return max(0.0, self._next_try - monotonic())

    @property
    def _may_be_kept(self) -> bool:
        return bool(self._settings.cache_ttl or self._is_live) and not self._is_too_old()

    def _is_too_old(self) -> bool:
        max_stale = self._settings.max_stale
        if max_stale is None or not (self._failures or self._loading_thread):
            return False
        return monotonic() - self._loaded_at >= max_stale

    @property
    def _is_live(self) -> bool:
        return self._store is not None and self._store.live

    def _after_fork(self) -> None:
        """In a child process: its locks are its own, the parent's thread and connections are not there."""
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread = None
        self._loading_thread = 0
        if not self._is_live:
            self._store = None
            self._get = self._get_slowly

    def _open_store(self) -> Backend:
        if self._store is None:
            self._store = open_backend(self._settings)
        return self._store

    def _missing_hint(self, name: str) -> list[Hint]:
        from .command import set_up

        if self._settings.backend is SecretsBackend.ENV:
            return [
                f"Set {name}, or {name}_FILE to the path of a file that holds it",
                set_up(purpose="Or make a whole set of secrets"),
            ]
        return [set_up(purpose="Keep what is there and add what is missing")]


def open_backend(settings: Settings) -> Backend:
    """The store that the settings choose. Imports that store's file and no other.

    Raises:
        ConfigurationError: A setting that it needs is missing or wrong, or its package is not installed.
    """
    from importlib import import_module

    name = settings.backend.value
    try:
        module = import_module(f"{__package__}.backends.{name}")
        store: Backend = module.open_backend(settings)
    except ModuleNotFoundError as error:
        from .command import make

        raise ConfigurationError(
            f"{settings.backend.title} needs the Python package {error.name!r}, which is not installed",
            hint=make("install", purpose="Install what this store needs"),
        ) from None
    return store


class _Outcome:
    """What came of one attempt to load."""

    __slots__ = ("changed", "error", "is_first_failure", "recovered")

    def __init__(
        self,
        error: SecretsError | None = None,
        *,
        is_first_failure: bool = False,
        recovered: bool = False,
        changed: frozenset[str] = frozenset(),
    ) -> None:
        self.error = error
        self.is_first_failure = is_first_failure
        self.recovered = recovered
        self.changed = changed


def _refresh_for_ever(reference: ReferenceType[SecretsManager], wake: threading.Event) -> None:
    """The thread of one manager; ends with it."""
    while (manager := reference()) is not None:
        manager._refresh_if_due()  # noqa: SLF001
        pause = manager._seconds_to_next_try()  # noqa: SLF001
        del manager
        if wake.wait(pause):
            wake.clear()


def _changed_names(before: Snapshot | None, after: Snapshot) -> frozenset[str]:
    if before is None:
        return frozenset()
    old, new = dict(before.values), dict(after.values)
    return frozenset(name for name in {*old, *new} if old.get(name) != new.get(name))


def _class_name(error: SecretsError | None) -> str | None:
    return None if error is None else type(error).__name__


class _NotYet:
    """Stands for the process's manager until the first read makes it."""

    @staticmethod
    def _get(name: str) -> str | None:
        return get_secrets_manager()._get(name)  # noqa: SLF001


_managers: WeakSet[SecretsManager] = WeakSet()
_manager: SecretsManager | _NotYet = _NotYet()
_manager_lock = threading.Lock()


def get_secrets_manager() -> SecretsManager:
    """The process's one manager, for the store that ``SECRETS_BACKEND`` names."""
    global _manager
    if isinstance(_manager, _NotYet):
        with _manager_lock:
            if isinstance(_manager, _NotYet):
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
    return _manager._get(name) or default  # noqa: SLF001


def get_secret_json(name: str, default: Any = None) -> Any:
    """The value of ``name``, parsed as JSON, or ``default``. See :meth:`SecretsManager.get_secret_json`."""
    return get_secrets_manager().get_secret_json(name, default)


def require_secret(name: str) -> str:
    """The value of ``name`` in the process's store. See :meth:`SecretsManager.require_secret`."""
    return get_secrets_manager().require_secret(name)


def _after_fork_in_child() -> None:
    global _manager_lock
    _manager_lock = threading.Lock()
    for manager in tuple(_managers):
        manager._after_fork()  # noqa: SLF001


os.register_at_fork(after_in_child=_after_fork_in_child)
