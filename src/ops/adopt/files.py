"""Reading the original's files: dotenv files, the encrypted one, those of Docker, and its configuration."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from src.ops.values.importing import faults
from src.ops.values.importing.folder import read_folder
from src.ops.values.importing.lines import read_lines
from src.ops.values.importing.names import Kind, Names, can_be_shown
from src.ops.values.importing.text import decode, is_utf8, with_plain_line_ends
from src.ops.values.importing.urls import read_parts
from src.utils.secrets.errors import ConfigurationError

from .encrypted import decrypt
from .found import MASTER_KEY, Found, FoundValue, names_variable
from .original import master_keys, read_bytes, read_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from src.ops.values.importing.entries import Entry
    from src.ops.values.importing.names import Match

    from .original import DotenvFile, Original

OTHER_SECRET = "this application has no secret of that name"  # pragma: allowlist secret
CAMERA = "user and password of a camera"
# Where a server is, and who signs in there, by the names that the original has for it.
_SETTINGS = {"POSTGRES_DB": "DATABASE_NAME", "POSTGRES_USER": "DATABASE_USER"}
_SOUNDS_SECRET = re.compile(
    r"PASS(?:WORD|WD|PHRASE)?$|SECRET|TOKEN|(?:^|_)KEY$|API_?KEY|WEBHOOK_URL|CREDENTIAL|_DSN$", re.IGNORECASE
)
_CREDENTIALS_IN_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^/@\s]*:[^/@\s]+@", re.IGNORECASE)
_REFERENCE = re.compile(r"\$\{[^}]*\}|\$[A-Za-z_]\w*|<[A-Z_]+>")
_FILE_STORES = ("", "file", "encrypted_file", "env", "environment")
_ROLE = re.compile(r"[A-Za-z0-9_][\w-]*")
# Path in the configuration, and the secret there.
_CONFIGURED = {
    ("database", "password"): "DATABASE_PASSWORD",
    ("redis", "password"): "REDIS_PASSWORD",
    ("alerting", "email", "password"): "SMTP_PASSWORD",
    ("alerting", "sms", "twilio_sid"): "TWILIO_SID",
    ("alerting", "sms", "twilio_token"): "TWILIO_TOKEN",
    ("api", "authentication", "secret_key"): "SECRET_KEY",
}
_CONFIGURED_SETTINGS = {
    ("database", "name"): "DATABASE_NAME",
    ("database", "database"): "DATABASE_NAME",
    ("database", "user"): "DATABASE_USER",
    ("database", "username"): "DATABASE_USER",
}


def read_files(original: Original, names: Names, given_keys: Sequence[str]) -> Found:
    """What all files of the original have, but its Compose file.

    Args:
        original: Where they are.
        names: All names of our secrets.
        given_keys: The master key, where a person has given it.

    Raises:
        ConfigurationError: One of them cannot be read, or has a value that cannot be read for certain.
    """
    found = Found()
    keys = list(given_keys)
    for file in original.dotenv_files:
        keys += [] if given_keys else master_keys(file.text)
        found.add(_read_dotenv(file, original.shown(file.path), names))
    if original.encrypted_file is not None:
        found.add(_read_encrypted(original, original.encrypted_file, names, keys))
    if original.values_folder is not None:
        found.add(_read_values_folder(original, original.values_folder, names))
    if original.config_file is not None:
        found.add(_read_configuration(original.config_file, original.shown(original.config_file)))
    return found


def read_named(
    name: str, value: str, place: str, match: Match | None, *, is_running: bool = False, is_in_file: bool = True
) -> Found:
    """What a variable of the original says.

    Args:
        name: Its name there.
        value: Its value.
        place: Where it lies.
        match: The secret of ours that it is.
        is_running: Whether a container was started with it.
        is_in_file: Whether it lies in a file.
    """
    found = Found()
    if name in _SETTINGS:
        found.settings[_SETTINGS[name]] = value
    elif match is not None and match.kind is Kind.URL:
        parts = read_parts(value)
        if parts is None:
            found.notes.append(f"{name} ({place}) cannot be taken apart, so nothing of it was taken")
        elif parts.password and not _REFERENCE.fullmatch(parts.password):
            found.values.append(
                FoundValue(match.spec.name, parts.password, f"{place}, in {name}", is_running, value, is_in_file)
            )
        if parts is not None and match.spec.name == "DATABASE_PASSWORD":
            named = {"DATABASE_NAME": parts.database, "DATABASE_USER": parts.user}
            found.settings |= {key: part for key, part in named.items() if _ROLE.fullmatch(part)}
    elif match is not None and match.kind is Kind.FILE:
        found.unread.append((match.spec.name, f"the file that {name} names ({place})"))
    elif match is not None:
        found.values.append(FoundValue(match.spec.name, value, place, is_running, is_in_file=is_in_file))
    elif match is None and name != MASTER_KEY and _SOUNDS_SECRET.search(name):
        found.left_alone.append((f"{place}, {name}" if can_be_shown(name) else place, OTHER_SECRET))
    elif match is None and _CREDENTIALS_IN_URL.match(value):
        found.left_alone.append((f"{place}, {name}" if can_be_shown(name) else place, "a password in a URL"))
    return found


def _read_dotenv(file: DotenvFile, shown: str, names: Names) -> Found:
    content = read_lines(with_plain_line_ends(decode(file.data, shown)), names.is_ours)
    found = Found()
    for entry in content.entries:
        match = names.find(entry.name)
        place = f"{shown}, line {entry.place}"
        value = entry.value if isinstance(entry.value, str) else ""
        if entry.name == "SECRETS_BACKEND" and value.lower() not in _FILE_STORES:
            found.store = place
        if match is not None and (entry.fault or not is_utf8(value)):
            found.unread.append((match.spec.name, f"{place}: {entry.fault or faults.NOT_UTF8}"))
        elif value and not _refers(entry, names):
            found.add(read_named(entry.name, value, place, match))
    return found


def _refers(entry: Entry, names: Names) -> bool:
    """Whether a value is only the name of another variable, which is read by itself."""
    return not entry.is_quoted and names.is_ours(entry.name) and names_variable(str(entry.value))


def _read_encrypted(original: Original, path: str, names: Names, keys: Sequence[str]) -> Found:
    shown = original.shown(path)
    found = Found()
    for name, value in decrypt(read_bytes(path), keys, shown).items():
        if isinstance(value, str):
            found.add(read_named(name, value, shown, names.find(name)) if value else Found())
        elif can_be_shown(name):
            found.left_alone.append((f"{shown}, {name}", "not a text"))
    return found


def _read_values_folder(original: Original, folder: str, names: Names) -> Found:
    shown = original.shown(folder)
    try:
        content = read_folder(folder, names)
    except OSError as error:
        raise ConfigurationError(
            f"{folder} cannot be read: {error.strerror}; nothing was changed",
            hint="Let a user run this who may read it",
        ) from None
    found = Found()
    files = [name for name in sorted(os.listdir(folder)) if os.path.isfile(os.path.join(folder, name))]
    for entry in content.entries:
        match = names.find_file(entry.name)
        if match is None:
            file = next((name for name in files if name.removesuffix(".txt") == entry.name), "")
            place = os.path.join(shown, file) if can_be_shown(entry.name, is_file=True) else shown
            found.left_alone.append((place, OTHER_SECRET))
        elif entry.fault:
            found.unread.append((match.spec.name, f"{os.path.join(shown, entry.name)}: {entry.fault}"))
        elif entry.value:
            found.values.append(FoundValue(match.spec.name, str(entry.value), os.path.join(shown, entry.name)))
    return found


def _read_configuration(path: str, shown: str) -> Found:
    import yaml

    text = read_text(path)
    try:
        # Every value as it is written: 0123 is no number. Neither tags nor what is not UTF-8 is read.
        document = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - it makes texts, lists and maps only
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        raise ConfigurationError(
            f"{shown}{where} cannot be read as YAML in UTF-8; nothing was changed",
            hint="Copy the folder, correct the file in the copy, and name the copy with --adopt",
        ) from None
    found = Found()
    for keys, value in _walk(document, (), set()):
        text = str(value)
        if text in ("", "null", "~") or _REFERENCE.fullmatch(text):
            continue
        place = f"{shown}, {_dotted(keys)}"
        names = tuple(key for key in keys if isinstance(key, str))
        if names in _CONFIGURED:
            found.values.append(FoundValue(_CONFIGURED[names], text, place))
        elif names in _CONFIGURED_SETTINGS:
            found.settings[_CONFIGURED_SETTINGS[names]] = text
        elif _CREDENTIALS_IN_URL.match(text):
            found.left_alone.append((place, CAMERA if keys[0] == "cameras" else "a password in a URL"))
        elif names and (
            _SOUNDS_SECRET.search(names[-1]) or names[-1] == "Authorization" or names[-2:] == ("webhook", "url")
        ):
            found.left_alone.append((place, OTHER_SECRET))
    return found


def _walk(node: Any, keys: tuple[str | int, ...], seen: set[int]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every value with its keys; what several places share (``&`` and ``*``) comes once."""
    if isinstance(node, dict | list):
        if id(node) in seen:
            return
        seen.add(id(node))
        pairs = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in pairs:
            yield from _walk(value, (*keys, key if isinstance(key, int) else str(key)), seen)
    else:
        yield keys, node


def _dotted(keys: Sequence[str | int]) -> str:
    """``cameras.sources[0].url``; a key that may be anything else than a name is not shown."""
    text = ""
    for key in keys:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            text += f".{key}" if can_be_shown(key.replace("-", "_"), is_file=True) else ".(a key)"
    return text.lstrip(".")
