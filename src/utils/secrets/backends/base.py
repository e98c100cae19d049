"""What a store must offer.

To add one: a file here named after its ``SECRETS_BACKEND`` value with an ``open_backend(settings)`` in it, one line
in :class:`..settings.SecretsBackend`, what people are asked of it in ``src/ops/store_kinds``, and one class in the
contract tests: see ``docs/add-a-store.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..changes import Change
    from ..snapshot import Snapshot


class Backend(Protocol):
    """One store of secrets."""

    live: bool
    """Whether the values of a loaded snapshot follow the store by themselves, so that nothing has to be refreshed."""

    empty_revision: str
    """Revision of a store that holds nothing yet."""

    def load(self) -> Snapshot:
        """Everything in the store.

        Raises:
            StoreEmptyError: It answers, but nothing of this deployment is there yet.
            StoreDeletedError: What was there has been deleted, and can be brought back.
            SecretsError: It cannot be read. Never an empty snapshot in place of an error.
        """

    def save(
        self,
        changes: Mapping[str, Change],
        *,
        expected_revision: str | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> Snapshot:
        """Write ``changes``, leave every other secret as it is, read back, and return what is stored now.

        Args:
            changes: The new values by name.
            expected_revision: ``revision`` of the snapshot that the changes were planned on; ``None`` merges into
                whatever is there.
            progress: Called with the name of each secret once it is stored.

        Raises:
            PartlyWrittenError: Only for a store without a common write: some secrets are stored, others not.
            StoreChangedError: The store is not at ``expected_revision`` any more. Nothing was written.
            SecretsError: It cannot be written. The store is as it was.
        """

    def describe(self) -> str:
        """Where this store keeps the secrets, human-readable: a path or an address."""
