"""Lines of ``NAME=value``: dotenv files, shell scripts, and what ``env`` printed.

python-dotenv, Compose and shells disagree about such lines. Where they would give a secret different values, and
nothing in the line says which one is meant, the entry has a fault. Other names are never judged, and what is odd in
their values does not keep the lines behind them from being read.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING

from . import faults
from .entries import LINE, Content, Entry, Stray
from .statements import KEYWORD, NAME, end_of_line, ours_in, read_statements, swallowed
from .words import read_word

if TYPE_CHECKING:
    from .entries import IsOurs
    from .words import Word

_LINE_END = re.compile(r"\r\n|\n|\r")
_PLAIN = re.compile(rf"""[ \t]*(?P<quote>['"]?)(?P<name>{NAME})(?P=quote)(?P<space>[ \t]*)(?P<plus>\+?)=""")
_BLANKS = re.compile(r"[ \t]*")
_SECTION = re.compile(r"[ \t]*\[[^\r\n]*\][ \t]*")
_FUNCTION = re.compile(r"BASH_FUNC_[^\r\n=]*(?:%%|\(\))=\(\) \{")
_FUNCTION_END = re.compile(r"^\}", re.MULTILINE)
_NOTHING = re.compile(r"[ \t]*(?:#.*|set[ \t]+[-+][A-Za-z]+[ \t]*|unset[ \t].*)?", re.DOTALL)
_MORE = re.compile(rf"[ \t]{NAME}=")
_BEHIND_SEMICOLON = re.compile(rf";[ \t]*(?:export[ \t]+)?({NAME})=")
_CLEAN_TAIL = re.compile(r"[ \t]*(?=[\r\n]|\Z)|[ \t]+#[^\r\n]*")
_SHELL_TAIL = re.compile(rf"[ \t]*;|[ \t]+(?:&&|{NAME}\+?=)")
_TWO_QUOTES = re.compile(r"""'[^']*'|"[^"]*\"""")


def read_lines(text: str, is_ours: IsOurs) -> Content:
    """The assignments in ``text``, and the lines that are none.

    Args:
        text: The text of the file.
        is_ours: Whether a name is one of a secret.
    """
    reader = _Reader(text, is_ours)
    position = 0
    while position < len(text):
        end = reader.read_line(position)
        found = _LINE_END.match(text, end)
        position = found.end() if found else len(text)
    return reader.content


class _Reader:
    def __init__(self, text: str, is_ours: IsOurs) -> None:
        self.content = Content(LINE)
        self._text = text
        self._is_ours = is_ours
        self._starts = [0, *(found.end() for found in _LINE_END.finditer(text))]
        self._last_function_end = text.rfind("\n}")
        self._blank_lines: set[int] = set()
        self._has_sections = self._begins_with_section()

    def _begins_with_section(self) -> bool:
        for start in self._starts:
            line = self._text[start : end_of_line(self._text, start)]
            if not _NOTHING.fullmatch(line) and not line.lstrip().startswith(";"):
                return bool(_SECTION.fullmatch(line))
        return False

    def _number(self, position: int) -> int:
        return bisect_right(self._starts, position)

    def read_line(self, start: int) -> int:
        """Read the line that begins at ``start``; returns where it, or the value in it, ends."""
        end = end_of_line(self._text, start)
        line = self._text[start:end]
        if not line.strip():
            self._blank_lines.add(self._number(start))
        if _NOTHING.fullmatch(line) or (self._has_sections and self._belongs_to_sections(line)):
            return end
        if _FUNCTION.match(line):
            return self._end_of_function(end)
        if KEYWORD.match(line.lstrip(" \t")):
            return self._shell_line(start, end)
        found = _PLAIN.match(self._text, start, end)
        # Base64 ends with one or two =.
        if not found or self._text[found.end() : end].strip(" \t") == "=":
            self._stray(start, line)
            return end
        position = _BLANKS.match(self._text, found.end()).end()  # type: ignore[union-attr]
        if found["plus"]:
            self._add(Entry(self._number(start), found["name"], "", faults.APPENDED, is_quoted=True))
            return end
        if self._text.startswith(("'", '"'), position):
            return self._quoted(start, end, found, position)
        return self._unquoted(start, end, found)

    def _belongs_to_sections(self, line: str) -> bool:
        return line.lstrip().startswith(";") or bool(_SECTION.fullmatch(line))

    def _end_of_function(self, end: int) -> int:
        if end > self._last_function_end or self._text[end - 1] == "}":
            return end
        found = _FUNCTION_END.search(self._text, end)
        return end_of_line(self._text, found.end()) if found else end

    def _add(self, *entries: Entry) -> None:
        self.content.entries += entries

    def _stray(self, start: int, line: str) -> None:
        number = self._number(start)
        last = self.content.entries[-1] if self.content.entries else None
        before = number - 1
        while before in self._blank_lines:
            before -= 1
        self.content.strays.append(Stray(number, line, last if last and last.last_line == before else None))

    def _shell_line(self, start: int, end: int) -> int:
        statements = read_statements(self._text, start, self._is_ours, self._number)
        if not statements.entries and not statements.is_complete:
            self._stray(start, self._text[start:end])
            return end
        self._add(*statements.entries)
        return statements.end

    def _quoted(self, start: int, end: int, found: re.Match[str], position: int) -> int:
        word = read_word(self._text, position, is_shell=False)
        entry = Entry(self._number(start), found["name"], word.value, word.fault, is_quoted=True)
        if word.is_closed and _CLEAN_TAIL.match(self._text, word.end):
            self._add(entry, *swallowed(self._text, position, word.end, self._is_ours, self._number))
            return end_of_line(self._text, word.end)
        if word.is_closed and self._is_for_shell(found) and _SHELL_TAIL.match(self._text, word.end):
            statements = read_statements(self._text, start, self._is_ours, self._number)
            if statements.is_complete:
                self._add(*statements.entries)
                return statements.end
        entry.fault = entry.fault or faults.QUOTES
        self._add(entry, *self._others_in_line(word, end))
        return end

    def _others_in_line(self, word: Word, end: int) -> list[Entry]:
        if not word.is_closed or word.end > end:
            return []
        return list(ours_in(self._text, word.end, end, self._is_ours, self._number))

    def _is_for_shell(self, found: re.Match[str]) -> bool:
        """Whether nothing around the ``=`` tells that the line is for another program."""
        blank = self._text[found.end() : found.end() + 1] in (" ", "\t")
        return not found["quote"] and not found["space"] and not blank

    def _unquoted(self, start: int, end: int, found: re.Match[str]) -> int:
        number, name = self._number(start), found["name"]
        rest = self._text[found.end() : end]
        if self._is_for_shell(found) and (";" in rest or _MORE.search(rest)):
            statements = read_statements(self._text, start, self._is_ours, self._number)
            if statements.is_complete and statements.is_several:
                self._add(*statements.entries)
                return statements.end
            for other in _BEHIND_SEMICOLON.finditer(rest):
                if self._is_ours(other[1]):
                    self._add(Entry(number, other[1], "", faults.NOT_CLEAR, is_quoted=True))
        if self._is_ours(name):
            rest, end = self._join(rest, end)
        last = self._number(end)
        self._add(Entry(number, name, rest.strip(" \t"), fault_of_unquoted(rest), last_line=last))
        return end

    def _join(self, rest: str, end: int) -> tuple[str, int]:
        """The value with the lines that a backslash at its end joins to it, where that is what it means."""
        parts = [rest]
        while _ends_with_backslash(parts[-1]):
            line_end = _LINE_END.match(self._text, end)
            start = line_end.end() if line_end else len(self._text)
            following = self._text[start : end_of_line(self._text, start)]
            # Printed by `env`, a backslash is the last letter of the value, and the next line is another variable.
            apart = _NOTHING.fullmatch(following) or _PLAIN.match(following) or KEYWORD.match(following)
            if apart or following[:1].isspace() or parts[-1][-2:-1].isspace():
                break
            parts[-1] = parts[-1][:-1]
            parts.append(following)
            end = end_of_line(self._text, start)
        return "".join(parts), end


def _ends_with_backslash(text: str) -> bool:
    """Whether the last letter is a backslash that no other one escapes."""
    return (len(text) - len(text.rstrip("\\"))) % 2 == 1


def fault_of_unquoted(rest: str) -> str:
    """Why programs read a value without quotes differently; empty when they do not.

    Args:
        rest: What follows the ``=``, with its blanks.
    """
    value = rest.strip(" \t")
    if value.startswith(("$'", '$"')):
        return faults.ANSI_C
    if value.startswith("<<"):
        return faults.HEREDOC
    if value.startswith(("`", "\u201c", "\u2018", "\u201e")):
        return faults.OTHER_QUOTES
    if value.startswith("-----BEGIN"):
        return faults.SEVERAL_LINES
    if re.search(r"[ \t]#", rest):
        return faults.HASH
    for letter, fault in ((";", faults.SEMICOLON), ("\\", faults.BACKSLASH)):
        if letter in value:
            return fault
    # A quote that nothing closes in the line is one that only a shell would take for more than a letter.
    return faults.QUOTE_INSIDE if _TWO_QUOTES.search(value) else ""
