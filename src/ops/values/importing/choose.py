"""From what a file holds to one value for each secret, or all problems at once."""

from __future__ import annotations

import itertools
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from src.utils.secrets.changes import check_value
from src.utils.secrets.errors import InvalidSecretError, SecretsError
from src.utils.secrets.settings import absent_path, read_text_file

from . import faults
from .entries import FILE, LINE, Problem, refuse
from .names import Kind, can_be_shown
from .statements import NAME
from .text import is_utf8
from .urls import read_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .entries import Content, Entry, Stray
    from .names import Match, Names

_ASSIGNED = re.compile(rf"(?<![\w.-])({NAME})[\s\u00a0]*(?:[:?+]?=|<<)")
_FIRST_WORD = re.compile(rf"[^\w#]*({NAME})[ \t]+\S")
_WRAPPED = re.compile(r"[A-Za-z0-9+/]{64}|[A-Za-z0-9+/]{76}")  # where openssl and base64 begin another line
_HAS_PASSWORD = re.compile(r"://[^@]*:[^@]*@|password=", re.IGNORECASE)
NOT_SET = frozenset({"null", "(null)", "none", "nil", "undefined", "empty", "(empty)"})
_REFERENCE = re.compile(r"\$(?:\{([A-Za-z_]\w*)(?::?[-?+][^}]*)?\}|([A-Za-z_]\w*))")


@dataclass
class Chosen:
    """What is taken from a file.

    Attributes:
        values: By the name in the catalogue.
        unknown: Names that the catalogue does not have.
        other_lines: The places of what names nothing.
        renamed: The names in the file, by the names in the catalogue.
        notes: What a person should know.
    """

    values: dict[str, str] = field(default_factory=dict, repr=False)
    unknown: set[str] = field(default_factory=set)
    other_lines: list[int] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Candidate:
    place: int
    name: str
    kind: Kind
    value: str = field(repr=False)

    @property
    def what(self) -> str:
        words = {Kind.FILE: f"the file in {self.name}", Kind.URL: f"the password in {self.name}"}
        return words.get(self.kind, self.name)


def choose(content: Content, names: Names, source: str, folder: str, settings: Mapping[str, str]) -> Chosen:
    """One value for each secret in a file.

    Args:
        content: What the file holds.
        names: All names of secrets.
        source: Where it comes from, for the error.
        folder: What relative paths in it start from.
        settings: The settings of the deployment; URLs are compared with them.

    Raises:
        ImportRefusedError: Values in it cannot be read, or contradict each other; has all of them.
    """
    chooser = _Chooser(content, names, folder, settings)
    chooser.choose()
    if chooser.problems:
        raise refuse(chooser.problems, source, content.unit)
    return chooser.chosen


