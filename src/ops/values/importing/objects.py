"""JSON: an object of names and texts, the decrypted content of an encrypted file, or a list of names with values."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from .entries import ENTRY, NOTHING_CHANGED, Content, Entry, ImportRefusedError
from .formats import refuse_objects

if TYPE_CHECKING:
    from .entries import IsOurs

_JSON = re.compile(r"\s*(?:\{|\[\s*(?:[\[{\"\]]))")


class _Pairs(list[tuple[str, object]]):
    """An object with all its pairs, also those whose name it has twice."""


def is_json(text: str) -> bool:
    """Whether ``text`` is meant as JSON; ``[section]`` is not."""
    return _JSON.match(text) is not None


def read_objects(text: str, source: str, is_ours: IsOurs) -> Content:
    """The names and values in JSON.

    Args:
        text: The text of the file.
        source: Where it comes from, for the error.
        is_ours: Whether a name is one of a secret.

    Raises:
        ImportRefusedError: It is no JSON, or JSON of another shape.
    """
    pairs = _pairs_of(_parse(text, source), source)
    table = dict(pairs)
    refuse_objects({name: _plain(value) for name, value in table.items()}, source)
    nested = table.get("secrets")
    if "version" in table and isinstance(nested, _Pairs):
        pairs = nested
    elif not any(is_ours(name) for name, _value in pairs) and _has_ours_inside([v for _n, v in pairs], is_ours):
        raise ImportRefusedError(
            f"{source} has the secrets inside another object; {NOTHING_CHANGED}",
            hint='Use one object of names and values: {"NAME": "value"}',
        )
    return Content(ENTRY, [Entry(place, name, value) for place, (name, value) in enumerate(pairs, 1)])


def _parse(text: str, source: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=_Pairs)
    except json.JSONDecodeError as error:
        raise ImportRefusedError(
            f"{source} is not valid JSON (line {error.lineno}, column {error.colno}); {NOTHING_CHANGED}",
            hint="Correct it and run this again",
        ) from None
    except RecursionError:
        raise ImportRefusedError(
            f"{source} is nested too deeply; {NOTHING_CHANGED}", hint="Use one object of names and values"
        ) from None
    except ValueError:  # a number of thousands of digits
        raise ImportRefusedError(
            f"{source} has a number that is too long; {NOTHING_CHANGED}", hint="Write values in quotes"
        ) from None


def _pairs_of(content: object, source: str) -> list[tuple[str, object]]:
    if isinstance(content, _Pairs):
        return content
    if isinstance(content, list) and content and all(isinstance(one, _Pairs) for one in content):
        named = [_named(dict(one)) for one in content]
        if all(named):
            return [one for one in named if one]
    raise ImportRefusedError(
        f"{source} is a list without names; {NOTHING_CHANGED}",
        hint='Use one object of names and values: {"NAME": "value"}',
    )


def _named(one: dict[str, object]) -> tuple[str, object] | None:
    name = one.get("name", one.get("key"))
    return (name, one.get("value", one)) if isinstance(name, str) else None  # without one, it is no text


def _plain(value: object) -> object:
    """``value`` with its objects as dictionaries, two levels deep: as far as other programs are told apart."""
    if isinstance(value, _Pairs):
        return {name: dict(inner) if isinstance(inner, _Pairs) else inner for name, inner in value}
    return value


def _has_ours_inside(values: list[object], is_ours: IsOurs) -> bool:
    while values:
        value = values.pop()
        if isinstance(value, _Pairs):
            if any(is_ours(name) for name, _inner in value):
                return True
            values += [inner for _name, inner in value]
        elif isinstance(value, list):
            values += value
    return False
