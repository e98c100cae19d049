"""The two forms of the tests: ``make test`` runs the short form, ``make prove`` the full one.

``pairs`` and ``in_short`` mark the tests of which only ``make prove`` runs every case.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable

import pytest

IN_FULL = bool(os.environ.get("PROVE"))


def pairs(*names: str) -> pytest.MarkDecorator:
    """Let the short form use each value of each of these parameters, in place of all combinations."""
    return pytest.mark.pairs(*names)


def in_short(names: str | tuple[str, ...], cases: Iterable[object]) -> pytest.MarkDecorator:
    """Let the short form run only these cases, written as for ``parametrize``."""
    if isinstance(names, str):
        names, cases = (names,), [(case,) for case in cases]
    return pytest.mark.in_short(names=names, cases=list(cases))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None, None, None]:
    """Leave the other cases out of the short form, unless a case is named on the command line."""
    if not IN_FULL and not any("[" in argument for argument in config.args):
        left_out = _left_out(items)
        config.hook.pytest_deselected(items=left_out)
        gone = set(left_out)
        items[:] = [item for item in items if item not in gone]
    yield


def _left_out(items: list[pytest.Item]) -> list[pytest.Item]:
    tests: dict[str, list[pytest.Function]] = {}
    for item in items:
        if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            tests.setdefault(item.nodeid.partition("[")[0], []).append(item)
    return [item for cases in tests.values() for item in cases if not _is_in_short(item, cases)]


def _is_in_short(item: pytest.Function, cases: list[pytest.Function]) -> bool:
    return all(_is_pair(item, cases, mark.args) for mark in item.iter_markers("pairs")) and all(
        tuple(item.callspec.params[name] for name in mark.kwargs["names"]) in mark.kwargs["cases"]
        for mark in item.iter_markers("in_short")
    )


def _is_pair(item: pytest.Function, cases: list[pytest.Function], names: Iterable[str]) -> bool:
    """Whether this is one of as many cases as the longest parameter has values; a shorter one begins again."""
    places, lengths = [], []
    for name in names:
        if name in item.callspec.params:
            values = _values(cases, name)
            places.append(values.index(item.callspec.params[name]))
            lengths.append(len(values))
    number = (
        max(place for place, length in zip(places, lengths, strict=True) if length == max(lengths)) if places else 0
    )
    return places == [number % length for length in lengths]


def _values(cases: list[pytest.Function], name: str) -> list[object]:
    values: list[object] = []
    for case in cases:
        if case.callspec.params[name] not in values:
            values.append(case.callspec.params[name])
    return values
