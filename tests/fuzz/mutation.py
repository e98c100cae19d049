"""Inputs that are almost valid, so that they pass a parser's first checks: seeds with changed parts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.support.forms import IN_FULL

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn

EXAMPLES = 3000 if IN_FULL else 60

full_or_short = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=not IN_FULL,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)

_NASTY = (b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"{", b"[" * 2000, b'"', b"'", b"\n", b"\r", b"=", b"$(x)", b"`", b"\\")


@st.composite
def mutated(draw: DrawFn, seeds: list[bytes]) -> bytes:
    """Draw one of ``seeds`` with up to six changes."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 40)))
        piece = draw(
            st.one_of(st.just(b""), st.sampled_from(_NASTY), st.binary(max_size=8), st.just(data[start:end] * 2))
        )
        data = data[:start] + piece + data[end:]
    return data


def json_values() -> st.SearchStrategy[Any]:
    """Draw any JSON, with names of this project among its keys."""
    names = st.sampled_from(["secrets", "metadata", "version", "previous", "value", "updated_at", "SECRET_KEY", "data"])
    scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | st.text(max_size=5), inner, max_size=4),
        max_leaves=12,
    )


@st.composite
def reshaped(draw: DrawFn, document: dict[str, Any]) -> Any:
    """Draw ``document`` with some parts replaced or removed."""
    changed = json.loads(json.dumps(document))
    for _ in range(draw(st.integers(1, 3))):
        node: Any = changed
        while isinstance(node, dict | list) and node:
            key = draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
            child = node[key]
            if not isinstance(child, dict | list) or not child or draw(st.booleans()):
                if draw(st.booleans()):
                    node[key] = draw(json_values())
                else:
                    del node[key]
                break
            node = child
    return changed


NUMBERS = ("1e999", "-1e999", "NaN", "-Infinity", "1" * 5000, "-0", "0.1e-999", "2", "0", "1.0", "true", "null", '"1"')
TEXTS = ('"\\ud800"', '"\\u0000"', '""', '"' + "x" * 5000 + '"', '"2026-13-45T99:99:99Z"', '"0001-01-01"')
NESTED = ("[" * 100_000, '{"a":' * 100_000, "[" * 900 + "]" * 900, '{"a":' * 900 + "1" + "}" * 900)


@st.composite
def almost_json(draw: DrawFn, document: dict[str, Any]) -> bytes:
    """Draw ``document`` as text, with a part of another type, and a value or a key that is a special case of JSON."""
    text = json.dumps(draw(st.just(document) | reshaped(document)))
    for _ in range(draw(st.integers(0, 3))):
        places = [place for place, character in enumerate(text) if character in ":,{["]
        if not places:
            break
        place = draw(st.sampled_from(places)) + 1
        odd = draw(st.sampled_from((*NUMBERS, *TEXTS, *NESTED)))
        change = draw(st.sampled_from(["value", "key", "twice"]))
        if change == "value":
            end = next((index for index in range(place, len(text)) if text[index] in ",}]"), len(text))
            text = text[:place] + odd + text[end:]
        elif change == "key":
            text = text[:place] + f'"version": {odd}, ' + text[place:]
        else:
            text = text[:place] + f'"secrets": {odd}, "secrets": {{"A": "b"}}, ' + text[place:]
    return text.encode()
