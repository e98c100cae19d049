"""The flat map ``{NAME: value}`` that AWS Secrets Manager and HashiCorp Vault hold.

One reserved key, ``_METADATA``, is a JSON string with what this program knows besides: when each secret last changed,
and its earlier values. It is written in the same write as the values. A value that is not text (other programs write
numbers, too) is read as its JSON, and is not touched by a change to another secret.
"""

from __future__ import annotations

import json
import os
from time import sleep

from .errors import DamagedStoreError, InvalidSecretError, StoreChangedError
from .snapshot import SecretMetadata, Snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Protocol

    from .changes import Change

    class FlatMapStore(Protocol):
        """What :func:`save_flat_map` needs of a store."""

        def describe(self) -> str:
            """For errors."""

        def read_if_any(self) -> tuple[dict[str, Any], str]:
            """What is there, and its revision; an empty map and a revision of its own when nothing is."""

        def write(self, content: dict[str, Any], replaces: str) -> str | None:
            """Put ``content`` in place of the revision ``replaces``, and read it back.

            Returns:
                The new revision, ``None`` when another writer was faster; then nothing has changed.
            """


METADATA_KEY = "_METADATA"
WRITE_ATTEMPTS = 60
LONGEST_PAUSE_SECONDS = 2.0


def read_flat_map(content: object, revision: str, where: str) -> Snapshot:
    """The secrets in ``content``.

    Args:
        content: What the store holds.
        revision: Of the snapshot.
        where: The store, for errors.

    Raises:
        DamagedStoreError: It is no map, or its metadata is not of the known form.
    """
    if not isinstance(content, dict):
        raise DamagedStoreError(
            f"{where} does not hold a JSON object of names and values",
            hint='Make it one, for example {"SECRET_KEY": "..."}, or name another place',
        )
    values = {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in content.items()
        if name != METADATA_KEY and value is not None
    }
    return Snapshot(values, _read_metadata(content.get(METADATA_KEY), where), revision)


def change_flat_map(content: Mapping[str, Any], snapshot: Snapshot, changes: Mapping[str, Change]) -> dict[str, Any]:
    """``content`` with ``changes`` in it; whatever they do not name stays as it is.

    Args:
        content: What the store holds.
        snapshot: The same, as :func:`read_flat_map` reads it.
        changes: The new values by name.

    Raises:
        InvalidSecretError: A value cannot be stored, or its name is reserved.
    """
    if METADATA_KEY in changes:
        raise InvalidSecretError(f"{METADATA_KEY} is reserved and cannot be a secret", hint="Choose another name")
    from .changes import apply_changes

    values, metadata = apply_changes(snapshot, changes)
    changed = dict(content)
    for name in changes:
        if name not in values:
            changed.pop(name, None)
        elif values[name] != snapshot.values.get(name):
            changed[name] = values[name]
    if metadata or METADATA_KEY in content:
        documents = {name: entry.to_document() for name, entry in metadata.items()}
        changed[METADATA_KEY] = json.dumps(documents, ensure_ascii=False)
    return changed


def save_flat_map(
    store: FlatMapStore,
    changes: Mapping[str, Change],
    expected_revision: str | None,
    progress: Callable[[str], None] | None,
) -> Snapshot:
    """Merge ``changes`` into what ``store`` holds, again whenever another writer was faster. See ``Backend.save``."""
    from .changes import require_unchanged

    for attempt in range(WRITE_ATTEMPTS):
        content, revision = store.read_if_any()
        require_unchanged(store.describe(), expected_revision, revision)
        snapshot = read_flat_map(content, revision, store.describe())
        changed = change_flat_map(content, snapshot, changes)
        if changed == content:
            return snapshot
        written = store.write(changed, revision)
        if written is not None:
            for name in changes:
                if progress:
                    progress(name)
            return read_flat_map(changed, written, store.describe())
        _pause(attempt)
    raise StoreChangedError(
        f"{store.describe()} was changed by another writer meanwhile",
        hint="Nothing was written. Run the same command again",
    )


def _pause(attempt: int) -> None:
    """Wait at random, longer each time, so that writers who met do not meet again."""
    sleep(int.from_bytes(os.urandom(2)) / 65536 * min(LONGEST_PAUSE_SECONDS, 0.05 * 2**attempt))


def _read_metadata(text: object, where: str) -> dict[str, SecretMetadata]:
    if text is None:
        return {}
    try:
        documents: dict[str, Any] = json.loads(text)  # type: ignore[arg-type]
        return {name: SecretMetadata.from_document(document) for name, document in documents.items()}
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        raise DamagedStoreError(
            f"{METADATA_KEY} in {where} is not of the known form",
            hint=f"Restore an earlier version, or remove {METADATA_KEY}: that forgets earlier values and times",
        ) from None
