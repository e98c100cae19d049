"""Failed logins are counted, in Redis where there is one, else in this process."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError, RedisError

if TYPE_CHECKING:
    from src.utils.secrets import SecretsManager

    from .settings import AppSettings

MOST_FAILURES = 10
WINDOW_SECONDS = 300
TIMEOUT_SECONDS = 5.0
_MOST_KEYS = 10_000


class CacheError(Exception):
    """Redis cannot be used. The text says why; it holds no secret."""


class _CurrentPassword(CredentialProvider):
    """Asked at every new connection, so that a changed password counts at once."""

    def __init__(self, manager: SecretsManager) -> None:
        self._manager = manager

    def get_credentials(self) -> tuple[str]:
        return (self._manager.require_secret("REDIS_PASSWORD"),)

    async def get_credentials_async(self) -> tuple[str]:
        return self.get_credentials()


def open_redis(manager: SecretsManager, settings: AppSettings) -> redis.asyncio.Redis | None:
    """A client for the Redis of these settings, if they name one. Connects when it is first used."""
    if settings.redis_host is None:
        return None
    return redis.asyncio.Redis(
        host=settings.redis_host,
        port=settings.redis_port,
        credential_provider=_CurrentPassword(manager),
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS,
        # The library's own default waits for seconds between tries; a request cannot. One more try, at once, is for a
        # connection that Redis has closed meanwhile.
        retry=Retry(NoBackoff(), 1),
    )


async def check_redis(client: redis.asyncio.Redis) -> None:
    """Raise :class:`CacheError` when Redis does not answer, or refuses the password."""
    try:
        await client.ping()
    except AuthenticationError:
        raise CacheError("Redis refuses REDIS_PASSWORD; restart it so that it reads the present one") from None
    except (RedisError, OSError) as error:
        raise CacheError(f"Redis cannot be reached: {type(error).__name__}") from None


class LoginLimiter:
    """Refuses further logins for one name from one address after too many failures.

    Args:
        client: Redis, shared by all processes; ``None`` counts in this process.
    """

    def __init__(self, client: redis.asyncio.Redis | None) -> None:
        self._client = client
        self._counts: dict[str, tuple[int, float]] = {}

    async def is_blocked(self, username: str, address: str) -> bool:
        """Whether this login has to wait."""
        key = _key(username, address)
        if self._client is not None:
            try:
                return int(await self._client.get(key) or 0) >= MOST_FAILURES
            except (RedisError, OSError):
                pass  # counted here as long as Redis is away
        count, until = self._counts.get(key, (0, 0.0))
        return count >= MOST_FAILURES and time.monotonic() < until

    async def note_failure(self, username: str, address: str) -> None:
        """Count one failed login."""
        key = _key(username, address)
        if self._client is not None:
            try:
                async with self._client.pipeline(transaction=True) as pipeline:
                    pipeline.incr(key)
                    pipeline.expire(key, WINDOW_SECONDS)
                    await pipeline.execute()
            except (RedisError, OSError):
                pass
            else:
                return
        now = time.monotonic()
        count, until = self._counts.get(key, (0, 0.0))
        if len(self._counts) >= _MOST_KEYS:
            self._counts = {name: entry for name, entry in self._counts.items() if now < entry[1]}
        self._counts[key] = (count + 1 if now < until else 1, now + WINDOW_SECONDS)


def _key(username: str, address: str) -> str:
    # Hashed, because people type passwords into the wrong field.
    return "login-failures:" + hashlib.sha256(f"{address}\0{username}".encode()).hexdigest()
