"""One value as a shell reads it, with the places where other programs read something else."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from . import faults

_ENDS = frozenset(" \t\r\n;&|<>()")
_PLAIN = re.compile(r"""[^ \t\r\n;&|<>()'"\\$`{#~]+""")
_PLAIN_IN_DOUBLE = re.compile(r'[^"\\$`]+')
_ANSI_C = re.compile(r"\$'(?:[^'\\]|\\.)*'", re.DOTALL)
_EXPANSION = re.compile(r"\$(?:[A-Za-z0-9_{(@*#?!$-]|\\\r?\n)")  # a shell joins lines before it expands
_BRACES = re.compile(r"\$\{[^}\r\n]*\}")
_LINE_END = re.compile(r"\r\n|\n|\r")
_DECODED_IN_SINGLE = re.compile(r"\\\\|\\\Z")


@dataclass(frozen=True)
class Word:
    """A value.

    Attributes:
        value: As a shell reads it.
        end: The position behind it.
        fault: Why it is not to be read; empty when nothing is wrong.
        is_closed: Whether every quote in it ends.
    """

    value: str = field(repr=False)
    end: int
    fault: str
    is_closed: bool


def read_word(text: str, position: int, *, is_shell: bool) -> Word:
    """The value that begins at ``position``.

    Args:
        text: The text of the file.
        position: Where it begins.
        is_shell: Whether the line can only be meant for a shell, which expands ``$NAME``. Otherwise the value begins
            with a quote, and may be meant for another program.
    """
    reader = _Reader(text, position, is_shell)
    is_closed = reader.read()
    return Word("".join(reader.parts), reader.position, reader.fault, is_closed)


class _Reader:
    def __init__(self, text: str, position: int, is_shell: bool) -> None:
        self.text = text
        self.start = self.position = position
        self.is_shell = is_shell
        self.parts: list[str] = []
        self.fault = ""

    def read(self) -> bool:
        """Whether every quote was closed."""
        if not self.is_shell and self.text.startswith(("'''", '"""'), self.start):
            self._blame(faults.TRIPLE)
        special = {"'": self._single, '"': self._double, "$": self._dollar, "\\": self._backslash}
        while self.position < len(self.text) and self.text[self.position] not in _ENDS:
            found = _PLAIN.match(self.text, self.position)
            if found:
                if not self.is_shell:  # `"ab"cd`: only a shell would join them
                    self._blame(faults.QUOTES)
                self._take(found.end())
            elif not special.get(self.text[self.position], self._other)():
                return False
        return True

    def _blame(self, fault: str) -> None:
        self.fault = self.fault or fault

    def _take(self, end: int) -> bool:
        self.parts.append(self.text[self.position : end])
        self.position = end
        return True

    def _single(self) -> bool:
        end = self.text.find("'", self.position + 1)
        if end < 0:
            return False
        inner = self.text[self.position + 1 : end]
        if not self.is_shell and _DECODED_IN_SINGLE.search(inner):
            self._blame(faults.BACKSLASH_IN_SINGLE)
        self.parts.append(inner)
        self.position = end + 1
        return True

    def _double(self) -> bool:
        self.position += 1
        while self.position < len(self.text):
            found = _PLAIN_IN_DOUBLE.match(self.text, self.position)
            if found:
                self._take(found.end())
                continue
            letter = self.text[self.position]
            if letter == '"':
                self.position += 1
                return True
            if letter == "\\":
                self._backslash_in_double()
            elif letter == "$" and self.is_shell:
                self._expansion()
            else:
                if self.is_shell:
                    self._blame(faults.EXPANSION)
                self._take(self.position + 1)
        return False

    def _backslash_in_double(self) -> None:
        following = self.text[self.position + 1 : self.position + 2]
        if following and following in '$`"\\':
            self.position += 1
            self._take(self.position + 1)
        elif following == "\n":
            self.position += 2
        else:
            # Where the line is for a shell, only what other readers of `export` lines decode is in doubt.
            if not self.is_shell or following.isalnum() or following in "'\r":
                self._blame(faults.BACKSLASH_IN_DOUBLE)
            self._take(min(self.position + 2, len(self.text)))

    def _dollar(self) -> bool:
        following = self.text[self.position + 1 : self.position + 2]
        if following == "'":
            self._blame(faults.ANSI_C)
            found = _ANSI_C.match(self.text, self.position)
            return found is not None and self._take(found.end())
        if following == '"':
            self._blame(faults.ANSI_C)
        return self._expansion()

    def _expansion(self) -> bool:
        if not _EXPANSION.match(self.text, self.position):
            return self._take(self.position + 1)
        self._blame(faults.EXPANSION)
        braces = _BRACES.match(self.text, self.position)
        return self._take(braces.end() if braces else self._end_of_command())

    def _end_of_command(self) -> int:
        """The position behind ``$(...)`` where it ends in this line; otherwise behind the ``$``."""
        depth = 0
        if self.text.startswith("$(", self.position):
            for position in range(self.position + 1, len(self.text)):
                letter = self.text[position]
                if letter in "\r\n":
                    break
                depth += (letter == "(") - (letter == ")")
                if depth == 0:
                    return position + 1
        return self.position + 1

    def _backslash(self) -> bool:
        line_end = _LINE_END.match(self.text, self.position + 1)
        if line_end:
            self.position = line_end.end()
            return True
        if self.position + 1 < len(self.text):
            self.position += 1
        return self._take(self.position + 1)

    def _other(self) -> bool:
        letter = self.text[self.position]
        if letter in {"`", "{"} or (letter == "~" and self._begins_a_path()):
            self._blame(faults.EXPANSION)
        elif letter == "#" and not self.is_shell:
            self._blame(faults.HASH)
        return self._take(self.position + 1)

    def _begins_a_path(self) -> bool:
        return self.position == self.start or self.text[self.position - 1] == ":"
