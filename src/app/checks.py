"""What the application depends on, and in what state that is. Names and states, never values."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from src.utils.secrets import SecretsError
from src.utils.secrets.errors import StoreDeletedError, StoreDeniedError, StoreEmptyError

from .cache import CacheError, check_redis
from .canary import WrongKeyError
from .database import DatabaseError
from .examples import describe_faults, find_faults
from .limits import MOST_GUESSES_WITHOUT_REDIS, WINDOW_SECONDS

if TYPE_CHECKING:
    from src.utils.secrets import SecretsManager
    from src.utils.secrets.catalog import Catalog

    from .accounts import Accounts
    from .cache import Cache
    from .readiness import Checks
    from .settings import AppSettings

_STRICTER = f"counted in this process alone, at most {MOST_GUESSES_WITHOUT_REDIS} in {WINDOW_SECONDS // 60} minutes"


class Dependencies:
    """Looks at secrets, database and Redis.

    Args:
        manager: The secrets.
        catalog: Says which of them are required.
        settings: Whether there is a database.
        accounts: Are in it.
        cache: Redis, or none.
    """

    def __init__(
        self, manager: SecretsManager, catalog: Catalog, settings: AppSettings, accounts: Accounts, cache: Cache
    ) -> None:
        self._manager = manager
        self._catalog = catalog
        self._settings = settings
        self._accounts = accounts
        self._cache = cache

    async def look(self) -> Checks:
        """The state of each."""
        (database, encryption), redis = await asyncio.gather(self._database_states(), self._redis_state())
        return {"secrets": self._secrets_state(), "database": database, "encryption": encryption, "redis": redis}

    def _secrets_state(self) -> dict[str, object]:
        try:
            states = {name: self._manager.get_secret(name) is not None for name in self._catalog.names}
        except SecretsError as error:
            return {"state": "unreadable", "reason": str(error)}
        missing = [name for name in self._catalog.required_names if not states[name]]
        names = {name: "set" if is_set else "not set" for name, is_set in states.items()}
        if missing:
            return {"state": "missing", "reason": f"Not set: {', '.join(missing)}", "names": names}
        stale = self._manager.refresh_error
        if isinstance(stale, (StoreDeniedError, StoreDeletedError, StoreEmptyError)):
            # Unlike a store that is only away for a while, somebody has to do something about it.
            return {"state": "stale", "reason": str(stale), "names": names}
        faults = describe_faults(find_faults(self._manager, self._catalog))
        state: dict[str, object] = {"state": "ok", "names": names}
        return state | {"warnings": faults} if faults else state

    async def _database_states(self) -> tuple[dict[str, object], dict[str, object]]:
        """Of the database, and of the key of its encrypted columns."""
        if self._settings.database_host is None:
            return {"state": "not configured"}, {"state": "not configured"}
        try:
            await self._accounts.check()
        except WrongKeyError as error:
            return {"state": "ok"}, {"state": "wrong key", "reason": str(error)}
        except (DatabaseError, SecretsError) as error:
            unknown = {"state": "unknown", "reason": "It is known when the database answers"}
            return {"state": "unavailable", "reason": str(error)}, dict(unknown)
        return {"state": "ok"}, {"state": "ok"}

    async def _redis_state(self) -> dict[str, object]:
        if self._cache.client is None:
            return {"state": "not configured"}
        try:
            await check_redis(self._cache.client)
        except (CacheError, SecretsError) as error:
            return {"state": "unavailable", "reason": str(error), "logins": _STRICTER}
        return {"state": "ok"}
