"""Encrypts the data again with the current ``ENCRYPTION_KEY``: ``python -m src.app.reencrypt ACTION``.

Run inside the application's container, where the database and the keys are. Standard input is JSON:
``{"current": VALUE}``, the value that the caller takes for the current one. Standard output is JSON: the numbers of
:class:`Result`.

``count``
    only counts.
``run``
    rewrites each value that the current key does not open. It stops at the end, with nothing proven, when no key opens
    some of them.
``discard``
    does the same, and removes the values that no key opens. They are lost.

It may be killed at any time, and run again: each batch is one transaction, and what the current key opens is left
alone. Last, with all writers waiting, it reads every value with the current key alone; only then are the canaries of
earlier keys removed, and nothing needs these keys any more.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

from src.utils.secrets import SecretsError, get_secrets_manager

from . import canary
from .accounts import lock_schema
from .database import Database, DatabaseError
from .encryption import COLUMNS, SECRET, ColumnCipher
from .settings import AppSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .database import Connection
    from .encryption import EncryptedColumn, Keys

_PASSES = 3  # more than one when another process still writes with an earlier key

Row = tuple[Any, str]


class ReencryptionError(Exception):
    """It cannot be done. The text says why, and holds no secret."""


@dataclass
class Result:
    """What was done.

    Attributes:
        current: Values that the current key opened already.
        rewritten: Values that are encrypted with the current key now; for ``count``, those that would be.
        unreadable: Values that no key opens, and that were left alone.
        discarded: Values that no key opened, and that were removed.
        is_proven: Whether every value and the canary were read with the current key alone.
    """

    current: int = 0
    rewritten: int = 0
    unreadable: int = 0
    discarded: int = 0
    is_proven: bool = False


class Reencryption:
    """Rewrites all encrypted columns.

    Args:
        database: Where they are.
        keys: The current key, and the earlier ones.
        discards: Whether values that no key opens are removed.
    """

    def __init__(self, database: Database, keys: Keys, *, discards: bool = False) -> None:
        self._database = database
        self._keys = keys
        self._discards = discards

    async def count(self) -> Result:
        """Read everything, and change nothing.

        Raises:
            DatabaseError: The database does not do it.
        """
        result = Result()
        async with self._database.fresh_connection() as connection:
            for column in await _existing_columns(connection):
                async for rows in canary.batches(connection, column):
                    self._sort(column, rows, result)
        return result

    async def run(self) -> Result:
        """Rewrite, prove, and remove the canaries of earlier keys.

        Raises:
            WrongKeyError: No key opens a canary, and nothing is to be discarded.
            DatabaseError: The database does not do it. What was rewritten stays so.
        """
        result = Result()
        async with self._database.fresh_connection() as connection:
            await self._prepare(connection)
            columns = await _existing_columns(connection)
            await connection.commit()
            for number in range(_PASSES):
                unreadable = 0
                for column in columns:
                    unreadable += await self._rewrite(connection, column, result, counts_current=number == 0)
                result.unreadable = unreadable
                if unreadable:
                    return result
                result.is_proven = await self._prove(connection, columns)
                if result.is_proven:
                    return result
        return result

    async def _prepare(self, connection: Connection) -> None:
        await lock_schema(connection)
        if self._discards:
            await canary.prepare_to_discard(connection, self._keys)
        elif wrong_key := await canary.prepare(connection, self._keys):
            raise wrong_key

    async def _rewrite(
        self, connection: Connection, column: EncryptedColumn, result: Result, *, counts_current: bool
    ) -> int:
        """Returns how many values no key opens."""
        after: Any = None
        unreadable = 0
        while True:
            async with connection.transaction():
                await canary.require_for_write(connection, self._keys, lost_are_discarded=self._discards)
                rows = await canary.read_batch(connection, column, after, lock_rows=True)
                found = Result()
                changes = self._sort(column, rows, found)
                if changes:
                    await _update(connection, column, changes)
            result.rewritten += found.rewritten
            result.discarded += found.discarded
            result.current += found.current if counts_current else 0
            unreadable += found.unreadable
            if not rows:
                return unreadable
            after = rows[-1][0]

    def _sort(self, column: EncryptedColumn, rows: Sequence[Row], result: Result) -> list[tuple[str | None, Any]]:
        """Count the values by what they need; returns the new ones where one is needed, with the keys of the rows."""
        changes: list[tuple[str | None, Any]] = []
        for key, token in rows:
            if self._keys.open_with_current(column.info, token) is not None:
                result.current += 1
            elif (text := self._keys.decrypt(column, token)) is not None:
                result.rewritten += 1
                changes.append((self._keys.encrypt(column, text), key))
            elif self._discards:
                result.discarded += 1
                changes.append((None, key))
            else:
                result.unreadable += 1
        return changes

    async def _prove(self, connection: Connection, columns: Sequence[EncryptedColumn]) -> bool:
        """Whether the current key alone opens everything. While writers wait, so that it is still true at the end."""
        async with connection.transaction():
            await canary.lock(connection)
            for column in columns:
                async for rows in canary.batches(connection, column):
                    if any(self._keys.open_with_current(column.info, token) is None for _, token in rows):
                        return False
            await canary.keep_only_current(connection, self._keys)
        return True


async def _update(connection: Connection, column: EncryptedColumn, changes: list[tuple[str | None, Any]]) -> None:
    statement = sql.SQL("UPDATE {table} SET {column} = %s WHERE {key} = %s").format(**canary.identifiers(column))
    async with connection.cursor() as cursor:
        await cursor.executemany(statement, changes)


async def _existing_columns(connection: Connection) -> list[EncryptedColumn]:
    return [column for column in COLUMNS if await canary.has_table(connection, column.table)]


async def _run(action: str, current: str) -> Result:
    settings = AppSettings.from_environment()
    if settings.database_host is None:
        raise ReencryptionError("The application has no database: DATABASE_HOST is not set")
    manager = get_secrets_manager()
    keys = ColumnCipher(manager).keys()
    if not hmac.compare_digest(keys.values[0].encode(), current.encode()):
        raise ReencryptionError(f"The application has another {SECRET} than the store")
    reencryption = Reencryption(Database(manager, settings), keys, discards=action == "discard")
    if action == "count":
        return await reencryption.count()
    if action in ("run", "discard"):
        return await reencryption.run()
    raise ReencryptionError("That is not something this program does")


def main(arguments: Sequence[str]) -> int:
    """Do one of the actions; returns the exit code."""
    try:
        result = asyncio.run(_run(arguments[0], str(json.load(sys.stdin)["current"])))
    except (ReencryptionError, DatabaseError, SecretsError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    except Exception as error:  # noqa: BLE001 - its text may hold a value
        print(f"unexpected {type(error).__name__}", file=sys.stderr)  # noqa: T201
        return 1
    print(json.dumps(asdict(result)))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
