"""The accounts: in PostgreSQL, or in memory where there is no database (development)."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import psycopg
from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

from src.utils.secrets.command import make, spell

from .tokens import ColumnCipher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from src.utils.secrets import SecretsManager

    from .settings import AppSettings

_LOG = logging.getLogger(__name__)

CONNECT_TIMEOUT_SECONDS = 5
_REFUSED_LOGIN = "password authentication failed"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS accounts (
    username           text PRIMARY KEY,
    password_hash      text NOT NULL,
    from_secrets       boolean NOT NULL DEFAULT false,
    last_login_at      timestamptz,
    last_login_address text
)
"""
_SCHEMA_LOCK = 0x63637476  # "cctv": two processes that start together must not both make the table


@dataclass(frozen=True)
class Account:
    """One account.

    Attributes:
        username: Its name.
        last_login_at: When somebody last logged in.
        last_login_address: From where.
    """

    username: str
    last_login_at: datetime | None
    last_login_address: str | None


class DatabaseError(Exception):
    """The database cannot be used. The text says why, and what to do; it holds no secret."""


class Accounts(Protocol):
    """Where accounts are kept."""

    async def prepare(self) -> None:
        """Make the administrator's account, or update it to ``ADMIN_USERNAME`` and ``ADMIN_PASSWORD``."""

    async def check(self) -> None:
        """Raise :class:`DatabaseError` when accounts cannot be read now."""

    async def verify(self, username: str, password: str) -> bool:
        """Whether this is the password of ``username``. Takes as long for a name that is not there."""

    async def note_login(self, username: str, address: str) -> None:
        """Remember when and from where ``username`` logged in."""

    async def find(self, username: str) -> Account | None:
        """The account of ``username``."""


class PasswordCheck:
    """Argon2id, with the library's parameters (RFC 9106, low-memory profile)."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._nobody = self._hasher.hash("nobody has this password")

    async def hash(self, password: str) -> str:
        """The hash to keep. Off the event loop: it takes tens of milliseconds."""
        return await asyncio.to_thread(self._hasher.hash, password)

    async def matches(self, password_hash: str | None, password: str) -> bool:
        """Whether ``password`` has this hash; for ``None``, after the same time, no."""
        return await asyncio.to_thread(self._matches, password_hash, password)

    def _matches(self, password_hash: str | None, password: str) -> bool:
        try:
            self._hasher.verify(password_hash or self._nobody, password)
        except VerificationError:
            return False
        return password_hash is not None


class MemoryAccounts:
    """The administrator's account only, gone when the process ends."""

    def __init__(self, manager: SecretsManager) -> None:
        self._manager = manager
        self._passwords = PasswordCheck()
        self._hashes: dict[str, str] = {}
        self._logins: dict[str, tuple[datetime, str]] = {}

    async def prepare(self) -> None:
        """See :class:`Accounts`."""
        password_hash = await self._passwords.hash(self._manager.require_secret("ADMIN_PASSWORD"))
        self._hashes = {self._manager.require_secret("ADMIN_USERNAME"): password_hash}

    async def check(self) -> None:
        """There is nothing that could fail."""

    async def verify(self, username: str, password: str) -> bool:
        """See :class:`Accounts`."""
        if not self._hashes:
            await self.prepare()
        return await self._passwords.matches(self._hashes.get(username), password)

    async def note_login(self, username: str, address: str) -> None:
        """See :class:`Accounts`."""
        self._logins[username] = (datetime.now(UTC), address)

    async def find(self, username: str) -> Account | None:
        """See :class:`Accounts`."""
        if username not in self._hashes:
            return None
        return Account(username, *self._logins.get(username, (None, None)))


class DatabaseAccounts:
    """Accounts in PostgreSQL. Each operation has a connection of its own, so a changed password counts at once.

    Args:
        manager: Gives ``DATABASE_PASSWORD`` and the administrator's name and password.
        settings: Where the database is.
    """

    def __init__(self, manager: SecretsManager, settings: AppSettings) -> None:
        self._manager = manager
        self._settings = settings
        self._passwords = PasswordCheck()
        self._addresses = ColumnCipher(manager, "accounts.last_login_address")
        self._has_warned = False

    async def prepare(self) -> None:
        """See :class:`Accounts`."""
        username = self._manager.require_secret("ADMIN_USERNAME")
        password = self._manager.require_secret("ADMIN_PASSWORD")
        async with self._connect() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", [_SCHEMA_LOCK])
            await connection.execute(_SCHEMA)
            await connection.execute("DELETE FROM accounts WHERE from_secrets AND username <> %s", [username])
            found = await (
                await connection.execute("SELECT password_hash FROM accounts WHERE username = %s", [username])
            ).fetchone()
            if found and await self._passwords.matches(found[0], password):
                return
            await connection.execute(
                "INSERT INTO accounts (username, password_hash, from_secrets) VALUES (%s, %s, true) "
                "ON CONFLICT (username) DO UPDATE SET password_hash = excluded.password_hash, from_secrets = true",
                [username, await self._passwords.hash(password)],
            )

    async def check(self) -> None:
        """See :class:`Accounts`."""
        async with self._connect() as connection:
            await connection.execute("SELECT 1 FROM accounts LIMIT 1")

    async def verify(self, username: str, password: str) -> bool:
        """See :class:`Accounts`."""
        async with self._connect() as connection:
            row = await (
                await connection.execute("SELECT password_hash FROM accounts WHERE username = %s", [username])
            ).fetchone()
        return await self._passwords.matches(row[0] if row else None, password)

    async def note_login(self, username: str, address: str) -> None:
        """See :class:`Accounts`."""
        async with self._connect() as connection:
            await connection.execute(
                "UPDATE accounts SET last_login_at = now(), last_login_address = %s WHERE username = %s",
                [self._addresses.encrypt(address), username],
            )

    async def find(self, username: str) -> Account | None:
        """See :class:`Accounts`."""
        async with self._connect() as connection:
            row = await (
                await connection.execute(
                    "SELECT last_login_at, last_login_address FROM accounts WHERE username = %s", [username]
                )
            ).fetchone()
        if row is None:
            return None
        return Account(username, row[0], self._addresses.decrypt(row[1]) if row[1] else None)

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[psycopg.AsyncConnection[tuple[Any, ...]]]:
        connection = await self._open()
        try:
            async with connection:
                yield connection
        except psycopg.Error as error:
            raise DatabaseError(f"PostgreSQL answers: {_first_line(error)}") from None

    async def _open(self) -> psycopg.AsyncConnection[tuple[Any, ...]]:
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
                    connect_timeout=CONNECT_TIMEOUT_SECONDS,
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


def explain_connection_error(error: psycopg.OperationalError, settings: AppSettings) -> str:
    """Why PostgreSQL cannot be reached, and what to do about it."""
    where = f"{settings.database_host}:{settings.database_port}"
    if _REFUSED_LOGIN in str(error):
        return (
            f"PostgreSQL at {where} refuses DATABASE_PASSWORD for the role {settings.database_user}. A database that "
            "exists keeps the password it was first made with. To give it the password from the store, without losing "
            f"data: {spell(make('database-password'))} (see docs/database-password.md)"
        )
    return f"PostgreSQL at {where} cannot be reached: {_first_line(error)}"


def _first_line(error: psycopg.Error) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
