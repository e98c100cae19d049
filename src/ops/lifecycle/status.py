"""How every secret is: set, how old, how strong, and whether its Docker file is in step."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from src.ops.containers.secret_files import SecretFile, content_state
from src.ops.values.strength import fault_of
from src.utils.secrets.snapshot import utc_now

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment
    from src.utils.secrets.catalog import Catalog, SecretSpec
    from src.utils.secrets.snapshot import Snapshot

SECONDS_OF_A_DAY = 24 * 60 * 60


@dataclass(frozen=True)
class SecretStatus:
    """One row.

    Attributes:
        name: The secret.
        group: Its group in the catalogue.
        state: ``set``, ``missing`` (required) or ``not used`` (optional).
        updated_at: When it last changed, as far as the store knows.
        age_days: Whole days since then.
        rotation_days: After how many it is due; ``None``: never.
        fault: What is wrong with the value, ``None`` when nothing is.
        docker: Its Docker file: ``in step``, ``stale``, ``missing``, ``unreadable``, or ``-`` when there are none.
        in_grace: How many earlier values are still accepted.
    """

    name: str
    group: str
    state: str
    updated_at: str | None
    age_days: int | None
    rotation_days: int | None
    fault: str | None
    docker: str
    in_grace: int

    @property
    def is_overdue(self) -> bool:
        """Whether it is older than its rotation period."""
        return self.age_days is not None and self.rotation_days is not None and self.age_days >= self.rotation_days

    @property
    def needs_attention(self) -> bool:
        """Whether somebody has to do something."""
        return (
            self.state == "missing" or self.is_overdue or self.fault is not None or self.docker in ("stale", "missing")
        )


def read_status(deployment: Deployment, snapshot: Snapshot) -> list[SecretStatus]:
    """A row for each secret of the catalogue, in its order."""
    directory = deployment.docker_directory
    if not os.path.isdir(directory):
        directory = ""
    return [_status_of(spec, deployment.catalog, snapshot, directory) for spec in deployment.catalog.secrets]


def age_in_days(updated_at: str | None) -> int | None:
    """Whole days since ``updated_at``; ``None`` when it is not known, or not a time."""
    if not updated_at:
        return None
    try:
        then = datetime.fromisoformat(updated_at)
    except ValueError:
        return None
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return max(0, int((datetime.now(UTC) - then).total_seconds() // SECONDS_OF_A_DAY))


def _status_of(spec: SecretSpec, catalog: Catalog, snapshot: Snapshot, directory: str) -> SecretStatus:
    value = snapshot.values.get(spec.name)
    metadata = snapshot.metadata.get(spec.name)
    updated_at = metadata.updated_at if metadata and value else None
    state = "set" if value else "missing" if spec.required else "not used"
    file = SecretFile(spec.docker_file, (value or "").encode())
    return SecretStatus(
        name=spec.name,
        group=spec.group,
        state=state,
        updated_at=updated_at,
        age_days=age_in_days(updated_at),
        rotation_days=spec.rotation_days,
        fault=fault_of(spec, value, catalog) if value else None,
        docker=content_state(file, directory) if directory and (value or not spec.required) else "-",
        in_grace=max(0, len(snapshot.versions(spec.name, utc_now())) - 1),
    )
