"""Making values."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from src.utils.secrets.catalog import SecretSpec


def generate_value(spec: SecretSpec) -> str:
    """A new value: exactly ``spec.length`` characters of ``secrets.token_urlsafe``, 6 bits of randomness each."""
    assert spec.length is not None

    return secrets.token_urlsafe(spec.length)[: spec.length]
