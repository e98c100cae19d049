"""Which tests stay together when several processes share them (pytest-xdist), and which come first.

Tests that share something longer than one test stay in one process: the fixtures of a module say so. Long ones come
first, so that the processes end at about the same time.
"""

from __future__ import annotations

from collections.abc import Generator

import pytest

LONG = (
    "tests/e2e/test_docs_commands.py",
    "tests/e2e/test_stack.py",
    "tests/e2e/test_rotation.py",
    "tests/packaging",
    "tests/e2e/test_stack_cloud.py",
    "tests/e2e/test_guides.py",
    "tests/contract/test_vault.py",
    "tests/e2e/test_policy.py",
    "tests/faults",
    "tests/e2e",
)
"""The beginnings of paths, the longest first; everything else comes after them."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None, None, None]:
    """Mark groups before xdist reads the marks, and sort after everything else; alone, a process does neither."""
    is_worker = hasattr(config, "workerinput")
    for item in items if is_worker else []:
        if isinstance(item, pytest.Function) and (group := _group_of(item)):
            item.add_marker(pytest.mark.xdist_group(group))
    yield
    if is_worker:
        items.sort(key=_rank)


def _group_of(item: pytest.Function) -> str | None:
    """The module, and the parameters of its fixtures, if one of these lives as long as the module."""
    if item.get_closest_marker("xdist_group"):
        return None
    shared = {
        name
        for name, found in item._fixtureinfo.name2fixturedefs.items()
        if any(fixture.scope in ("module", "class", "package") for fixture in found)
    }
    if not shared:
        return None
    indices = item.callspec.indices if hasattr(item, "callspec") else {}
    return " ".join([item.location[0], *(f"{name}={indices[name]}" for name in sorted(shared & set(indices)))])


def _rank(item: pytest.Item) -> int:
    path = item.location[0]
    return next((number for number, beginning in enumerate(LONG) if path.startswith(beginning)), len(LONG))
