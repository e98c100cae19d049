"""Which tests stay together when several processes share them (pytest-xdist), and which come first.

Tests that share a fixture of module or class scope stay in one process. Slow tests come first, so that the processes
end at about the same time.
"""

from __future__ import annotations

from collections.abc import Generator

import pytest

LONG = (
    "tests/e2e/test_docs_commands.py",
    "tests/e2e/test_rotation.py",
    "tests/e2e/test_stack.py",
    "tests/e2e/test_apply.py",
    "tests/faults/test_crashes.py",
    "tests/e2e/test_stack_cloud.py",
    "tests/e2e/test_stack_rescue.py",
    "tests/e2e/test_policy.py",
    "tests/contract/test_vault.py",
    "tests/faults",
    "tests/packaging",
    "tests/e2e/test_guides.py",
    "tests/e2e",
    "tests/contract",
)
"""The starts of paths, the slowest first; all other tests come after them."""


# What tests start containers with. They all run one after the other: if a Swarm starts or ends while a container of
# another stack starts, that container has no name service.
STARTS_CONTAINERS = ("prepared_for_compose", "running_stack")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Give whole groups to each process, in our order, for every way to request several processes."""
    if hasattr(config, "workerinput"):
        config.option.loadgroup = True
    elif getattr(config.option, "numprocesses", None):
        config.option.dist = "loadgroup"
        config.option.loadscopereorder = False


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None, None, None]:
    """Mark groups before xdist reads the marks, and sort the tests last; a single process needs neither."""
    if not hasattr(config, "workerinput"):
        yield
        return
    grouped = [item for item in items if isinstance(item, pytest.Function) and _mark_group(item)]
    yield
    if not all("@" in item.nodeid for item in grouped):
        raise pytest.UsageError("pytest-xdist does not keep groups together: is pytest newer than 9.1?")
    items.sort(key=_rank)


def _mark_group(item: pytest.Function) -> bool:
    """Put the test into a group if it shares fixtures: its module, and the parameters of the shared fixtures."""
    if item.get_closest_marker("xdist_group"):
        return True
    if any(hasattr(item.module, name) for name in STARTS_CONTAINERS):
        item.add_marker(pytest.mark.xdist_group("engine"))
        return True
    shared = {
        name
        for name, found in item._fixtureinfo.name2fixturedefs.items()
        if any(fixture.scope in ("module", "class", "package") for fixture in found)
    }
    if not shared:
        return False
    indices = item.callspec.indices if hasattr(item, "callspec") else {}
    variant = [f"{name}={indices[name]}" for name in sorted(shared & set(indices))]
    item.add_marker(pytest.mark.xdist_group(" ".join([_module(item), *variant])))
    return True


def _rank(item: pytest.Item) -> int:
    module = _module(item)
    return next((number for number, beginning in enumerate(LONG) if module.startswith(beginning)), len(LONG))


def _module(item: pytest.Item) -> str:
    """The module of the test. `item.location` names the module of its base class if the test is inherited."""
    return item.nodeid.partition("::")[0]
