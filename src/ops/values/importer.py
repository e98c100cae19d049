"""Values from what people have: dotenv files, shell scripts, the output of ``env``, JSON, a folder of files."""

from __future__ import annotations

import errno
import os
import select
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from src.utils.secrets.errors import ConfigurationError
from src.utils.secrets.settings import MAX_VALUE_BYTES, absent_path, read_descriptor

from .importing.choose import choose
from .importing.entries import ENTRY, NOTHING_CHANGED, Content, Entry, ImportRefusedError, Stray
from .importing.faults import NOT_CLEAR
from .importing.folder import read_folder
from .importing.formats import refuse_encrypted, refuse_lines
from .importing.lines import read_lines
from .importing.names import Names
from .importing.objects import is_json, read_objects
from .importing.text import decode, with_plain_line_ends

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import BinaryIO

    from src.utils.secrets.catalog import Catalog

__all__ = ["ImportRefusedError", "Imported", "parse_import", "read_import"]


@dataclass(frozen=True)
class Imported:
    """What an import file held.

    Attributes:
        values: The values of secrets, by their names in the catalogue.
        unknown: Names that the catalogue does not have, sorted; they are not imported.
        other_lines: Numbers of lines that name nothing; in JSON, the positions of such keys. The text there may be
            a secret, and is never shown.
        renamed: The names that the file has for secrets, by their names in the catalogue, where they differ.
        notes: What a person should know, a sentence each.
    """

    values: dict[str, str] = field(repr=False)
    unknown: list[str]
    other_lines: list[int] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def parse_import(
    data: bytes | str, source: str, catalog: Catalog, *, folder: str = "", settings: Mapping[str, str] | None = None
) -> Imported:
    """The secrets in ``data``.

    Args:
        data: Lines of ``NAME=value`` as python-dotenv or a shell reads them, what ``env`` or ``env -0`` printed, or
            JSON: an object of names and texts (also the decrypted content of an encrypted file), or a list of
            objects with a name and a value.
        source: Where it comes from, for the error.
        catalog: Says which names are known.
        folder: What the paths of ``NAME_FILE`` start from; empty: the current folder.
        settings: The settings of the deployment; the parts of URLs are compared with them.

    Raises:
        ImportRefusedError: It is nothing of that, or has values that cannot be read for certain.
    """
    names = Names(catalog)
    # A lone surrogate becomes a byte sequence that is not UTF-8, and is found as such.
    content = _read(data.encode(errors="surrogatepass") if isinstance(data, str) else data, source, names)
    return _imported(content, names, source, folder, settings)


def read_import(
    source: str, catalog: Catalog, *, standard_input: BinaryIO, settings: Mapping[str, str] | None = None
) -> Imported:
    """The secrets in what ``--import`` names.

    Args:
        source: A file; a pipe, as from ``<(...)``; a folder with one file for each secret; or ``-``.
        catalog: Says which names are known.
        standard_input: Read when ``source`` is ``-``.
        settings: The settings of the deployment; the parts of URLs are compared with them.

    Raises:
        ImportRefusedError: It has nothing that can be read, or values that cannot be read for certain.
        ConfigurationError: It is missing or unreadable, over 1 MiB, or a terminal or another device.
    """
    if source == "-":
        data = _bounded(standard_input.read(MAX_VALUE_BYTES + 1), "standard input")
        return parse_import(data, "standard input", catalog, settings=settings)
    try:
        if os.path.isdir(source):
            names = Names(catalog)
            return _imported(read_folder(source, names), names, source, source, settings)
        data = _bounded(_read_file(source), f"--import points to {source!r}, which")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a usable path"
        raise ConfigurationError(
            f"--import points to a file that cannot be read: {reason}: {absent_path(source)}",
            hint="Check that the file exists and that this user may read it; --import is a path, never the value",
        ) from None
    folder = os.path.dirname(os.path.abspath(source)) if os.path.isfile(source) else ""
    return parse_import(data, source, catalog, folder=folder, settings=settings)


def _read(data: bytes, source: str, names: Names) -> Content:
    refuse_encrypted(data, source)
    text = decode(data, source)
    if "\0" in text:
        return _read_env_0(text, source, names)
    if is_json(text):
        return read_objects(text, source, names.is_ours)
    content = read_lines(with_plain_line_ends(text), names.is_ours)
    refuse_lines(content, names.is_ours, source)
    return content


def _read_env_0(text: str, source: str, names: Names) -> Content:
    """The output of ``env -0``, where a value is all up to the next NUL."""
    content = Content(ENTRY)
    variables = text.removesuffix("\0").split("\0")
    if not all(variables):  # `env` prints no empty one; a file that was cut off has many
        raise ImportRefusedError(
            f"{source} has NUL bytes in it, and is not what env -0 prints; {NOTHING_CHANGED}",
            hint="It may be damaged: take another copy of it",
        )
    for place, variable in enumerate(variables, 1):
        name, separator, value = variable.partition("=")
        inside = next((line for line in value.split("\n")[1:] if names.is_ours(line.partition("=")[0])), None)
        if separator and inside is not None and names.is_ours(name):
            content.entries.append(Entry(place, name, value, NOT_CLEAR))
            continue
        if name.startswith("BASH_FUNC_"):
            continue
        if separator:
            content.entries.append(Entry(place, name, value, is_quoted=True))
        else:
            content.strays.append(Stray(place, variable))
    return content


def _imported(content: Content, names: Names, source: str, folder: str, settings: Mapping[str, str] | None) -> Imported:
    chosen = choose(content, names, source, folder, settings or {})
    return Imported(chosen.values, sorted(chosen.unknown), chosen.other_lines, chosen.renamed, chosen.notes)


def _bounded(data: bytes, subject: str) -> bytes:
    if len(data) > MAX_VALUE_BYTES:
        raise ConfigurationError(f"{subject} is larger than 1 MiB", hint="Check that it is the right file")
    return data


def _read_file(path: str) -> bytes:
    """What a file holds, or what comes out of a pipe until its end; one byte more than allowed at most."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISFIFO(mode):
            # Opened without waiting, a pipe looks empty until somebody writes to it.
            waiting = select.poll()
            waiting.register(descriptor, select.POLLIN)
            waiting.poll()
            os.set_blocking(descriptor, True)
        elif not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        return read_descriptor(descriptor, MAX_VALUE_BYTES + 1)
    finally:
        os.close(descriptor)
