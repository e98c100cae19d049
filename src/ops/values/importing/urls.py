"""The password in a URL, and whether the rest of it fits the settings."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from src.utils.secrets.catalog import SecretSpec

_BROKEN = "{} cannot be taken apart, so its password was not imported"
_REFERENCE = re.compile(r"\$\{|\$\(|\$[A-Za-z_]|\{\{")


@dataclass(frozen=True)
class Parts:
    """What a URL says, decoded; a part that it does not have is empty.

    Attributes:
        user: Who signs in.
        password: With what.
        host: Where.
        database: To what: its path.
    """

    user: str
    password: str = field(repr=False)
    host: str
    database: str


def read_parts(url: str) -> Parts | None:
    """Take a URL apart; ``None`` when it is none, or cannot be read for certain."""
    # urlsplit() leaves out blanks and line ends without a word.
    if not url.isprintable() or " " in url:
        return None
    try:
        parts = urlsplit(url)
        _ = parts.port  # a '#' or '/' in a password makes a port of its beginning
        user, password, path = (
            unquote(part or "", errors="strict") for part in (parts.username, parts.password, parts.path)
        )
    except ValueError:
        return None
    return Parts(user, password, parts.hostname or "", path.strip("/"))


def read_url(url: str, name: str, spec: SecretSpec, settings: Mapping[str, str]) -> tuple[str, list[str]]:
    """The password in a URL, and what a person should know.

    Args:
        url: The URL.
        name: Its name in the file.
        spec: The secret that its password is.
        settings: The settings of the deployment; compared where they have the parts of the URL.

    Returns:
        The password, empty when there is none; and a sentence for each part that the settings have otherwise.
    """
    parts = read_parts(url)
    if parts is None:
        return "", [_BROKEN.format(name)]
    if not parts.password:
        return "", [f"{name} has no password"]
    if _REFERENCE.search(parts.password):
        return "", [f"The password in {name} is a reference to another variable, and was not imported"]
    found = {"user": ("USER", parts.user), "host": ("HOST", parts.host), "database": ("NAME", parts.database)}
    prefix = spec.name.rpartition("_")[0]
    return parts.password, [
        f"The {part} in {name} is not {prefix}_{setting} of the settings"
        for part, (setting, value) in found.items()
        if value and settings.get(f"{prefix}_{setting}") and not _is_same(value, settings[f"{prefix}_{setting}"], part)
    ]


def _is_same(value: str, setting: str, part: str) -> bool:
    return value.lower() == setting.lower() if part == "host" else value == setting
