"""Names in a store that are nearly those of secrets. No program reads a value under such a name."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from src.utils.secrets.catalog import Catalog


def near_names(catalog: Catalog, values: Mapping[str, str], *, is_shared: bool) -> dict[str, str]:
    """Which names of ``values`` would be a secret's but for case, blanks and punctuation, and whose.

    Args:
        catalog: The secrets.
        values: What the store holds, by name.
        is_shared: Whether it may hold secrets of others. Then only what may be one of ours that is missing counts.
    """
    known = [_letters(name) for name in catalog.names]
    rightful = {key: name for key, name in zip(known, catalog.names, strict=True) if known.count(key) == 1}
    found = {}
    for name in sorted(set(values) - set(catalog.names)):
        right = rightful.get(_letters(name))
        # A command would take one that begins with a dash for an option.
        if right is None or not values.get(name) or name.startswith("-"):
            continue
        if not (is_shared and values.get(right)):
            found[name] = right
    return found


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name)).casefold()