class _Chooser:
    def __init__(self, content: Content, names: Names, folder: str, settings: Mapping[str, str]) -> None:
        self.chosen = Chosen()
        self.problems: list[Problem] = []
        self._content = content
        self._names = names
        self._folder = folder
        self._settings = settings
        self._candidates: dict[str, list[_Candidate]] = {}
        self._urls: list[tuple[Entry, Match, str]] = []

    def choose(self) -> None:
        for entry in self._content.entries:
            match = self._names.find_file(entry.name) if self._content.unit == FILE else self._names.find(entry.name)
            if match is None:
                self._leave_out(entry)
            elif entry.fault or not _is_unset(entry, in_lines=self._content.unit == LINE):
                self._consider(entry, match)
        for before, entry in itertools.pairwise(self._content.entries):
            if self._is_wrapped(before, entry):
                self.problems.append(Problem((before.place,), before.name, faults.SEVERAL_LINES))
        for stray in self._content.strays:
            self._look_at(stray)
        self.chosen.other_lines.sort()
        for entry, match, note in self._urls:
            self._settle_url(entry, match, note)
        for name, candidates in self._candidates.items():
            self._settle(name, candidates)

    def _leave_out(self, entry: Entry) -> None:
        if entry.value in (None, ""):
            return
        inside = _ASSIGNED.match(entry.value) if isinstance(entry.value, str) else None
        if inside and self._names.is_ours(inside[1]):
            self.problems.append(Problem((entry.place,), inside[1], faults.NOT_CLEAR))
        if can_be_shown(entry.name, is_file=self._content.unit == FILE):
            self.chosen.unknown.add(entry.name)
        else:
            self.chosen.other_lines.append(entry.place)

    def _look_at(self, stray: Stray) -> None:
        if self._has_own_name(stray):
            return
        before = stray.after
        if before and any(letter.islower() for letter in before.name):  # no name, but a line of the value above it
            before = next((one for one in self._content.entries if one.last_line == before.place - 1), before)
        is_open = before and before.value and not before.is_quoted and self._names.is_ours(before.name)
        # `NAME` alone on its line is what Docker takes from its own environment.
        if before and is_open and not self._names.is_ours(stray.text.strip()):
            text = f"the line may belong to the value in line {before.place}: use the output of env -0, or quotes"
            self.problems.append(Problem((stray.place,), before.name, text))
        self.chosen.other_lines.append(stray.place)

    def _has_own_name(self, stray: Stray) -> bool:
        """Whether a line that is not understood sets a secret; it is a problem then."""
        found = [*_ASSIGNED.finditer(stray.text), *filter(None, [_FIRST_WORD.match(stray.text)])]
        name = next((one[1] for one in found if self._names.is_ours(one[1])), "")
        if name:
            self.problems.append(Problem((stray.place,), name, faults.NOT_CLEAR))
        return bool(name)

    def _is_wrapped(self, before: Entry, entry: Entry) -> bool:
        """Whether a line is the end of the value above it, though it looks like a name with an ``=``."""
        value = before.value if isinstance(before.value, str) and not before.is_quoted else ""
        return (
            before.last_line == entry.place - 1
            and entry.value in ("", "=")
            and self._names.is_ours(before.name)
            and not self._names.is_ours(entry.name)
            and _WRAPPED.fullmatch(value) is not None
        )

    def _settle_url(self, entry: Entry, match: Match, note: str) -> None:
        """Say that a URL gave no password; where nothing else does, and it seems to have one, refuse it."""
        url = str(entry.value)
        if match.spec.name in self._candidates or not _HAS_PASSWORD.search(url):
            self.chosen.notes.append(note)
        else:
            self.problems.append(Problem((entry.place,), entry.name, faults.IN_URL))

    def _consider(self, entry: Entry, match: Match) -> None:
        fault = entry.fault or _fault_of(entry.value)
        value = entry.value if isinstance(entry.value, str) else ""
        if not fault and match.kind is Kind.FILE:
            value, fault = self._read_file(value)
        elif not fault and match.kind is Kind.URL:
            value, notes = read_url(value, entry.name, match.spec, self._settings)
            self._urls += [] if value else [(entry, match, note) for note in notes]
            self.chosen.notes += notes if value else []
        fault = fault or _fault_of(value)
        if fault:
            self.problems.append(Problem((entry.place,), entry.name, fault))
        elif value:
            candidate = _Candidate(entry.place, entry.name, match.kind, value)
            self._candidates.setdefault(match.spec.name, []).append(candidate)

    def _read_file(self, given: str) -> tuple[str, str]:
        path = os.path.join(self._folder, os.path.expanduser(given))
        try:
            text = read_text_file(path, "it")
        except SecretsError as error:
            return "", f"the file that it names cannot be used: {error}: check the path"
        except (OSError, ValueError) as error:
            shown = absent_path(path)
            reason = getattr(error, "strerror", None) or "not a usable path"
            return "", f"the file that it names cannot be read: {reason}{f': {shown}' if shown.isprintable() else ''}"
        return without_line_end(text), ""

    def _settle(self, name: str, candidates: list[_Candidate]) -> None:
        # `POSTGRES_PASSWORD=${DATABASE_PASSWORD}` is no second value.
        own = [one for one in candidates if not self._is_reference(one, name)] or candidates
        best = min(own, key=lambda one: (one.kind, one.place))
        different = {one.value: one for one in own if one.value != best.value}
        for one in different.values():
            self.problems.append(self._contradiction(best, one))
        self.chosen.values[name] = best.value
        if best.kind is not Kind.NAME:
            self.chosen.renamed[name] = best.name

    def _is_reference(self, candidate: _Candidate, name: str) -> bool:
        found = _REFERENCE.fullmatch(candidate.value)
        match = self._names.find(found[1] or found[2]) if found else None
        return match is not None and match.spec.name == name

    def _contradiction(self, one: _Candidate, other: _Candidate) -> Problem:
        first, second = sorted((one, other), key=lambda candidate: candidate.place)
        unit = self._content.unit
        if unit == FILE:
            text = f"{second.name} has another value: keep the right one"
        elif first.name == second.name:
            text = f"{unit} {second.place} has another value for it: keep the right one"
        else:
            subject = {Kind.FILE: "its file", Kind.URL: "its password"}.get(first.kind, "it")
            text = f"{subject} differs from {second.what} ({unit} {second.place}): keep the right one"
        return Problem((first.place, second.place), first.name, text)


def _is_unset(entry: Entry, *, in_lines: bool) -> bool:
    if entry.value in (None, ""):
        return True
    return in_lines and isinstance(entry.value, str) and not entry.is_quoted and entry.value.lower() in NOT_SET


def without_line_end(text: str) -> str:
    """``text`` less one line end."""
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text


def _fault_of(value: object) -> str:
    if not isinstance(value, str):
        return faults.NOT_TEXT
    if not is_utf8(value):
        return faults.NOT_UTF8
    try:
        check_value("it", value or "-")
    except InvalidSecretError as error:
        return f"{error}: {error.hint[:1].lower()}{error.hint[1:]}"
    return ""
