"""How every secret is: set, how old, how strong, and whether its Docker file is up to date."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from src.ops.containers.folder import is_cloud_mode
from src.ops.containers.secret_files import FileState, SecretFile, content_state, needs_file
from src.ops.store_kinds import kind_in_use
from src.ops.values.near_names import near_names
from src.ops.values.strength import examine
from src.utils.secrets.judge import Origin
from src.utils.secrets.snapshot import age_in_days, utc_now

if TYPE_CHECKING:
    from collections.abc import Mapping

    from src.ops.deployment.deployment import Deployment
    from src.utils.secrets.catalog import Catalog, SecretSpec
    from src.utils.secrets.snapshot import Snapshot


class SecretState(StrEnum):
    """Whether a secret has a value."""

    SET = "set"
    MISSING = "missing"
    NOT_USED = "not used"


@dataclass(frozen=True)
class SecretStatus:
    """One row.

    Attributes:
        name: The secret.
        group: Its group in the catalogue.
        state: Whether it has a value.
        updated_at: When it last changed, as far as the store knows.
        age_days: Whole days since then.
        rotation_days: After how many it is due; ``None``: never.
        fault: What is wrong with the value, ``None`` when nothing is.
        reason: The same in a sentence that goes on after the name.
        docker: The state of its Docker file.
        in_grace: How many earlier values are still accepted.
    """

    name: str
    group: str
    state: SecretState
    updated_at: str | None
    age_days: int | None
    rotation_days: int | None
    fault: str | None
    reason: str | None
    docker: FileState
    in_grace: int

    @property
    def is_overdue(self) -> bool:
        """Whether it is older than its rotation period."""
        return self.age_days is not None and self.rotation_days is not None and self.age_days >= self.rotation_days

    @property
    def is_file_outdated(self) -> bool:
        """Whether its Docker file has to be written again."""
        return self.docker in (FileState.STALE, FileState.MISSING, FileState.NOT_A_FILE)

    @property
    def needs_attention(self) -> bool:
        """Whether somebody has to do something."""
        return self.state is SecretState.MISSING or self.is_overdue or self.fault is not None or self.is_file_outdated


def misnamed_secrets(deployment: Deployment, values: Mapping[str, str]) -> dict[str, str]:
    """Which names in the store in use are nearly those of secrets, and whose: see :func:`near_names`."""
    return near_names(deployment.catalog, values, is_shared=kind_in_use(deployment).is_shared)


def read_status(deployment: Deployment, snapshot: Snapshot) -> list[SecretStatus]:
    """A row for each secret of the catalogue, in its order."""
    directory = deployment.docker_directory
    if not os.path.isdir(directory):
        directory = ""
    cloud = is_cloud_mode(deployment)
    return [
        _status_of(
            spec, deployment.catalog, snapshot, directory if needs_file(spec, spec.docker_file, cloud=cloud) else ""
        )
        for spec in deployment.catalog.secrets
    ]


def _status_of(spec: SecretSpec, catalog: Catalog, snapshot: Snapshot, directory: str) -> SecretStatus:
    """One row; ``directory`` is empty when Compose does not use the file of the secret."""
    value = snapshot.values.get(spec.name)
    metadata = snapshot.metadata.get(spec.name)
    updated_at = metadata.updated_at if metadata and value else None
    state = SecretState.SET if value else SecretState.MISSING if spec.required else SecretState.NOT_USED
    found = examine(spec, value, Origin.STORE, catalog, snapshot.values) if value else []
    file = SecretFile(spec.docker_file, (value or "").encode())
    return SecretStatus(
        name=spec.name,
        group=spec.group,
        state=state,
        updated_at=updated_at,
        age_days=age_in_days(updated_at),
        rotation_days=spec.rotation_days,
        fault=found[0].fault if found else None,
        reason=found[0].text if found else None,
        docker=content_state(file, directory) if directory and (value or not spec.required) else FileState.NOT_NEEDED,
        in_grace=max(0, len(snapshot.versions(spec.name, utc_now())) - 1),
    )
