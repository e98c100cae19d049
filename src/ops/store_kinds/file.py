"""The encrypted file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from src.utils.secrets.settings import SecretsBackend

from .base import Setting, StoreKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from src.ops.deployment.deployment import Deployment
    from src.utils.secrets.backends.file import FileBackend


class FileKind(StoreKind["FileBackend"]):
    """See the module."""

    backend = SecretsBackend.FILE
    note = "one encrypted file here; no cloud needed"
    place_note = "(encrypted)"
    has_master_key = True
    is_read_by_app = False
    settings = (
        Setting("SECRETS_FILE_PATH", part="PATH", example="config/secrets.enc", is_path=True, says_where=True),
        Setting("SECRETS_MASTER_KEY", example="/home/you/.config/{slug}/master.key", is_secret=True),
    )

    def files(self, deployment: Deployment) -> list[str]:
        """The encrypted file and its checksum, too."""
        path = deployment.settings(self.backend).file_path
        return [*super().files(deployment), path, f"{path}.sum"]

    def empty(self, store: FileBackend, names: Iterable[str], revision: str) -> None:  # noqa: ARG002
        """Remove the file, and what lies beside it."""
        # The file itself goes last: as long as it is there, another run continues.
        for suffix in (".bak", ".sum", ""):
            if os.path.exists(store.path + suffix):
                os.unlink(store.path + suffix)


KIND = FileKind()
