"""Figures of a test run, for `make prove` and docs/proof.md."""

from __future__ import annotations

_figures: dict[tuple[str, str], float] = {}


def add(what: str, count: float, unit: str) -> None:
    """Add to a figure.

    Args:
        what: The line of the table.
        count: The number to add.
        unit: The unit of the number.
    """
    _figures[what, unit] = _figures.get((what, unit), 0) + count


def lines() -> list[str]:
    """Return the table, one line for each figure."""
    return [f"{what}: {count:,.10g} {unit}" for (what, unit), count in sorted(_figures.items())]


_measured: list[str] = []


def say(line: str) -> None:
    """Keep a line to print at the end of every run."""
    _measured.append(line)


def measured() -> list[str]:
    """Return the lines that :func:`say` kept."""
    return list(_measured)


Exported = tuple[list[tuple[str, float, str]], list[str]]
"""Plain types, which pytest-xdist can send to another process."""


def export() -> Exported:
    """Return all figures and lines of this process."""
    return [(what, count, unit) for (what, unit), count in _figures.items()], list(_measured)


def merge(exported: Exported) -> None:
    """Add the figures and lines of another process."""
    for what, count, unit in exported[0]:
        add(what, count, unit)
    _measured.extend(exported[1])
