"""Bringing a backup's secrets into the store in use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from src.ops.deployment.audit import recorded
from src.ops.store_kinds import kind_in_use
from src.ops.values.fingerprint import WRITTEN, Transfer, plan_transfer
from src.ops.values.grace import previous_valid_until
from src.ops.values.history import lacks_accepted, merge_history
from src.utils.secrets.changes import Change, load_if_any, require_stored

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment
    from src.utils.secrets.backends.base import Backend
    from src.utils.secrets.snapshot import Snapshot

    from .backup import Backup


def plan_restore(backup: Backup, present: Snapshot) -> dict[str, Transfer]:
    """What restoring means for each name in the backup."""
    states = plan_transfer(backup.snapshot.values, present.values)
    return {name: state for name, state in states.items() if state is not Transfer.ONLY_THERE}


def restore_backup(deployment: Deployment, store: Backend, backup: Backup, *, keep_present: bool) -> list[str]:
    """Store the backup's values, and read them back.

    A present value that another one replaces becomes its previous value: ``rollback`` restores it.

    Args:
        deployment: Whose secrets.
        store: Where they go.
        backup: What was read.
        keep_present: Leave values alone that are there and differ.

    Returns:
        The names that were written.

    Raises:
        SecretsError: It failed.
    """
    present = load_if_any(store)
    states = plan_restore(backup, present)
    wanted = (Transfer.NEW,) if keep_present else WRITTEN
    names = [name for name, state in states.items() if state in wanted]
    if kind_in_use(deployment).copies_history:
        names += [name for name in states if _lacks_history(backup, name, present)]
    changes = {name: _change(deployment, backup, name, present) for name in names}
    if not changes:
        return []
    with recorded(deployment, "restore", names, store.describe()):
        stored = store.save(changes, expected_revision=present.revision)
        require_stored({name: change.value for name, change in changes.items()}, stored.values, store.describe())
    return names


def _lacks_history(backup: Backup, name: str, present: Snapshot) -> bool:
    """Whether the store has the value, and lacks an earlier one that is still accepted: old data may need it."""
    value = backup.snapshot.values[name]
    return present.values.get(name) == value and lacks_accepted(
        name, value, backup.snapshot.metadata.get(name), present
    )


def _change(deployment: Deployment, backup: Backup, name: str, present: Snapshot) -> Change:
    value, history = backup.snapshot.values[name], backup.snapshot.metadata.get(name)
    spec = deployment.catalog.find(name)
    valid_until = previous_valid_until(spec) if spec else ""
    return Change(value, history=merge_history(name, value, history, present, valid_until))
