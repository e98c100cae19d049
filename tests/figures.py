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
