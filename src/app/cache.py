"""Redis: counts logins and remembers webhooks. Everything works without it, with limits of this process alone."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, TypeVar

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError, RedisError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from src.utils.secrets import SecretsManager

    from .settings import AppSettings

TIMEOUT_SECONDS = 5.0
# A busy event loop may need a second for what Redis answers at once.
QUICK_SECONDS = 3.0
SECONDS_BETWEEN_TRIES = 2.0
MOST_CONNECTIONS = 8

_LOG = logging.getLogger("cctv")
Answer = TypeVar("Answer")


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
    pool = redis.asyncio.BlockingConnectionPool(
        host=settings.redis_host,
        port=settings.redis_port,
        credential_provider=_CurrentPassword(manager),
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS,
        max_connections=MOST_CONNECTIONS,
        timeout=TIMEOUT_SECONDS,
        # The library's own default waits for seconds between tries; a request cannot. One more try, at once, is for a
        # connection that Redis has closed meanwhile.
        retry=Retry(NoBackoff(), 1),
    )
    return redis.asyncio.Redis.from_pool(pool)


async def check_redis(client: redis.asyncio.Redis) -> None:
    """Raise :class:`CacheError` when Redis does not answer, or refuses the password."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await client.ping()
    except AuthenticationError:
        raise CacheError("Redis refuses REDIS_PASSWORD; restart it so that it reads the present one") from None
    except TimeoutError:
        raise CacheError(f"Redis does not answer within {TIMEOUT_SECONDS:.0f} seconds") from None
    except (RedisError, OSError) as error:
        raise CacheError(f"Redis cannot be reached: {type(error).__name__}") from None


class Cache:
    """Asks Redis for things that this process can also do alone, and says so in the log while it has to.

    Args:
        client: Redis; ``None`` where there is none.
    """

    def __init__(self, client: redis.asyncio.Redis | None) -> None:
        self.client = client
        self._is_away = False
        self._try_again_at = 0.0

    async def ask(self, question: Callable[[redis.asyncio.Redis], Awaitable[Answer]]) -> Answer | None:
        """What Redis answers; ``None`` if it does not, in time, or is known to be away just now, or there is none.

        Args:
            question: Asks the client.
        """
        if self.client is None or time.monotonic() < self._try_again_at:
            return None
        try:
            async with asyncio.timeout(QUICK_SECONDS):
                answer = await question(self.client)
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            self._try_again_at = time.monotonic() + SECONDS_BETWEEN_TRIES
            if not self._is_away:
                _LOG.error("Redis does not answer (%s): logins are limited in this process alone", type(error).__name__)
            self._is_away = True
            return None
        if self._is_away:
            _LOG.info("Redis answers again: logins are limited there")
        self._is_away = False
        return answer
