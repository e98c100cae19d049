"""The password in a URL, and whether the rest of it fits the settings."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from src.utils.secrets.catalog import SecretSpec

_BROKEN = "{} cannot be taken apart, so its password was not imported"
_REFERENCE = re.compile(r"\$\{|\$\(|\$[A-Za-z_]|\{\{")


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
    # urlsplit() leaves out blanks and line ends without a word.
    if not url.isprintable() or " " in url:
        return "", [_BROKEN.format(name)]
    try:
        parts = urlsplit(url)
        password = unquote(parts.password or "", errors="strict")
        found = {
            "user": ("USER", unquote(parts.username or "", errors="strict")),
            "host": ("HOST", parts.hostname or ""),
            "database": ("NAME", unquote(parts.path, errors="strict").strip("/")),
        }
        _ = parts.port  # a '#' or '/' in a password makes a port of its beginning
    except ValueError:
        return "", [_BROKEN.format(name)]
    if not password:
        return "", [f"{name} has no password"]
    if _REFERENCE.search(password):
        return "", [f"The password in {name} is a reference to another variable, and was not imported"]
    prefix = spec.name.rpartition("_")[0]
    return password, [
        f"The {part} in {name} is not {prefix}_{setting} of the settings"
        for part, (setting, value) in found.items()
        if value and settings.get(f"{prefix}_{setting}") and not _is_same(value, settings[f"{prefix}_{setting}"], part)
    ]


def _is_same(value: str, setting: str, part: str) -> bool:
    return value.lower() == setting.lower() if part == "host" else value == setting
