"""Comparing values without showing them: HMAC-SHA-256 under a key that lives as long as the run."""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEY = os.urandom(32)
SHOWN_CHARACTERS = 8


def fingerprint(value: str) -> str:
    """A name for ``value`` that is the same within this run and says nothing about it outside."""
    return hmac.new(_KEY, value.encode(errors="surrogatepass"), hashlib.sha256).hexdigest()[:SHOWN_CHARACTERS]


def compare(left: Mapping[str, str], right: Mapping[str, str]) -> dict[str, str]:
    """For each name in either: ``same``, ``differs``, ``only left`` or ``only right``."""
    names = [*left, *(name for name in right if name not in left)]
    return {name: _state(left.get(name), right.get(name)) for name in names}


def _state(left: str | None, right: str | None) -> str:
    if left is None:
        return "only right"
    if right is None:
        return "only left"
    return "same" if fingerprint(left) == fingerprint(right) else "differs"
