"""What the readers hand on: values with the place where each lies."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

MASTER_KEY = "SECRETS_MASTER_KEY"
_VARIABLE = re.compile(r"\$\{?\w+\}?")


def names_variable(value: str) -> bool:
    """Whether a value is only the name of a variable, like ``$NAME`` or ``${NAME}``."""
    return _VARIABLE.fullmatch(value) is not None


@dataclass(frozen=True)
class FoundValue:
    """A value of one of our secrets.

    Attributes:
        name: The secret, as the catalogue calls it.
        value: The value.
        place: Where it lies, human-readable, for example ``.env, line 4``.
        is_running: Whether a container was started with it.
        url: The URL that it was taken from.
        is_in_file: Whether it lies in a file of the original, in place of what only Docker knows.
    """

    name: str
    value: str = field(repr=False)
    place: str
    is_running: bool = False
    url: str = field(default="", repr=False)
    is_in_file: bool = True


@dataclass
class Found:
    """What was found in one or more places.

    Attributes:
        values: Values of our secrets.
        settings: Names that say where a server is or who signs in there, by name. None of them is secret.
        left_alone: What is secret there and no secret of ours: the place, and what it is.
        notes: What a person should know, a sentence each.
        unread: Values that are there and cannot be read for certain: the secret, and where it is.
        store: The store that its settings name, where it is none that is read here.
    """

    values: list[FoundValue] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    left_alone: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unread: list[tuple[str, str]] = field(default_factory=list)
    store: str = ""

    def drop_composed(self) -> None:
        """Forget what was taken from a URL that was put together from another value here, without encoding it.

        Such a URL is read in another way than it was meant when the password has an ``@`` or a ``/`` in it.
        """
        plain = {(one.name, one.value) for one in self.values if not one.url}
        self.values = [
            one for one in self.values if not any(name == one.name and f":{value}@" in one.url for name, value in plain)
        ]

    def add(self, other: Found) -> None:
        """Take what another one has; a setting that is known stays."""
        self.values += other.values
        self.settings = other.settings | self.settings
        self.left_alone += other.left_alone
        self.notes += other.notes
        self.unread += other.unread
        self.store = self.store or other.store
