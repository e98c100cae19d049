"""What a store held at one moment."""

from __future__ import annotations

from collections.abc import Mapping

TYPE_CHECKING = False  # importing typing costs more than everything else here
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

SECONDS_OF_A_DAY = 24 * 60 * 60


class PreviousValue:
    """A value that a secret had before.

    Args:
        value: The value itself.
        replaced_at: When another value took its place, ISO 8601 in UTC (``...Z``).
        valid_until: Until when it is still accepted, the same form; ``None`` means until it is removed by hand.
    """

    __slots__ = ("replaced_at", "valid_until", "value")

    def __init__(self, value: str, replaced_at: str, valid_until: str | None) -> None:
        self.value = value
        self.replaced_at = replaced_at
        self.valid_until = valid_until

    def is_valid(self, now: str) -> bool:
        """Whether the value is still accepted at ``now``. Times of one form compare as text."""
        return self.valid_until is None or now < self.valid_until

    def __repr__(self) -> str:
        return f"<PreviousValue valid until {self.valid_until or 'removed'}>"


class SecretMetadata:
    """When a secret last changed, and what it was before.

    Args:
        updated_at: ISO 8601 in UTC (``...Z``), or ``None`` where the store does not say.
        previous: Earlier values, the newest first.
    """

    __slots__ = ("previous", "updated_at")

    def __init__(self, updated_at: str | None = None, previous: Sequence[PreviousValue] = ()) -> None:
        self.updated_at = updated_at
        self.previous = tuple(previous)

    def to_document(self) -> dict[str, Any]:
        """The form in which stores keep it as JSON."""
        previous = [
            {"value": old.value, "replaced_at": old.replaced_at, "valid_until": old.valid_until}
            for old in self.previous
        ]
        return {"updated_at": self.updated_at, "previous": previous}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> SecretMetadata:
        """The opposite of :meth:`to_document`.

        Raises:
            AttributeError, KeyError, TypeError: It is not of that form.
        """
        previous = [
            PreviousValue(str(old["value"]), str(old["replaced_at"]), _time(old["valid_until"]))
            for old in document.get("previous", [])
        ]
        return cls(_time(document.get("updated_at")), previous)

    def __repr__(self) -> str:
        return f"<SecretMetadata updated {self.updated_at or 'at an unknown time'}, {len(self.previous)} previous>"


def _time(found: object) -> str | None:
    if found is not None and not isinstance(found, str):
        raise TypeError("not a time")
    return found


class StoredMetadata(Mapping[str, SecretMetadata]):
    """Metadata in the form in which a store keeps it, decoded when it is asked for.

    Args:
        documents: By name, what :meth:`SecretMetadata.to_document` made.
        damaged: Makes the error for one that is not of that form, from a reason.
    """

    __slots__ = ("_damaged", "_documents")

    def __init__(self, documents: Mapping[str, Any], damaged: Callable[[str], Exception]) -> None:
        self._documents = documents
        self._damaged = damaged

    def __getitem__(self, name: str) -> SecretMetadata:
        document = self._documents[name]
        try:
            return SecretMetadata.from_document(document)
        except (AttributeError, KeyError, TypeError):
            raise self._damaged(f"the metadata of {name} is not of the known form") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._documents)

    def __len__(self) -> int:
        return len(self._documents)

    def __repr__(self) -> str:
        return f"<StoredMetadata of {len(self._documents)} secrets>"


class Snapshot:
    """Every secret of a store at one moment. Never changed after it was made.

    Args:
        values: The secrets by name.
        metadata: What is known about them, by name.
        revision: Equal for equal content of the store; what a writer compares before it writes.
    """

    __slots__ = ("metadata", "revision", "values")

    def __init__(
        self,
        values: Mapping[str, str],
        metadata: Mapping[str, SecretMetadata] | None = None,
        revision: str = "",
    ) -> None:
        self.values = values
        self.metadata: Mapping[str, SecretMetadata] = metadata or {}
        self.revision = revision

    def versions(self, name: str, now: str) -> list[str]:
        """The current value of ``name``, then the earlier ones still accepted at ``now``."""
        current = self.values.get(name)
        if not current:
            return []
        metadata = self.metadata.get(name)
        earlier = metadata.previous if metadata else ()
        return [current, *(entry.value for entry in earlier if entry.is_valid(now))]

    def __repr__(self) -> str:
        return f"<Snapshot of {len(self.values)} secrets>"

    def __reduce__(self) -> str:
        raise TypeError("a Snapshot holds secrets and is not pickled or copied")


def utc_now() -> str:
    """The time now, ISO 8601 in UTC with whole seconds: ``2025-01-31T23:59:59Z``."""
    return utc_after(0)


def utc_after(seconds: float) -> str:
    """The time ``seconds`` from now, in the form of :func:`utc_now`."""
    from time import time

    return utc_at(time() + seconds)


def utc_at(moment: float) -> str:
    """A time, given in seconds since the epoch, in the form of :func:`utc_now`."""
    from time import gmtime, strftime

    return strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(moment))


def moment_of(text: str | None) -> float | None:
    """A time in the form of :func:`utc_now`, or another one of ISO 8601, in seconds since the epoch.

    Returns:
        ``None`` when there is none, or it is not a time. Without a time zone it is taken for UTC.
    """
    from datetime import UTC, datetime

    try:
        then = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return (then if then.tzinfo else then.replace(tzinfo=UTC)).timestamp()


def age_in_days(updated_at: str | None) -> int | None:
    """Whole days since ``updated_at``; ``None`` when it is not known, or not a time."""
    from time import time

    then = moment_of(updated_at)
    return None if then is None else max(0, int((time() - then) // SECONDS_OF_A_DAY))
