"""Values from a file: dotenv, JSON, or what ``env`` printed."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from src.ops.deployment.dotenv import parse_lines
from src.utils.secrets.changes import check_value
from src.utils.secrets.errors import ConfigurationError

if TYPE_CHECKING:
    from src.utils.secrets.catalog import Catalog

# Everything after " #" is a comment in a dotenv file, but part of the value in what `env` prints.
_AMBIGUOUS = re.compile(r"""^\s*(?:export\s+)?([A-Za-z_]\w*)=(?!['"])[^\n]*\s#""", re.MULTILINE)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


@dataclass(frozen=True)
class Imported:
    """What an import file held.

    Attributes:
        values: The values of secrets in the catalogue.
        unknown: Names that the catalogue does not have; they are not imported.
        other_lines: Numbers of lines that name nothing; in JSON, the positions of such keys. The text there may be
            a secret, and is never shown.
    """

    values: dict[str, str] = field(repr=False)
    unknown: list[str]
    other_lines: list[int] = field(default_factory=list)


def parse_import(text: str, source: str, catalog: Catalog) -> Imported:
    """The secrets in ``text``.

    Args:
        text: A JSON object of names and texts (also the decrypted content of an encrypted file), or lines of
            ``NAME=value``.
        source: Where it comes from, for the error.
        catalog: Says which names are known.

    Raises:
        ConfigurationError: It is neither, or a value of it cannot be used.
    """
    text = text.removeprefix("\ufeff")  # Windows programs mark UTF-8 with it
    is_json = text.lstrip().startswith("{")
    found = _parse_json(text, source) if is_json else _parse_lines(text, source)
    known = set(catalog.names)
    values: dict[str, str] = {}
    unknown: set[str] = set()
    other_lines = []
    for line, name, value in found:
        if value is None and not is_json:
            other_lines.append(line)
        elif value in (None, ""):
            continue
        elif name in known:
            values[name] = _checked(name, value, source)
        elif _NAME.fullmatch(name) and value != "=":  # base64 ends with ==
            unknown.add(name)
        else:
            other_lines.append(line)
    return Imported(values, sorted(unknown), other_lines)


def _checked(name: str, value: object, source: str) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(f"{name} in {source} is not text", hint="Write it in quotes")
    check_value(name, value)
    return value


def _parse_json(text: str, source: str) -> list[tuple[int, str, object]]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigurationError(
            f"{source} is not valid JSON (line {error.lineno}, column {error.colno})",
            hint="Correct it and run this again",
        ) from None
    except RecursionError:
        raise ConfigurationError(f"{source} is nested too deeply", hint="Use one object of names and values") from None
    nested = content.get("secrets")
    entries = nested if "version" in content and isinstance(nested, dict) else content
    return [(position, name, value) for position, (name, value) in enumerate(entries.items(), 1)]


def _parse_lines(text: str, source: str) -> list[tuple[int, str, object]]:
    ambiguous = _AMBIGUOUS.search(text)
    if ambiguous:
        raise ConfigurationError(
            f"{ambiguous.group(1)} in {source} has ' #' in a value without quotes: a comment, or part of the value?",
            hint="Put the value into single quotes, or remove the comment",
        )
    return list(parse_lines(text, source))
