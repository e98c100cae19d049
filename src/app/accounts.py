"""The accounts: in PostgreSQL, or in memory where there is no database (development)."""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from . import canary
from .canary import WrongKeyError
from .database import DatabaseError
from .encryption import LAST_LOGIN_ADDRESS, ColumnCipher

if TYPE_CHECKING:
    from src.utils.secrets import SecretsManager

    from .database import Connection, Database
    from .passwords import Passwords

_LOG = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS accounts (
    username           text PRIMARY KEY,
    password_hash      text NOT NULL,
    from_secrets       boolean NOT NULL DEFAULT false,
    last_login_at      timestamptz,
    last_login_address text,
    generation         text NOT NULL DEFAULT gen_random_uuid()::text
)
"""
# Adding a column that is there needs a lock on the table all the same, so it is asked first.
_HAS_GENERATION = """
SELECT 1 FROM pg_attribute
WHERE attrelid = 'accounts'::regclass AND attname = 'generation' AND NOT attisdropped
"""
# Each row gets one of its own, so that somebody who logs in at that moment gets a token that counts.
_ADD_GENERATION = """
ALTER TABLE accounts ADD COLUMN IF NOT EXISTS generation text NOT NULL DEFAULT gen_random_uuid()::text
"""
_SCHEMA_LOCK = 0x63637476  # "cctv": two processes that start together must not both make the table
_SET_PASSWORD = """
INSERT INTO accounts (username, password_hash, from_secrets, generation) VALUES (%(username)s, %(hash)s, true, %(new)s)
ON CONFLICT (username) DO UPDATE
SET password_hash = excluded.password_hash, from_secrets = true, generation = excluded.generation
WHERE accounts.password_hash = %(replaces)s
"""
_GENERATION_BYTES = 16


@dataclass(frozen=True)
class Account:
    """One account.

    Attributes:
        username: Its name.
        generation: Stands in each token of this account; another one voids them all.
        last_login_at: When somebody last logged in.
        last_login_address: From where.
    """

    username: str
    generation: str
    last_login_at: datetime | None
    last_login_address: str | None


class Accounts(Protocol):
    """Where accounts are kept."""

    async def prepare(self) -> None:
        """Make the administrator's account, or update it to ``ADMIN_USERNAME`` and ``ADMIN_PASSWORD``.

        A new password voids all tokens and sessions of the account in the same moment.
        """

    async def check(self) -> None:
        """Raise :class:`~src.app.database.DatabaseError` when accounts cannot be read now.

        It is a :class:`~src.app.canary.WrongKeyError` when only ``ENCRYPTION_KEY`` is wrong.
        """

    async def verify(self, username: str, password: str) -> str | None:
        """The generation of ``username`` if this is its password. Takes as long for a name that is not there."""

    async def note_login(self, username: str, address: str) -> None:
        """Remember when and from where ``username`` logged in; not while ``ENCRYPTION_KEY`` is wrong."""

    async def find(self, username: str) -> Account | None:
        """The account of ``username``."""

    async def end_sessions(self, username: str) -> None:
        """Void all tokens and sessions of ``username``."""

    async def close(self) -> None:
        """Let go of connections."""


class MemoryAccounts:
    """The administrator's account only, gone when the process ends."""

    def __init__(self, manager: SecretsManager, passwords: Passwords) -> None:
        self._manager = manager
        self._passwords = passwords
        self._hashes: dict[str, str] = {}
        self._generations: dict[str, str] = {}
        self._logins: dict[str, tuple[datetime, str]] = {}
        self._lock = asyncio.Lock()  # the first login may come before the start has made the account

    async def prepare(self) -> None:
        """See :class:`Accounts`."""
        async with self._lock:
            await self._prepare()

    async def _prepare(self) -> None:
        username = self._manager.require_secret("ADMIN_USERNAME")
        password = self._manager.require_secret("ADMIN_PASSWORD")
        if username in self._hashes and await self._passwords.matches(self._hashes[username], password):
            return
        password_hash = await self._passwords.hash(password)
        self._hashes, self._generations = {username: password_hash}, {username: _new_generation()}

    async def check(self) -> None:
        """There is nothing that could fail."""

    async def verify(self, username: str, password: str) -> str | None:
        """See :class:`Accounts`."""
        if not self._hashes:
            await self.prepare()
        password_hash, generation = self._hashes.get(username), self._generations.get(username)
        return generation if await self._passwords.matches(password_hash, password) else None

    async def note_login(self, username: str, address: str) -> None:
        """See :class:`Accounts`."""
        self._logins[username] = (datetime.now(UTC), address)

    async def find(self, username: str) -> Account | None:
        """See :class:`Accounts`."""
        if username not in self._hashes:
            return None
        return Account(username, self._generations[username], *self._logins.get(username, (None, None)))

    async def end_sessions(self, username: str) -> None:
        """See :class:`Accounts`."""
        self._generations[username] = _new_generation()

    async def close(self) -> None:
        """There is nothing to let go of."""


