"""Reading and writing dotenv files so that python-dotenv, a POSIX shell and Compose all see the same values."""

from __future__ import annotations

import io
import os
import re
from typing import TYPE_CHECKING

from src.utils.secrets.atomicfile import remove_stale_temporaries, replace_file
from src.utils.secrets.command import program
from src.utils.secrets.errors import ConfigurationError, InvalidSecretError
from src.utils.secrets.settings import file_signature, read_text_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dotenv.parser import Binding

NEW_FILE_MODE = 0o600
_LINE = re.compile(
    r"""(?P<export>export\s+)?\w+\s*=\s*('([^'\\]|\\.)*'|"([^"\\]|\\.)*"|[^'"\n][^\n]*?|)(?P<comment>\s+\#[^\n]*)?""",
)
_VARIABLE = re.compile(
    r"\$(?:(?P<dollar>\$)|\{(?P<braced>\w+)(?:(?P<operator>:?-)(?P<default>[^}]*))?\}|(?P<plain>[A-Za-z_]\w*))"
)
_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,-]+")
# In single quotes, a shell takes everything as it is, but python-dotenv reads \\ as \ and both python-dotenv and
# Compose read \' as a quote that does not end the value.
_NOT_IN_SINGLE_QUOTES = re.compile(r"'|\\\\|\\\Z")
_NOT_IN_DOUBLE_QUOTES = re.compile(r'[$`"\\!]')


def quote(name: str, value: str) -> str:
    """``value`` as it stands behind ``NAME=``.

    Args:
        name: For the error.
        value: Anything printable, newlines included.

    Raises:
        InvalidSecretError: No quoting gives this value to all three readers.
    """
    if _PLAIN.fullmatch(value):
        return value
    if "\r" not in value and "\0" not in value:
        if not _NOT_IN_SINGLE_QUOTES.search(value):
            return f"'{value}'"
        if not _NOT_IN_DOUBLE_QUOTES.search(value):
            return f'"{value}"'
    raise InvalidSecretError(
        f"{name} cannot be written to a dotenv file: python-dotenv, shells and Compose would each read it differently",
        hint=[
            f"Put the value into a file of its own (mode 0400) and set {name}_FILE to its path",
            "Or choose a value without a mix of quotes, backslashes and $",
        ],
    )


def read_dotenv(path: str) -> dict[str, str | None]:
    """Names and values of a dotenv file; no ``$`` is expanded. A missing file is an empty one.

    It is read once while it stays as it is: what is shown of one deployment asks for it many times.

    Raises:
        ConfigurationError: It cannot be read, or a line of it is not ``NAME=value``.
    """
    signature = file_signature(path)  # before it is read: what changes in between is noticed the next time
    known = _parsed.get(path)
    if not signature or known is None or known[0] != signature:
        known = (signature, parse_dotenv(_read_text(path), path))
        _parsed[path] = known
    return dict(known[1])


_parsed: dict[str, tuple[tuple[int, ...], dict[str, str | None]]] = {}


def expand_variables(text: str, variables: Mapping[str, str | None]) -> str:
    """``text`` with ``$NAME``, ``${NAME}``, ``${NAME-default}`` and ``${NAME:-default}`` replaced, as Compose does.

    https://docs.docker.com/compose/how-tos/environment-variables/variable-interpolation/

    Args:
        text: The value of a line.
        variables: What the names stand for; an unknown one stands for nothing.
    """

    def replace(found: re.Match[str]) -> str:
        if found["dollar"]:
            return "$"
        value = variables.get(found["braced"] or found["plain"])
        default = found["default"] or ""
        if found["operator"] == ":-":
            return value or default
        return default if value is None else value

    return _VARIABLE.sub(replace, text)


def parse_dotenv(text: str, source: str) -> dict[str, str | None]:
    """Names and values in the text of a dotenv file. ``source`` is for the error."""
    return {name: value for _line, name, value in parse_lines(text, source)}


