"""Values from a file: dotenv, JSON, or what ``env`` printed."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from src.utils.secrets.changes import check_value
from src.utils.secrets.errors import ConfigurationError

from .dotenv import parse_dotenv

if TYPE_CHECKING:
    from src.utils.secrets.catalog import Catalog

# Everything after " #" is a comment in a dotenv file, but part of the value in what `env` prints.
_AMBIGUOUS = re.compile(r"""^\s*(?:export\s+)?([A-Za-z_]\w*)=(?!['"])[^\n]*\s#""", re.MULTILINE)


@dataclass(frozen=True)
class Imported:
    """What an import file held.

    Attributes:
        values: The values of secrets in the catalogue.
        unknown: Names that the catalogue does not have; they are not imported.
    """

    values: dict[str, str] = field(repr=False)
    unknown: list[str]


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
    found = _parse_json(text, source) if text.lstrip().startswith("{") else _parse_lines(text, source)
    known = set(catalog.names)
    values = {}
    for name, value in found.items():
        if name not in known or value is None or value == "":
            continue
        if not isinstance(value, str):
            raise ConfigurationError(f"{name} in {source} is not text", hint="Write it in quotes")
        check_value(name, value)
        values[name] = value
    return Imported(values, sorted(set(found) - known))


def _parse_json(text: str, source: str) -> dict[str, object]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigurationError(
            f"{source} is not valid JSON (line {error.lineno}, column {error.colno})", hint="Mend it and run this again"
        ) from None
    except RecursionError:
        raise ConfigurationError(f"{source} is nested too deeply", hint="Use one object of names and values") from None
    nested = content.get("secrets")
    return dict(nested) if "version" in content and isinstance(nested, dict) else dict(content)


def _parse_lines(text: str, source: str) -> dict[str, object]:
    ambiguous = _AMBIGUOUS.search(text)
    if ambiguous:
        raise ConfigurationError(
            f"{ambiguous.group(1)} in {source} has ' #' in a value without quotes: a comment, or part of the value?",
            hint="Put the value into single quotes, or remove the comment",
        )
    return dict(parse_dotenv(text, source))
