"""What a store must offer.

To add one: a file here named after its ``SECRETS_BACKEND`` value with an ``open_backend(settings)`` in it, one line
in :class:`..settings.SecretsBackend`, and one line in the contract tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..changes import Change
    from ..snapshot import Snapshot


class Backend(Protocol):
    """One store of secrets."""

    live: bool
    """Whether the values of a loaded snapshot follow the store by themselves, so that nothing has to be refreshed."""

    def load(self) -> Snapshot:
        """Everything in the store.

        Raises:
            SecretsError: It cannot be read. Never an empty snapshot in place of an error.
        """

    def save(self, changes: Mapping[str, Change], *, expected_revision: str | None = None) -> Snapshot:
        """Write ``changes``, leave every other secret as it is, read back, and return what is stored now.

        Args:
            changes: The new values by name.
            expected_revision: ``revision`` of the snapshot that the changes were planned on; ``None`` merges into
                whatever is there.

        Raises:
            StoreChangedError: The store is not at ``expected_revision`` any more. Nothing was written.
            SecretsError: It cannot be written. The store is as it was.
        """

    def describe(self) -> str:
        """Where this store keeps the secrets, for people: a path or an address."""
