"""A line that is written for a shell: ``export A=1 B=2``, ``A=1; B=2``, ``A=1; export A``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import faults
from .entries import Entry
from .words import read_word

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .entries import IsOurs
    from .words import Word

NAME = r"[A-Za-z_][A-Za-z0-9_.-]*"
KEYWORD = re.compile(r"(?:export|declare|typeset|readonly)(?:[ \t]+-[A-Za-z]+)*(?=[ \t\r\n;]|\Z)")
_ASSIGNMENT = re.compile(rf"({NAME})(\+?)=")
_BARE_NAME = re.compile(rf"{NAME}(?=[ \t\r\n;]|\Z)")
_BLANKS = re.compile(r"(?:[ \t]|\\\n)*")
_SPACES = re.compile(r"[ \t]*")
_REST = re.compile(r"[^\r\n]*")
_ANYWHERE = re.compile(rf"(?<![\w.-])({NAME})=")
_SWALLOWED = re.compile(rf"(?:\r\n|\n|\r)[ \t]*(?:export[ \t]+)?({NAME})[ \t]*=")


@dataclass
class Statements:
    """The assignments of a line.

    Attributes:
        end: Where the last line of it ends.
        entries: In their order.
        is_complete: Whether nothing else is in it.
        is_several: Whether it has several statements, or several assignments.
    """

    end: int
    entries: list[Entry] = field(default_factory=list)
    is_complete: bool = True
    is_several: bool = False


def read_statements(text: str, position: int, is_ours: IsOurs, number: Callable[[int], int]) -> Statements:
    """The assignments of the line at ``position``, as a shell reads it.

    Args:
        text: The text of the file.
        position: Where the line begins.
        is_ours: Whether a name is one of a secret.
        number: The number of the line of a position.
    """
    reader = _Reader(text, position, is_ours, number)
    reader.read()
    return Statements(
        reader.position, reader.entries, reader.is_complete, reader.has_separator or len(reader.entries) > 1
    )


def end_of_line(text: str, position: int) -> int:
    """Where the line of ``position`` ends."""
    found = _REST.match(text, position)
    return found.end() if found else position


def swallowed(text: str, start: int, end: int, is_ours: IsOurs, number: Callable[[int], int]) -> Iterator[Entry]:
    """The lines of secrets inside the quotes of a value.

    Args:
        text: The text of the file.
        start: Where the value begins.
        end: Where it ends.
        is_ours: Whether a name is one of a secret.
        number: The number of the line of a position.
    """
    for found in _SWALLOWED.finditer(text, start, end):
        if is_ours(found[1]):
            yield Entry(number(found.start(1)), found[1], "", faults.inside_quotes_of(number(start)), is_quoted=True)


def ours_in(text: str, start: int, end: int, is_ours: IsOurs, number: Callable[[int], int]) -> Iterator[Entry]:
    """The assignments of secrets in a part of a line that is not understood."""
    for found in _ANYWHERE.finditer(text, start, end):
        if is_ours(found[1]):
            yield Entry(number(start), found[1], "", faults.NOT_CLEAR, is_quoted=True)


class _Reader:
    def __init__(self, text: str, position: int, is_ours: IsOurs, number: Callable[[int], int]) -> None:
        self.text = text
        self.position = position
        self.entries: list[Entry] = []
        self.is_complete = True
        self.has_separator = False
        self._is_ours = is_ours
        self._number = number
        self._first = 0  # of the entries of this statement
        self._is_export = False
        self._is_begun = False

    def read(self) -> None:
        while True:
            before = self.position
            self.position = _BLANKS.match(self.text, before).end()  # type: ignore[union-attr]
            letter = self.text[self.position : self.position + 1]
            if letter in ("", "\r", "\n"):
                break
            if letter == "#":
                self._comment(is_apart=self.position > before)
                break
            if letter == ";" or (letter == "&" and self._continues_with_and(before)):
                self._separate(is_semicolon=letter == ";")
            elif not self._item():
                self._give_up()
                break
        self._end_statement()

    @property
    def _last(self) -> Entry | None:
        """The last assignment of this statement."""
        return self.entries[-1] if len(self.entries) > self._first else None

    def _blame(self, fault: str, *, only_unquoted: bool = True) -> None:
        last = self._last
        if last and not last.fault and not (only_unquoted and last.is_quoted):
            last.fault = fault

    def _item(self) -> bool:
        keyword = None if self._is_begun else KEYWORD.match(self.text, self.position)
        self._is_begun = True
        if keyword:
            self._is_export = True
            self.position = keyword.end()
            return True
        assignment = _ASSIGNMENT.match(self.text, self.position)
        if assignment:
            return self._assign(assignment)
        bare = _BARE_NAME.match(self.text, self.position) if self._is_export else None
        if bare is None:
            return False
        self._blame(faults.ANOTHER_WORD)
        self.position = bare.end()
        return True

    def _assign(self, assignment: re.Match[str]) -> bool:
        start = assignment.end()
        word = read_word(self.text, start, is_shell=True)
        place = self._number(assignment.start())
        entry = Entry(place, assignment[1], word.value, word.fault, self.text[start : start + 1] in ("'", '"'))
        entry.fault = faults.APPENDED if assignment[2] else entry.fault
        self.entries.append(entry)
        if not word.is_closed:
            entry.fault = entry.fault or faults.QUOTES
            self.position = start
            return False
        self.position = word.end
        entry.last_line = self._number(word.end)
        self._look_inside(start, word)
        return True

    def _look_inside(self, start: int, word: Word) -> None:
        inside = list(swallowed(self.text, start, word.end, self._is_ours, self._number))
        self.entries[-1:-1] = inside
        self._first += len(inside)

    def _continues_with_and(self, before: int) -> bool:
        if not self.text.startswith("&&", self.position) or self.position == before:
            return False
        return self._begins_statement(_BLANKS.match(self.text, self.position + 2).end())  # type: ignore[union-attr]

    def _begins_statement(self, position: int) -> bool:
        return bool(KEYWORD.match(self.text, position) or _ASSIGNMENT.match(self.text, position))

    def _separate(self, *, is_semicolon: bool) -> None:
        following = self.position + (1 if is_semicolon else 2)
        if is_semicolon and not self._is_separator(following):
            self._blame(faults.SEMICOLON)
        self._end_statement()
        self.has_separator = True
        self.position = following

    def _is_separator(self, following: int) -> bool:
        """Whether a ``;`` behind a value without quotes ends it, rather than being a part of it."""
        start = _SPACES.match(self.text, following).end()  # type: ignore[union-attr]
        if self.text[start : start + 1] in ("", "\r", "\n", "#"):
            return len(self.entries) > 1
        if start > following or KEYWORD.match(self.text, start):
            return self._begins_statement(start)
        # `PW=ab;c=d` is rather one value; a name of the catalogue is no accident.
        assignment = _ASSIGNMENT.match(self.text, start)
        return assignment is not None and self._is_ours(assignment[1])

    def _end_statement(self) -> None:
        several = self.entries[self._first :]
        if not self._is_export and any(not entry.is_quoted for entry in several[:-1]):
            for entry in several:
                entry.fault = entry.fault or faults.SEVERAL
        self._first = len(self.entries)
        self._is_export = self._is_begun = False

    def _comment(self, *, is_apart: bool) -> None:
        if is_apart:
            self._blame(faults.HASH)
        self.position = end_of_line(self.text, self.position)

    def _give_up(self) -> None:
        self.is_complete = False
        self._blame(faults.SHELL_TEXT, only_unquoted=False)
        end = end_of_line(self.text, self.position)
        self.entries += ours_in(self.text, self.position, end, self._is_ours, self._number)
        self.position = end
