"""Changes to a store, and what they make of a snapshot. Only writers import this."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import InvalidSecretError, StoreChangedError, StoreEmptyError, StoreError
from .snapshot import PreviousValue, SecretMetadata, Snapshot, utc_now

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .backends.base import Backend
    from .command import Hint


class Change:
    """A new value for a secret.

    Args:
        value: The new value; ``None`` removes the secret and its earlier values.
        previous_valid_until: Until when the value that it replaces is still accepted, ISO 8601 in UTC (``...Z``);
            ``None`` means until it is removed by hand, and a time not in the future means: not at all.
        history: When it changed and its earlier values, as another store knows them; takes the place of what this
            store knows.
    """

    __slots__ = ("history", "previous_valid_until", "value")

    def __init__(
        self,
        value: str | None,
        *,
        previous_valid_until: str | None = "",
        history: SecretMetadata | None = None,
    ) -> None:
        self.value = value
        self.previous_valid_until = previous_valid_until
        self.history = history

    def __repr__(self) -> str:
        return "<Change: removed>" if self.value is None else f"<Change: {len(self.value)} characters>"


def load_if_any(store: Backend) -> Snapshot:
    """What ``store`` holds; empty when it holds nothing yet.

    Raises:
        SecretsError: It cannot be read.
    """
    try:
        return store.load()
    except StoreEmptyError:
        return Snapshot({}, revision=store.empty_revision)


def apply_changes(
    snapshot: Snapshot, changes: Mapping[str, Change]
) -> tuple[dict[str, str], dict[str, SecretMetadata]]:
    """The values and metadata of ``snapshot`` after ``changes``.

    Of a secret's earlier values those still accepted stay, and in any case the newest one, so that a change can be
    taken back.

    Raises:
        InvalidSecretError: A new value is empty or cannot be stored as text.
    """
    now = utc_now()
    values = dict(snapshot.values)
    metadata = dict(snapshot.metadata)
    for name, change in changes.items():
        if change.value is None:
            values.pop(name, None)
            metadata.pop(name, None)
            continue
        check_value(name, change.value)
        current = values.get(name)
        if change.history is not None:
            values[name], metadata[name] = change.value, change.history
            continue
        if current == change.value:
            continue
        known = metadata.get(name) or SecretMetadata()
        earlier = [entry for entry in known.previous if entry.is_valid(now) and entry.value != change.value]
        if current is not None:
            valid_until = now if change.previous_valid_until == "" else change.previous_valid_until
            earlier.insert(0, PreviousValue(current, now, valid_until))
        values[name] = change.value
        metadata[name] = SecretMetadata(now, earlier)
    return values, metadata


def check_value(name: str, value: str) -> None:
    """Refuse what no store can keep.

    Raises:
        InvalidSecretError: The value is empty, has a NUL, or is not valid Unicode.
    """
    if not value:
        raise InvalidSecretError(f"{name} is empty", hint=f"Give {name} a value, or leave it out")
    if "\0" in value:
        raise InvalidSecretError(f"{name} has a NUL character in it", hint="Store it base64-encoded instead")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidSecretError(f"{name} is not valid Unicode text", hint="Store it base64-encoded instead") from None


def require_unchanged(where: str, expected: str | None, present: str) -> None:
    """Refuse to write over what somebody else has changed since the changes were planned.

    Args:
        where: The store, for the error.
        expected: Revision that the changes were planned on; ``None``: any.
        present: Revision that the store has now.

    Raises:
        StoreChangedError: It is another one.
    """
    if expected not in (None, present):
        raise StoreChangedError(
            f"{where} was changed by another writer meanwhile",
            hint="Nothing was written. Run the same command again",
        )


def require_stored(
    wanted: Mapping[str, str | None],
    stored: Mapping[str, str],
    where: str,
    *,
    hint: Hint | Sequence[Hint] = "Run the same command again",
) -> None:
    """Refuse to call a write done that does not read back the same.

    Args:
        wanted: What was to be stored, by name; ``None`` for what was to be removed.
        stored: What the store holds now.
        where: The store, for the error.
        hint: What to do about it.

    Raises:
        StoreError: Something is different.
    """
    different = [name for name, value in wanted.items() if stored.get(name) != value]
    if different:
        raise StoreError(f"{', '.join(different)} read back differently from {where}", hint=hint)
