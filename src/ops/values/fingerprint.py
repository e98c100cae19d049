"""Comparing values without showing them: HMAC-SHA-256 under a key that lives as long as the run."""

from __future__ import annotations

import hashlib
import hmac
import os
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEY = os.urandom(32)
SHOWN_CHARACTERS = 8


def fingerprint(value: str) -> str:
    """A name for ``value`` that is the same within this run and says nothing about it outside."""
    return hmac.new(_KEY, value.encode(errors="surrogatepass"), hashlib.sha256).hexdigest()[:SHOWN_CHARACTERS]


class Difference(StrEnum):
    """How the values of one name compare."""

    SAME = "same"
    DIFFERS = "differs"
    ONLY_LEFT = "only left"
    ONLY_RIGHT = "only right"


class Transfer(StrEnum):
    """What copying one name to another store would mean there."""

    NEW = "new"
    SAME = "same"
    DIFFERS = "differs"
    ONLY_THERE = "only there"


WRITTEN = (Transfer.NEW, Transfer.DIFFERS)
"""What a copy writes."""


def compare(left: Mapping[str, str], right: Mapping[str, str]) -> dict[str, Difference]:
    """How the values of each name in either compare."""
    names = [*left, *(name for name in right if name not in left)]
    return {name: _state(left.get(name), right.get(name)) for name in names}


def plan_transfer(source: Mapping[str, str], target: Mapping[str, str]) -> dict[str, Transfer]:
    """What copying ``source`` to ``target`` would mean, for each name in either."""
    meanings = {
        Difference.SAME: Transfer.SAME,
        Difference.DIFFERS: Transfer.DIFFERS,
        Difference.ONLY_LEFT: Transfer.NEW,
        Difference.ONLY_RIGHT: Transfer.ONLY_THERE,
    }
    return {name: meanings[difference] for name, difference in compare(source, target).items()}


def _state(left: str | None, right: str | None) -> Difference:
    if left is None:
        return Difference.ONLY_RIGHT
    if right is None:
        return Difference.ONLY_LEFT
    return Difference.SAME if fingerprint(left) == fingerprint(right) else Difference.DIFFERS
