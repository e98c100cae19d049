"""How long the value that a new one replaces is still accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from src.utils.secrets.snapshot import utc_after

if TYPE_CHECKING:
    from src.utils.secrets.catalog import SecretSpec

GRACE_SECONDS = 24 * 60 * 60.0


def previous_valid_until(spec: SecretSpec, grace_seconds: float = GRACE_SECONDS) -> str | None:
    """Until when the value that a new one replaces is accepted. See :class:`Change`."""
    if spec.previous_values == "kept":
        return None
    return utc_after(grace_seconds) if spec.previous_values == "grace" else ""
