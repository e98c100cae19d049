"""Changing single secrets of a store, each change read back and put down in the audit trail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from src.ops.deployment.audit import recorded
from src.ops.setup.traces import optional_that_are_lost
from src.ops.store_kinds import kind_in_use
from src.ops.values.grace import GRACE_SECONDS, previous_valid_until
from src.utils.secrets.changes import Change, require_stored
from src.utils.secrets.command import manage
from src.utils.secrets.errors import InvalidSecretError, SecretNotFoundError

from .status import misnamed_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from src.ops.deployment.deployment import Deployment
    from src.utils.secrets.backends.base import Backend
    from src.utils.secrets.snapshot import Snapshot


def save_values(
    deployment: Deployment,
    store: Backend,
    values: Mapping[str, str],
    *,
    command: str,
    removed: Sequence[str] = (),
    expected_revision: str | None = None,
    grace_seconds: float = GRACE_SECONDS,
    progress: Callable[[str], None] | None = None,
) -> Snapshot:
    """Store new values, and read them back.

    Args:
        deployment: Whose secrets.
        store: Where they are.
        values: The new values by name.
        command: For the audit trail.
        removed: What is taken out of the store in the same write.
        expected_revision: See :meth:`Backend.save`.
        grace_seconds: How long earlier values of secrets with a grace time are accepted.
        progress: See :meth:`Backend.save`.

    Raises:
        SecretsError: It failed; the store is as it was.
    """
    changes = {name: Change(None) for name in removed}
    for name, value in values.items():
        spec = deployment.catalog.find(name)
        changes[name] = Change(value, previous_valid_until=previous_valid_until(spec, grace_seconds) if spec else "")
    with recorded(deployment, command, values, store.describe()):
        stored = store.save(changes, expected_revision=expected_revision, progress=progress)
        require_stored({**values, **dict.fromkeys(removed)}, stored.values, store.describe())
    return stored


def removed_names(deployment: Deployment, store: Backend, snapshot: Snapshot, name: str) -> list[str]:
    """What goes with ``name`` when it is taken out of the store: itself, and what its feature needs besides.

    A name that is only nearly a secret's goes alone.

    Raises:
        InvalidSecretError: It is required.
        SecretNotFoundError: It is not there.
    """
    if not kind_in_use(deployment).is_shared and name in misnamed_secrets(deployment, snapshot.values):
        return [name]
    spec = deployment.find_secret(name)
    lost = optional_that_are_lost(deployment, snapshot)
    if name in lost:
        return [name]  # nothing is left to take out; that nobody wants it any more is put down
    if snapshot.values.get(name) is None:
        raise SecretNotFoundError(f"{name} is not set in {store.describe()}", hint="Nothing to remove", names=[name])
    if spec.required:
        raise InvalidSecretError(f"{name} is required and cannot be removed", hint="Give it another value instead")
    assert spec.feature is not None
    return [member.name for member in deployment.catalog.of_feature(spec.feature) if member.name in snapshot.values]


def remove_secrets(deployment: Deployment, store: Backend, snapshot: Snapshot, names: Sequence[str]) -> None:
    """Take ``names``, and their earlier values, out of the store that ``snapshot`` was read from."""
    with recorded(deployment, "remove", names, store.describe()):
        store.save({name: Change(None) for name in names}, expected_revision=snapshot.revision)


def earlier_value(store: Backend, snapshot: Snapshot, name: str) -> str:
    """The value that ``name`` had before.

    Raises:
        SecretNotFoundError: The store keeps none.
    """
    metadata = snapshot.metadata.get(name)
    if snapshot.values.get(name) is None or not metadata or not metadata.previous:
        raise SecretNotFoundError(
            f"{store.describe()} keeps no earlier value of {name}",
            hint=manage("history", name, purpose="See what it keeps"),
        )
    return metadata.previous[0].value
