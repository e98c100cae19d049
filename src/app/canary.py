"""Canaries: a known text in the database, encrypted with each key that its data may need.

A process whose keys do not open all of them has the wrong ``ENCRYPTION_KEY``: it could not read some of the data, and
what it writes could not be read by others. So each write of encrypted data reads the canaries in its own transaction.
A new key gets its canary before the first write with it. The canary of an earlier key goes when it is proven that no
data needs that key (:mod:`src.app.reencrypt`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import sql

from src.utils.secrets.command import manage, spell

from .database import DatabaseError
from .encryption import COLUMNS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .database import Connection
    from .encryption import EncryptedColumn, Keys

BATCH_ROWS = 500
_INFO = b"canary"
_ID_INFO = b"canary identity"
_ID_BYTES = 8
_TEXT = "the key that opens this opens the data"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS encryption_canary (
    key_id text PRIMARY KEY,
    token  text NOT NULL
)
"""
_ADD = "INSERT INTO encryption_canary (key_id, token) VALUES (%s, %s) ON CONFLICT DO NOTHING"
_HAS_TABLE = "SELECT to_regclass(%s) IS NOT NULL"


class WrongKeyError(DatabaseError):
    """The data was encrypted with a value of ``ENCRYPTION_KEY`` that is not there."""

    def __init__(self) -> None:
        again = manage("rotate", "ENCRYPTION_KEY", "--reencrypt", "--discard")
        super().__init__(
            "ENCRYPTION_KEY is wrong: the database was encrypted with another value, so nothing encrypted is written. "
            f"Restore that value: {spell(manage('rollback', 'ENCRYPTION_KEY'))} (the value before this one), or "
            f"{spell(manage('rescue'))} (finds other copies). If it is lost permanently, remove what it encrypted: "
            f"{spell(again)}"
        )


async def prepare(connection: Connection, keys: Keys) -> WrongKeyError | None:
    """Make the table, and the canary of the current key, unless the keys are wrong. The caller has locked the schema.

    Returns:
        The error, so that the caller's transaction can go on without encryption.
    """
    await connection.execute(_SCHEMA)
    try:
        if not await _tokens(connection, sql.SQL(" FOR SHARE")):
            await _require_data_to_open(connection, keys)
            await _add(connection, keys)
        await require_for_write(connection, keys)
    except WrongKeyError as error:
        return error
    return None


async def require(connection: Connection, keys: Keys) -> None:
    """Look whether the keys are right.

    Raises:
        WrongKeyError: They are not.
    """
    if not await has_table(connection, "encryption_canary"):
        return
    tokens = await _tokens(connection, sql.SQL(""))
    _require_all_open(keys, tokens)
    if not tokens:  # not prepared yet; with a wrong key it will not be
        await _require_data_to_open(connection, keys)


async def require_for_write(connection: Connection, keys: Keys, *, lost_are_discarded: bool = False) -> None:
    """Look whether encrypted data may be written in this transaction, and keep it so until the transaction ends.

    Args:
        connection: In the transaction that writes.
        keys: What it encrypts with.
        lost_are_discarded: Whether canaries that no key opens are no hindrance.

    Raises:
        WrongKeyError: It may not.
        DatabaseError: Nothing is prepared yet.
    """
    tokens = await _tokens(connection, sql.SQL(" FOR SHARE"))
    if not tokens:
        raise DatabaseError("The database is not prepared for encrypted data yet")
    if not lost_are_discarded:
        _require_all_open(keys, tokens)
    if not any(keys.open_with_current(_INFO, token) for token in tokens):
        await _add(connection, keys)


async def prepare_to_discard(connection: Connection, keys: Keys) -> None:
    """Make the table and the canary of the current key, whatever the data needs."""
    await connection.execute(_SCHEMA)
    await _add(connection, keys)


async def lock(connection: Connection) -> None:
    """Wait for all writes of encrypted data, and let no other begin before this transaction ends."""
    await _tokens(connection, sql.SQL(" FOR UPDATE"))


async def keep_only_current(connection: Connection, keys: Keys) -> int:
    """Remove the canaries of earlier keys. For a caller that holds :func:`lock` and has proven that no data needs them.

    Returns:
        How many there were.

    Raises:
        DatabaseError: The current key does not open its own canary.
    """
    removed = await connection.execute("DELETE FROM encryption_canary WHERE key_id <> %s", [_key_id(keys)])
    tokens = await _tokens(connection, sql.SQL(""))
    if not tokens or not all(keys.open_with_current(_INFO, token) == _TEXT for token in tokens):
        raise DatabaseError("The canary in the database does not open with the current ENCRYPTION_KEY")
    return removed.rowcount


async def has_table(connection: Connection, name: str) -> bool:
    """Whether there is a table of this name."""
    row = await (await connection.execute(_HAS_TABLE, [name])).fetchone()
    return bool(row and row[0])


async def batches(connection: Connection, column: EncryptedColumn) -> AsyncIterator[list[tuple[Any, str]]]:
    """The encrypted values of a column with the keys of their rows, in the order of the keys."""
    after = None
    while rows := await read_batch(connection, column, after):
        yield rows
        after = rows[-1][0]


async def read_batch(
    connection: Connection, column: EncryptedColumn, after: Any, *, lock_rows: bool = False
) -> list[tuple[Any, str]]:
    """Some hundred encrypted values of a column with the keys of their rows, in the order of the keys.

    Args:
        connection: To the database.
        column: Which.
        after: The key that the first row comes after; ``None`` means the first of all.
        lock_rows: Whether nobody else may change the rows before the transaction ends.
    """
    statement = sql.SQL(
        "SELECT {key}, {column} FROM {table} WHERE {column} IS NOT NULL {after} ORDER BY {key} LIMIT {rows}{lock}"
    ).format(
        **identifiers(column),
        after=sql.SQL("" if after is None else "AND {key} > %s").format(**identifiers(column)),
        rows=sql.Literal(BATCH_ROWS),
        lock=sql.SQL(" FOR UPDATE" if lock_rows else ""),
    )
    found = await connection.execute(statement, None if after is None else [after])
    return [(row[0], row[1]) for row in await found.fetchall()]


def identifiers(column: EncryptedColumn) -> dict[str, sql.Identifier]:
    """The names of a column for a statement."""
    return {
        "table": sql.Identifier(column.table),
        "key": sql.Identifier(column.key),
        "column": sql.Identifier(column.name),
    }


async def _tokens(connection: Connection, locking: sql.SQL) -> list[str]:
    found = await connection.execute(sql.SQL("SELECT token FROM encryption_canary{}").format(locking))
    return [str(row[0]) for row in await found.fetchall()]


async def _add(connection: Connection, keys: Keys) -> None:
    await connection.execute(_ADD, [_key_id(keys), keys.seal(_INFO, _TEXT)])


async def _require_data_to_open(connection: Connection, keys: Keys) -> None:
    for column in COLUMNS:
        if not await has_table(connection, column.table):
            continue
        async for rows in batches(connection, column):
            if any(keys.decrypt(column, token) is None for _, token in rows):
                raise WrongKeyError


def _require_all_open(keys: Keys, tokens: list[str]) -> None:
    if any(keys.open(_INFO, token) is None for token in tokens):
        raise WrongKeyError


def _key_id(keys: Keys) -> str:
    """Tells canaries apart. HKDF gives nothing away of the key, nor of the keys for other purposes."""
    return keys.derive(_ID_INFO)[:_ID_BYTES].hex()
