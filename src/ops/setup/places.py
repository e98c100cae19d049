"""Where a set-up keeps everything, for the review and for the summary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment

    from .inspect import FoundStore
    from .master_key import KeyChoice

SECRETS, MASTER_KEY = "Secrets", "Master key"


@dataclass(frozen=True)
class Place:
    """One place.

    Attributes:
        label: What is there.
        path: The file as people write it; empty for what is no file.
        text: What is said of it, behind the path.
    """

    label: str
    path: str = ""
    text: str = ""

    def in_text(self) -> str:
        """For a terminal."""
        return " ".join(filter(None, (self.path, self.text)))

    def in_markdown(self) -> str:
        """For a document."""
        return " ".join(filter(None, (f"`{self.path}`" if self.path else "", self.text)))


def find_places(deployment: Deployment, found: FoundStore) -> list[Place]:
    """Everything that the set-up writes, in the order in which people look for it."""
    if found.kind.is_dotenv:
        return [Place(SECRETS, deployment.shown(deployment.compose_file), found.kind.place_note)]
    settings = Place("Settings", deployment.shown(deployment.settings_file))
    if found.key is not None:
        path = deployment.settings(found.kind.backend).file_path
        secrets = Place(SECRETS, deployment.shown(path), found.kind.place_note)
        return [secrets, _key_place(deployment, found.key), settings]
    kept = [Place(f"Sign-in ({kept.setting})", deployment.shown(kept.path)) for kept in found.credentials]
    return [Place(SECRETS, text=f"{found.kind.title}, {found.place}"), *kept, settings]


def _key_place(deployment: Deployment, key: KeyChoice) -> Place:
    if key.file is not None:
        return Place(MASTER_KEY, deployment.shown(key.file))
    return Place(MASTER_KEY, text="stored by you" if key.is_new else f"from {key.key.source}")
