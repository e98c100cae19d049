"""What the readers of all formats hand on: names with values, and what is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from src.utils.secrets.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    IsOurs = Callable[[str], bool]

LINE, ENTRY, FILE = "line", "entry", "file"
MOST_PROBLEMS = 20
NOTHING_CHANGED = "nothing was changed"
OTHER_WAY = "--set-file NAME=PATH takes any value"


class ImportRefusedError(ConfigurationError):
    """A file cannot be imported as it is."""


@dataclass
class Entry:
    """One name with its value.

    Attributes:
        place: The number of its line, or its position.
        name: As the file has it.
        value: A text; in JSON also something else.
        fault: Why the value cannot be read, and what to do; matters only for a secret of the catalogue.
        is_quoted: Whether the value begins with a quote.
        last_line: The number of the line where the value ends.
    """

    place: int
    name: str
    value: object = field(repr=False)
    fault: str = ""
    is_quoted: bool = False
    last_line: int = 0


@dataclass(frozen=True)
class Stray:
    """A line that names nothing.

    Attributes:
        place: The number of the line, or the position.
        text: The line; never shown, it may be a secret.
        after: The entry in the line before it, if there is one.
    """

    place: int
    text: str = field(repr=False)
    after: Entry | None = None


@dataclass
class Content:
    """What a file holds.

    Attributes:
        unit: What :attr:`Entry.place` counts.
        entries: In their order.
        strays: The lines that name nothing.
    """

    unit: str
    entries: list[Entry] = field(default_factory=list)
    strays: list[Stray] = field(default_factory=list)


@dataclass(frozen=True)
class Problem:
    """Why one value cannot be imported.

    Attributes:
        places: Where; the first one is shown in front.
        name: The name there.
        text: What is wrong, and what to do; without any value.
    """

    places: tuple[int, ...]
    name: str
    text: str


def refuse(problems: Sequence[Problem], source: str, unit: str) -> ImportRefusedError:
    """The error that has all of ``problems``.

    Args:
        problems: At least one.
        source: Where the values come from, human-readable.
        unit: What their places count.
    """
    count = len({place for problem in problems for place in problem.places})
    many = {LINE: "lines", ENTRY: "entries", FILE: "files"}[unit]
    hints = [_say(problem, unit) for problem in sorted(problems, key=lambda problem: problem.places)]
    if len(hints) > MOST_PROBLEMS:
        hints[MOST_PROBLEMS:] = [f"And {len(hints) - MOST_PROBLEMS} more"]
    return ImportRefusedError(
        f"{count} {unit if count == 1 else many} of {source} cannot be imported; {NOTHING_CHANGED}", hint=hints
    )


def _say(problem: Problem, unit: str) -> str:
    where = f"{problem.name}: " if unit == FILE else f"{unit.capitalize()} {problem.places[0]}, {problem.name}: "
    return where + problem.text
