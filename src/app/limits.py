"""How often somebody may try to log in: counted before a password is looked at, in Redis where there is one."""

from __future__ import annotations

import hashlib
import logging
import time
from typing import TYPE_CHECKING, Any

from limits import RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter as RedisWindow
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter as MemoryWindow

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import redis.asyncio

    from .cache import Answer, Cache

_LOG = logging.getLogger(__name__)

WINDOW_SECONDS = 300
MOST_GUESSES = 10
MOST_GUESSES_WITHOUT_REDIS = 5
GUESSES_WITHOUT_DELAY = 10
LONGEST_DELAY_SECONDS = 5.0
_FIRST_DELAY_SECONDS = 0.25
_LARGEST_EXPONENT = 10
_MOST_KEYS = 10_000
# More would wait so long for each other that Redis seemed to be away.
MOST_QUESTIONS = 64
_SECONDS_BETWEEN_WARNINGS = 60.0

_GUESSES = RateLimitItemPerSecond(MOST_GUESSES, WINDOW_SECONDS)


class LoginLimiter:
    """Limits guesses for a name from one network; for a name from anywhere it only makes them slower.

    Redis counts for all processes. This process counts, too, so that nobody starts from zero when Redis goes away.

    Args:
        cache: Redis, or none. While it should be there and is not, the limit here is stricter: the others' counts
            are not known.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._windows = MemoryStorage()
        # Apart from the guesses: names cost nothing, and as many as anybody likes may be counted here.
        self._delays = MemoryStorage()
        self._in_memory = MemoryWindow(self._windows)
        self._questions = 0
        self._warned_at = -_SECONDS_BETWEEN_WARNINGS
        if cache.client is not None:
            self._redis = RedisStorage(
                "redis://", implementation="redispy", key_prefix="login", **_sharing(cache.client)
            )
            self._in_redis = RedisWindow(self._redis)

    async def has_guesses_left(self, username: str, network: str) -> bool:
        """Whether a guess for ``username`` from ``network`` may be looked at. Counts nothing."""
        key = _key(username, network)
        has_some = await self._ask(lambda _: self._in_redis.test(_GUESSES, key))
        return has_some is not False and self._guesses_in_memory(key) < self._most(has_some)

    async def admits(self, username: str, network: str) -> bool:
        """Count a guess for ``username`` from ``network``, and say whether it may be looked at."""
        key = _key(username, network)
        admits = await self._ask(lambda _: self._in_redis.hit(_GUESSES, key))
        if admits is False or self._guesses_in_memory(key) >= self._most(admits):
            return False
        # The library keeps the key of each window that has passed.
        if len(self._windows.events) >= _MOST_KEYS:
            self._windows.reset()
        return self._in_memory.hit(_GUESSES, key)

    async def delay(self, username: str) -> float:
        """Count a guess for ``username`` from anywhere. Returns how many seconds it has to wait."""
        key = _key(username)
        in_memory = self._add_in_memory(key, 1)
        in_redis = await self._ask(lambda _: self._redis.incr(key, WINDOW_SECONDS, 1))
        count = in_memory if in_redis is None else in_redis
        if count <= GUESSES_WITHOUT_DELAY:
            return 0.0
        exponent = min(count - GUESSES_WITHOUT_DELAY - 1, _LARGEST_EXPONENT)
        return float(min(_FIRST_DELAY_SECONDS * 2**exponent, LONGEST_DELAY_SECONDS))

    async def note_success(self, username: str, network: str) -> None:
        """It was no guess: take it back."""
        name, key = _key(username), _key(username, network)
        self._add_in_memory(name, -1)
        self._in_memory.clear(_GUESSES, key)
        await self._cache.ask(lambda _: self._redis.incr(name, WINDOW_SECONDS, -1))
        await self._cache.ask(lambda _: self._in_redis.clear(_GUESSES, key))

    def _most(self, in_redis: bool | None) -> int:
        """How many guesses this process lets through: fewer while it does not know those of others."""
        return MOST_GUESSES_WITHOUT_REDIS if in_redis is None and self._cache.client is not None else MOST_GUESSES

    def _guesses_in_memory(self, key: str) -> int:
        return MOST_GUESSES - self._in_memory.get_window_stats(_GUESSES, key).remaining

    def _add_in_memory(self, key: str, amount: int) -> int:
        if len(self._delays.storage) >= _MOST_KEYS:
            self._delays.reset()
        return self._delays.incr(key, WINDOW_SECONDS, amount)

    async def _ask(self, question: Callable[[redis.asyncio.Redis], Awaitable[Answer]]) -> Answer | None:
        """What Redis answers about a guess; ``None`` also while it has more of these questions than it can answer."""
        if self._questions >= MOST_QUESTIONS:
            self._warn_of_crowd()
            return None
        self._questions += 1
        try:
            return await self._cache.ask(question)
        finally:
            self._questions -= 1

    def _warn_of_crowd(self) -> None:
        if time.monotonic() - self._warned_at >= _SECONDS_BETWEEN_WARNINGS:
            self._warned_at = time.monotonic()
            _LOG.warning("More logins at once than Redis can count: some are limited in this process alone")


def _sharing(client: redis.asyncio.Redis) -> dict[str, Any]:
    """The library has an option for the connections of a client that exists, which its types do not know."""
    return {"connection_pool": client.connection_pool}


def _key(*parts: str) -> str:
    # Hashed, because people type passwords into the wrong field. The length keeps "a", "bc" from being "ab", "c".
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