def parse_lines(text: str, source: str) -> list[tuple[int, str, str | None]]:
    """The assignments in the text of a dotenv file: number of the line, name, and value.

    A line without ``=`` has no value, and what looks like its name is the text itself.

    Args:
        text: The file's text.
        source: Where it comes from, for the error.

    Raises:
        ConfigurationError: A line is neither.
    """
    return [(_line_number(binding), binding.key, binding.value) for binding in _bindings(text, source) if binding.key]


def write_dotenv(
    path: str,
    changes: Mapping[str, str | None],
    *,
    heading: str = "",
    private: bool = True,
    owner: tuple[int, int] | None = None,
    more: str = "",
) -> None:
    """Set lines of a dotenv file, and keep everything else in it as it is.

    Args:
        path: The file; an existing one keeps its owner.
        changes: New values by name; ``None`` removes the line.
        heading: Comment at the top of a new file.
        private: Close an existing file to other users (0600); a new one always is.
        owner: User and group id of a new file; the caller's when left out.
        more: Lines that are added at its end as they stand.

    Raises:
        ConfigurationError: The existing file cannot be understood.
        InvalidSecretError: A value cannot be written so that it reads back the same.
        StoreError: The file cannot be written.
    """
    remove_stale_temporaries([path])
    text = _read_text(path)
    updated = update_text(text or heading, changes, path) + more
    mode = NEW_FILE_MODE
    if os.path.exists(path):
        status = os.stat(path)
        mode = NEW_FILE_MODE if private else status.st_mode & 0o777
        owner = (status.st_uid, status.st_gid)
        if updated == text and mode == status.st_mode & 0o777:
            return
    _parsed.pop(path, None)
    replace_file(path, updated.encode(), mode=mode, owner=owner)


def read_lines(path: str) -> list[tuple[str | None, str]]:
    """The lines of a dotenv file as they stand, each with its name; a comment has none.

    Raises:
        ConfigurationError: It cannot be read or understood.
    """
    return [(binding.key, binding.original.string) for binding in _bindings(_read_text(path), path)]


def update_text(text: str, changes: Mapping[str, str | None], source: str) -> str:
    """``text`` with lines set, removed or added; the first line of a name is replaced, further ones are dropped."""
    waiting = {name: None if value is None else f"{name}={quote(name, value)}\n" for name, value in changes.items()}
    parts = []
    for binding in _bindings(text, source):
        if binding.key is None or binding.key not in changes:
            parts.append(binding.original.string)
            continue
        line = waiting.pop(binding.key, None)
        if line:
            parts.append(_leading_lines(binding) + _like(binding, line))
    updated = "".join(parts)
    added = "".join(line for line in waiting.values() if line)
    if added and updated and not updated.endswith("\n"):
        updated += "\n"
    return updated + added


def _line_number(binding: Binding) -> int:
    return binding.original.line + _leading_lines(binding).count("\n")


def _like(binding: Binding, line: str) -> str:
    """``line`` with what people wrote around the one that it replaces: ``export`` before it, a comment behind it."""
    old = binding.original.string.strip()
    found = _LINE.fullmatch(old)
    if found is None:
        return line
    return f"{found['export'] or ''}{line.removesuffix(chr(10))}{found['comment'] or ''}\n"


def _leading_lines(binding: Binding) -> str:
    original = binding.original.string
    return original[: len(original) - len(original.lstrip())]


def _bindings(text: str, source: str) -> list[Binding]:
    if not text:
        return []
    from dotenv.parser import parse_stream  # a first run has no dotenv file yet

    bindings = list(parse_stream(io.StringIO(text)))
    for binding in bindings:
        if binding.error:
            raise ConfigurationError(
                f"Line {_line_number(binding)} of {source} is not NAME=value",
                hint="Correct or remove that line; quote values with spaces",
            )
    return bindings


def _read_text(path: str) -> str:
    if not os.path.lexists(path):
        return ""
    subject = f"The settings file {path}"
    try:
        text = read_text_file(path, subject)
    except OSError as error:
        raise ConfigurationError(
            f"{subject} cannot be read: {error.strerror}", hint=program("ls", "-ld", path, purpose="Look at it")
        ) from None
    return text if not text or text.endswith("\n") else text + "\n"
