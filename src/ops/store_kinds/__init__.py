"""What people are asked, shown and allowed of each store: one file for each, found by its name. See :mod:`.base`."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from src.utils.secrets.settings import SecretsBackend

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment
    from src.utils.secrets.backends.base import Backend
    from src.utils.secrets.snapshot import Snapshot

    from .base import StoreKind


@functools.cache
def kind_of(backend: SecretsBackend) -> StoreKind[Any]:
    """What is known about a store. Imports its file and no other."""
    import importlib

    kind: StoreKind[Any] = importlib.import_module(f".{backend.value}", __package__).KIND
    return kind


def all_kinds() -> list[StoreKind[Any]]:
    """Every store, in the order of the menu."""
    return [kind_of(backend) for backend in SecretsBackend]


def kind_in_use(deployment: Deployment) -> StoreKind[Any]:
    """The store that the settings of ``deployment`` name.

    Raises:
        ConfigurationError: They name none that there is.
    """
    return kind_of(deployment.settings().backend)


def open_store(deployment: Deployment, kind: StoreKind[Any] | None = None) -> Backend:
    """The store in use, or the one of another kind, to read and to write.

    Raises:
        SecretsError: A setting is missing or wrong.
    """
    store: Backend = (kind or kind_in_use(deployment)).open(deployment)
    return store


def load_secrets(deployment: Deployment, store: Backend) -> Snapshot:
    """What ``store`` holds, for a command that needs secrets of ``deployment`` in it; others may be there, too.

    Raises:
        StoreEmptyError: It has none of them.
        SecretsError: It cannot be read.
    """
    snapshot = store.load()
    if not any(snapshot.values.get(name) for name in deployment.catalog.names):
        from src.utils.secrets.command import set_up
        from src.utils.secrets.errors import StoreEmptyError

        raise StoreEmptyError(
            f"{store.describe()} holds no secrets of this deployment", hint=set_up(purpose="Make a first set")
        )
    return snapshot


def open_store_to_change(deployment: Deployment, kind: StoreKind[Any] | None = None) -> Backend:
    """The same, for a command that changes it: what killed ones have left beside its files is removed first.

    Raises:
        SecretsError: A setting is missing or wrong.
    """
    from src.utils.secrets.atomicfile import remove_stale_temporaries

    kind = kind or kind_in_use(deployment)
    remove_stale_temporaries(kind.files(deployment))
    return open_store(deployment, kind)
