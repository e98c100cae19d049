"""What the tests of this run went through, counted, for `make prove` and docs/proof.md."""

from __future__ import annotations

_figures: dict[tuple[str, str], float] = {}


def add(what: str, count: float, unit: str) -> None:
    """Add to a figure.

    Args:
        what: The line of the table.
        count: How many more.
        unit: Of what.
    """
    _figures[what, unit] = _figures.get((what, unit), 0) + count


def lines() -> list[str]:
    """The table, a line for each figure."""
    return [f"{what}: {count:,.10g} {unit}" for (what, unit), count in sorted(_figures.items())]


_measured: list[str] = []


def say(line: str) -> None:
    """Keep a line for the end of every run."""
    _measured.append(line)


def measured() -> list[str]:
    """What :func:`say` kept."""
    return list(_measured)


Exported = tuple[list[tuple[str, float, str]], list[str]]
"""In the plain types that pytest-xdist carries from one process to another."""


def export() -> Exported:
    """Everything kept in this process."""
    return [(what, count, unit) for (what, unit), count in _figures.items()], list(_measured)


def take_over(exported: Exported) -> None:
    """Add what another process kept."""
    for what, count, unit in exported[0]:
        add(what, count, unit)
    _measured.extend(exported[1])