class DatabaseAccounts:
    """Accounts in PostgreSQL.

    Args:
        manager: Gives the administrator's name and password, and the key of encrypted columns.
        database: Connections.
        passwords: Hashes and checks.
    """

    def __init__(self, manager: SecretsManager, database: Database, passwords: Passwords) -> None:
        self._manager = manager
        self._database = database
        self._passwords = passwords
        self._cipher = ColumnCipher(manager)
        self._has_warned = False
        self._is_prepared = False
        self._lock = asyncio.Lock()  # the start and a SIGHUP may come together

    async def prepare(self) -> None:
        """See :class:`Accounts`."""
        async with self._lock:
            await self._prepare()

    async def _prepare(self) -> None:
        async with self._database.connection() as connection:
            await _make_table(connection)
            wrong_key = await canary.prepare(connection, self._cipher.keys())
        # When somebody else has changed the account meanwhile, the secrets may have changed, too.
        while not await self._update_administrator(
            self._manager.require_secret("ADMIN_USERNAME"), self._manager.require_secret("ADMIN_PASSWORD")
        ):
            pass
        self._is_prepared = True
        if wrong_key is not None:
            raise wrong_key
        self._has_warned = False

    async def check(self) -> None:
        """See :class:`Accounts`."""
        async with self._database.fresh_connection() as connection:
            if self._is_prepared:
                await connection.execute("SELECT generation FROM accounts LIMIT 1")
                await canary.require(connection, self._cipher.keys())
        if not self._is_prepared:
            raise DatabaseError("The administrator's account is not ready yet; if that lasts, the log says why")

    async def verify(self, username: str, password: str) -> str | None:
        """See :class:`Accounts`."""
        async with self._database.connection() as connection:
            row = await (
                await connection.execute(
                    "SELECT password_hash, generation FROM accounts WHERE username = %s", [username]
                )
            ).fetchone()
        password_hash, generation = row or (None, None)
        return generation if await self._passwords.matches(password_hash, password) else None

    async def note_login(self, username: str, address: str) -> None:
        """See :class:`Accounts`."""
        try:
            async with self._database.connection() as connection:
                keys = self._cipher.keys()
                await canary.require_for_write(connection, keys)
                await connection.execute(
                    "UPDATE accounts SET last_login_at = now(), last_login_address = %s WHERE username = %s",
                    [keys.encrypt(LAST_LOGIN_ADDRESS, address), username],
                )
        except WrongKeyError as error:
            self._warn_of_wrong_key(error)

    async def find(self, username: str) -> Account | None:
        """See :class:`Accounts`."""
        async with self._database.connection() as connection:
            row = await (
                await connection.execute(
                    "SELECT generation, last_login_at, last_login_address FROM accounts WHERE username = %s",
                    [username],
                )
            ).fetchone()
        if row is None:
            return None
        return Account(
            username, row[0], row[1], self._cipher.keys().decrypt(LAST_LOGIN_ADDRESS, row[2]) if row[2] else None
        )

    async def end_sessions(self, username: str) -> None:
        """See :class:`Accounts`."""
        async with self._database.connection() as connection:
            await connection.execute(
                "UPDATE accounts SET generation = %s WHERE username = %s", [_new_generation(), username]
            )

    async def close(self) -> None:
        """See :class:`Accounts`."""
        await self._database.close()

    def _warn_of_wrong_key(self, error: WrongKeyError) -> None:
        """Once: the administrator must get in, and each login would say it again."""
        if not self._has_warned:
            _LOG.error("The time and address of logins are not written: %s", error)
        self._has_warned = True

    async def _update_administrator(self, username: str, password: str) -> bool:
        """Whether the account is now as it should be. Argon2 runs outside of any transaction."""
        async with self._database.connection() as connection:
            row = await (
                await connection.execute(
                    "SELECT password_hash, generation FROM accounts WHERE username = %s", [username]
                )
            ).fetchone()
        is_current = row is not None and await self._passwords.matches(row[0], password)
        password_hash = "" if is_current else await self._passwords.hash(password)
        async with self._database.connection() as connection:
            await connection.execute("DELETE FROM accounts WHERE from_secrets AND username <> %s", [username])
            if is_current:
                return True
            done = await connection.execute(
                _SET_PASSWORD,
                {
                    "username": username,
                    "hash": password_hash,
                    "new": _new_generation(),
                    "replaces": row[0] if row else "",
                },
            )
            return done.rowcount == 1


async def lock_schema(connection: Connection) -> None:
    """Let nobody else make tables before this transaction ends."""
    await connection.execute("SELECT pg_advisory_xact_lock(%s)", [_SCHEMA_LOCK])


async def _make_table(connection: Connection) -> None:
    await lock_schema(connection)
    await connection.execute(_SCHEMA)
    if not await (await connection.execute(_HAS_GENERATION)).fetchone():
        await connection.execute(_ADD_GENERATION)


def is_of_generation(account: Account, generation: str) -> bool:
    """Whether a token with ``generation`` is still one of ``account``."""
    return bool(generation) and hmac.compare_digest(account.generation.encode(), generation.encode())


def _new_generation() -> str:
    return secrets.token_urlsafe(_GENERATION_BYTES)
