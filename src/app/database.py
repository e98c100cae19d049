"""A few connections to PostgreSQL that all requests share, and that survive a changed password."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from src.utils.secrets import SecretsError
from src.utils.secrets.command import make, spell

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from src.utils.secrets import SecretsManager

    from .settings import AppSettings

_LOG = logging.getLogger(__name__)

MOST_CONNECTIONS = 4
MOST_WAITING = 256
ANSWER_SECONDS = 5
CONNECT_TIMEOUT_SECONDS = 5
REQUIRED_AUTHENTICATION = "scram-sha-256"
"""What else a server asks for, a false one may ask for: the password as it is, or a hash of it that others can use.

https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-REQUIRE-AUTH
"""
_POOL_SECONDS = 3.0
_RECONNECT_SECONDS = 1.0  # how long the pool tries by itself; the next request tries again
_LIFETIME_SECONDS = 600.0
_REFUSED_LOGIN = "password authentication failed"
WANTS_OTHERWISE = "authentication method requirement"

ASKS_OTHERWISE = (
    "PostgreSQL does not ask for a proof by SCRAM, so it gets no password. If it is your database and no false one, "
    "let its pg_hba.conf demand scram-sha-256, and set the role's password again"
)

Connection = psycopg.AsyncConnection[tuple[Any, ...]]


class DatabaseError(Exception):
    """The database cannot be used. The text says why, and what to do; it holds no secret."""


class Database:
    """Connections for requests, from a pool, and fresh ones for looking whether it can be reached.

    Args:
        manager: Gives ``DATABASE_PASSWORD`` and its earlier values.
        settings: Where the database is.
    """

    def __init__(self, manager: SecretsManager, settings: AppSettings) -> None:
        self._manager = manager
        self._settings = settings
        self._pool: AsyncConnectionPool[Connection] | None = None
        self._failure = ""
        self._has_warned = False
        # What it says is said here, once, with what to do about it.
        logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection of the pool, in a transaction.

        Raises:
            DatabaseError: There is none, or a statement fails.
        """
        pool = await self._open_pool()
        try:
            async with pool.connection() as connection:
                yield connection
        except (PoolTimeout, PoolClosed):
            raise DatabaseError(self._failure or "PostgreSQL gives no connection in time") from None
        except TooManyRequests:
            raise DatabaseError("Too many requests wait for PostgreSQL") from None
        except psycopg.Error as error:
            raise DatabaseError(f"PostgreSQL answers: {_first_line(error)}") from None

    @asynccontextmanager
    async def fresh_connection(self) -> AsyncIterator[Connection]:
        """A new connection: shows whether the password is accepted now.

        Raises:
            DatabaseError: It is not, or a statement fails.
        """
        connection = await self._connect()
        try:
            async with connection:
                yield connection
        except psycopg.Error as error:
            raise DatabaseError(f"PostgreSQL answers: {_first_line(error)}") from None

    async def close(self) -> None:
        """Close what the pool has."""
        if self._pool is not None:
            await self._pool.close()

    async def _open_pool(self) -> AsyncConnectionPool[Connection]:
        """Opened when it is first needed: it belongs to the running event loop."""
        if self._pool is None:
            self._pool = AsyncConnectionPool(
                connection_class=_PoolConnection,
                kwargs={"connect": self._connect_for_pool},
                min_size=0,
                max_size=MOST_CONNECTIONS,
                max_waiting=MOST_WAITING,
                timeout=_POOL_SECONDS,
                max_lifetime=_LIFETIME_SECONDS,
                reconnect_timeout=_RECONNECT_SECONDS,
                check=AsyncConnectionPool.check_connection,
                open=False,
            )
            await self._pool.open()
        return self._pool

    async def _connect_for_pool(self) -> Connection:
        try:
            connection = await self._connect()
        except (DatabaseError, SecretsError) as error:
            self._failure = str(error)
            raise
        self._failure = ""
        return connection

    async def _connect(self) -> Connection:
        """While a password is being rotated, the database may still have the earlier one."""
        settings = self._settings
        self._manager.require_secret("DATABASE_PASSWORD")
        refusal = ""
        for password in self._manager.versions("DATABASE_PASSWORD"):
            try:
                connection = await psycopg.AsyncConnection.connect(
                    host=settings.database_host,
                    port=settings.database_port,
                    dbname=settings.database_name,
                    user=settings.database_user,
                    password=password,
                    require_auth=REQUIRED_AUTHENTICATION,
                    connect_timeout=CONNECT_TIMEOUT_SECONDS,
                    tcp_user_timeout=ANSWER_SECONDS * 1000,
                    options=f"-c statement_timeout={ANSWER_SECONDS * 1000}",
                    application_name="cctv-face-detection",
                )
            except psycopg.OperationalError as error:
                refusal = refusal or explain_connection_error(error, settings)
                if _REFUSED_LOGIN not in str(error):
                    break
            else:
                self._warn_of_earlier_password(refusal)
                return connection
        raise DatabaseError(refusal)

    def _warn_of_earlier_password(self, refusal: str) -> None:
        if refusal and not self._has_warned:
            _LOG.warning("An earlier DATABASE_PASSWORD works, for as long as the store keeps it: %s", refusal)
        self._has_warned = bool(refusal)


class _PoolConnection(psycopg.AsyncConnection[tuple[Any, ...]]):
    """The pool asks its class for connections; this one knows more than one password."""

    @classmethod
    async def connect(cls, conninfo: str = "", **kwargs: Any) -> Any:  # noqa: ARG003
        return await kwargs["connect"]()


def explain_connection_error(error: psycopg.OperationalError, settings: AppSettings) -> str:
    """Why PostgreSQL cannot be reached, and what to do about it."""
    where = f"{settings.database_host}:{settings.database_port}"
    if _REFUSED_LOGIN in str(error):
        return (
            f"PostgreSQL at {where} refuses DATABASE_PASSWORD for the role {settings.database_user}. A database that "
            "exists keeps the password it was first made with. To give it the password from the store, without losing "
            f"data: {spell(make('database-password'))} (see docs/database-password.md)"
        )
    if WANTS_OTHERWISE in str(error):
        return f"{ASKS_OTHERWISE}: {where}, {settings.database_user}"
    return f"PostgreSQL at {where} cannot be reached: {_first_line(error)}"


def _first_line(error: psycopg.Error) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
