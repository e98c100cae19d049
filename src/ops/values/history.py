"""What a secret's history becomes when its value comes from another place: nothing that either side knows is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from src.utils.secrets.snapshot import PreviousValue, SecretMetadata, utc_now

if TYPE_CHECKING:
    from src.utils.secrets.snapshot import Snapshot


def merge_history(
    name: str, value: str, incoming: SecretMetadata | None, present: Snapshot, valid_until: str | None = ""
) -> SecretMetadata | None:
    """The history of ``value`` in a store that may have another one.

    Args:
        name: The secret.
        value: The value that the store gets.
        incoming: What its source knows of it.
        present: What the store holds now.
        valid_until: Until when a present value that is replaced stays accepted: see :class:`Change`.

    Returns:
        The present value first, if it is another one, then the earlier values of both; ``None``: nobody knows any.
    """
    current, known = present.values.get(name), present.metadata.get(name)
    if not current:
        return incoming
    now = utc_now()
    earlier = [*(known.previous if known else ()), *(incoming.previous if incoming else ())]
    updated_at = known.updated_at if known else None
    if current != value:
        earlier.insert(0, PreviousValue(current, now, now if valid_until == "" else valid_until))
        updated_at = now
    first = {entry.value: entry for entry in reversed(earlier) if entry.value != value}
    return SecretMetadata(updated_at, list(reversed(first.values())))


def accepted_values(metadata: SecretMetadata | None) -> set[str]:
    """The earlier values that are still accepted."""
    now = utc_now()
    return {entry.value for entry in (metadata.previous if metadata else ()) if entry.is_valid(now)}


def lacks_accepted(name: str, value: str, incoming: SecretMetadata | None, present: Snapshot) -> bool:
    """Whether a store that has ``value`` lacks an earlier one that its source still accepts."""
    known = present.metadata.get(name)
    there = {value, *(entry.value for entry in (known.previous if known else ()))}
    return not accepted_values(incoming) <= there
