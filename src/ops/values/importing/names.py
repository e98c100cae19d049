"""Which secret a name in a file means: its own name, another one, that of a file, or that of a URL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from src.utils.secrets.catalog import Catalog, SecretSpec

_SHOWN_OF_FILES = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_SHOWN = re.compile(r"[A-Z][A-Z0-9_]{0,63}")  # in lower case it may be a password with an = in it
# Nobody calls a variable so, but generated values look like it.
_RANDOM = re.compile(r"(?=[^_]*[0-9])[A-Za-z0-9]{16,}")


class Kind(IntEnum):
    """How a name stands for a secret; the lowest one comes first."""

    NAME = 0
    ALIAS = 1
    SPELLING = 2
    FILE = 3
    URL = 4


@dataclass(frozen=True)
class Match:
    """What a name means.

    Attributes:
        spec: The secret.
        kind: How.
    """

    spec: SecretSpec
    kind: Kind


class Names:
    """All names under which people keep the secrets of a catalogue."""

    def __init__(self, catalog: Catalog) -> None:
        self._known: dict[str, Match] = {}
        self._spelled: dict[str, Match] = {}
        for kind in (Kind.NAME, Kind.ALIAS, Kind.URL):
            for spec in catalog.secrets:
                for name in _names_of(spec, kind):
                    self._known.setdefault(name, Match(spec, kind))
        for name, match in self._known.items():
            kind = Kind.URL if match.kind is Kind.URL else Kind.SPELLING
            self._spelled.setdefault(_normal(name), Match(match.spec, kind))
            if match.kind is not Kind.URL:
                self._spelled.setdefault(_normal(name) + "_FILE", Match(match.spec, Kind.FILE))
        self._files = {_normal(file): spec for spec in catalog.secrets for file in (spec.docker_file, spec.mount_name)}

    def find(self, name: str) -> Match | None:
        """What ``name`` means; ``None`` when it is of no secret."""
        return self._known.get(name) or self._spelled.get(_normal(name))

    def is_ours(self, name: str) -> bool:
        """Whether ``name`` is one of a secret."""
        return self.find(name) is not None

    def find_file(self, file_name: str) -> Match | None:
        """The secret whose value a file of this name holds."""
        normal = _normal(file_name)
        spec = self._files.get(normal)
        if spec is not None:
            return Match(spec, Kind.NAME)
        match = self.find(name_of_file(file_name))
        if match is None or match.kind in (Kind.FILE, Kind.URL):
            return None
        return Match(match.spec, Kind.NAME if _normal(match.spec.name) == normal.removesuffix(".TXT") else match.kind)


def name_of_file(file_name: str) -> str:
    """The name that a file's name stands for."""
    return file_name[:-4] if file_name.lower().endswith(".txt") else file_name


def can_be_shown(name: str, *, is_file: bool = False) -> bool:
    """Whether a name that the catalogue does not have is one, rather than a value in the wrong place."""
    shown = _SHOWN_OF_FILES if is_file else _SHOWN
    return shown.fullmatch(name) is not None and not any(_RANDOM.fullmatch(part) for part in name.split("_"))


def _normal(name: str) -> str:
    return name.upper().replace("-", "_")


def _names_of(spec: SecretSpec, kind: Kind) -> tuple[str, ...]:
    return {Kind.NAME: (spec.name,), Kind.ALIAS: spec.aliases}.get(kind, spec.from_url)
