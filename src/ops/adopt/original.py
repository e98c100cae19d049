"""Where the original system keeps what it has, in its folder."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from src.utils.secrets.command import set_up
from src.utils.secrets.errors import ConfigurationError
from src.utils.secrets.settings import MAX_VALUE_BYTES, absent_path, open_regular

from .encrypted import is_encrypted
from .found import MASTER_KEY

if TYPE_CHECKING:
    from collections.abc import Sequence

DOTENV_FILES = (".env.production", ".env")  # the first one is what its production reads
COMPOSE_FILES = ("docker-compose.prod.yml", "docker-compose.yml")
ENCRYPTED_FILE, CONFIG_FILE, VALUES_FOLDER = "config/secrets.enc", "config/config.yaml", "secrets"
# Where those of its files are that are called as this project's own, once this took over its folder. Git does not
# see it. It is there, if empty, as soon as they are moved.
KEPT_FOLDER = "before-adoption"
PARTLY_KEPT_FOLDER = f"{KEPT_FOLDER}.part"
# What its files are called here, too. The others stay where they are.
SHARED_FILES = (*DOTENV_FILES, ENCRYPTED_FILE, VALUES_FOLDER)

_NAMES_OF_ORIGINAL = frozenset(
    {
        "DATABASE_URL",
        "EMAIL_PASSWORD",
        "EMAIL_USERNAME",
        "ENCRYPTION_KEY",
        "JWT_SECRET_KEY",
        "REDIS_URL",
        "SECRET_KEY",
        "TWILIO_FROM_NUMBER",
        "TWILIO_SID",
        "TWILIO_TOKEN",
    }
)
_NAMES_OF_THIS = frozenset({"ADMIN_PASSWORD", "APP_UID", "DATABASE_PASSWORD", "WEBHOOK_SECRET", f"{MASTER_KEY}_ID"})
_MARKS = frozenset({"APP_UID", f"{MASTER_KEY}_ID"})
# Names that few have but the original.
_RARE_NAMES = frozenset({"EMAIL_PASSWORD", "TWILIO_SID", "TWILIO_TOKEN"})
_NAMES_IN_COMPOSE = ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "SECRET_KEY", "ENCRYPTION_KEY", "JWT_SECRET")
_FEWEST_NAMES = 6
_NAME = re.compile(r"^[ \t]*(?:export[ \t]+)?([A-Z][A-Z0-9_]*)[ \t]*=(.*)$", re.MULTILINE)
_FERNET_KEY = re.compile(r"[A-Za-z0-9_-]{43}=(?:,[A-Za-z0-9_-]{43}=)*")
_TOP_LEVEL = re.compile(r"^(cameras|alerting|database|detection|api)[ \t]*:", re.MULTILINE)
_FEWEST_SECTIONS = 3


@dataclass(frozen=True)
class DotenvFile:
    """A dotenv file of the original, which is read once.

    Attributes:
        path: Where it is.
    """

    path: str

    @cached_property
    def data(self) -> bytes:
        """What it holds; see :func:`read_bytes`."""
        return read_bytes(self.path)

    @property
    def text(self) -> str:
        """The same as :func:`read_text` gives it."""
        return _decode(self.data)


@dataclass(frozen=True)
class Original:
    """A folder of the original system. Every path is absolute, and leads to a file that is there.

    Attributes:
        folder: The folder.
        dotenv_files: Its dotenv files, the one of its production first.
        encrypted_file: Its encrypted file.
        values_folder: The folder with one file for each Docker secret.
        compose_file: The Compose file that it is started with.
        config_file: Its configuration.
    """

    folder: str
    dotenv_files: tuple[DotenvFile, ...] = ()
    encrypted_file: str | None = None
    values_folder: str | None = None
    compose_file: str | None = None
    config_file: str | None = None

    def shown(self, path: str) -> str:
        """A path for people: from the folder on."""
        return os.path.relpath(path, self.folder)


def find_original(folder: str, project_directory: str) -> Original:
    """The parts of the original system in a folder.

    Args:
        folder: The folder.
        project_directory: The project that takes it over; it may be in the same folder.

    Raises:
        ConfigurationError: It is none of the original, or a part of it cannot be read.
    """
    if not os.path.isdir(folder):
        raise ConfigurationError(
            f"--adopt names no folder: {absent_path(folder)}", hint="Name the folder of the original system"
        )
    in_place = os.path.realpath(folder) == os.path.realpath(project_directory)
    original = _look(os.path.abspath(folder), in_place=in_place)
    if in_place and _is_in_use(folder):
        raise ConfigurationError(
            f"This folder has secrets of this project already, so that the original's are not looked for in {folder}; "
            "nothing was changed",
            hint="Name the folder of the original system, or a copy of it",
        )
    if not _is_original(original):
        raise ConfigurationError(
            f"{folder} is no folder of the original system; nothing was changed",
            hint=[
                "It has a config/config.yaml with cameras, a docker-compose.prod.yml, or a config/secrets.enc",
                set_up("--import", "FILE", purpose="Values in a file of another form"),
            ],
        )
    return original


def find_near(folder: str, *, is_set_up: bool) -> str | None:
    """A folder of the original that may be taken over: a project's own, or one beside it.

    Args:
        folder: The project's folder.
        is_set_up: Whether it has secrets of its own, so that those beside it are none of its affair.
    """
    own = os.path.realpath(folder)
    if os.path.lexists(os.path.join(own, KEPT_FOLDER)):
        return None
    if not _is_in_use(own) and _looks_like_original(own, in_place=True):
        return own
    beside = os.path.dirname(own)
    try:
        others = [] if is_set_up else sorted(os.listdir(beside))
    except OSError:
        others = []
    paths = (os.path.join(beside, name) for name in others)
    return next((path for path in paths if path != own and _looks_like_original(path, in_place=False)), None)


def _looks_like_original(folder: str, *, in_place: bool) -> bool:
    """Whether a folder is one of the original system, as far as this user can read it."""
    try:
        return os.path.isdir(folder) and _is_original(_look(os.path.abspath(folder), in_place=in_place))
    except (ConfigurationError, OSError):
        return False


def _is_in_use(folder: str) -> bool:
    """Whether this project has secrets in a folder that was not taken over: it has written its summary, or settings."""
    if os.path.lexists(os.path.join(folder, KEPT_FOLDER)):
        return False
    texts = [read_text(path) for name in DOTENV_FILES if _is_there(path := os.path.join(folder, name))]
    marked = any(_MARKS & {name for name, _ in _NAME.findall(text)} for text in texts)
    return marked or os.path.exists(os.path.join(folder, "config/SETUP.md"))


def read_text(path: str) -> str:
    """What a file of the original holds, less a byte order mark; bytes that are not UTF-8 stay recognizable.

    Raises:
        ConfigurationError: It cannot be read, or is larger than 1 MiB.
    """
    return _decode(read_bytes(path))


def _decode(data: bytes) -> str:
    return data.decode(errors="surrogateescape").removeprefix("\ufeff")


def read_bytes(path: str) -> bytes:
    """The same, as bytes."""
    try:
        with open_regular(path) as file:
            data = file.read(MAX_VALUE_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read: {error.strerror}; nothing was changed",
            hint="Let a user run this who may read it, or copy the folder to a place where this user may",
        ) from None
    if len(data) > MAX_VALUE_BYTES:
        raise ConfigurationError(
            f"{path} is larger than 1 MiB; nothing was changed", hint="Check that it is the right file"
        )
    return data


def master_keys(text: str) -> list[str]:
    """What the master key in a dotenv file may be.

    It stands there unquoted, with any sign in it, so that python-dotenv, a shell and Compose read it in different ways.
    """
    from io import StringIO

    from dotenv import dotenv_values

    found = [value for name, value in _NAME.findall(text) if name == MASTER_KEY]
    read: list[str | None] = []
    for value in found:
        read += [value.strip(), value.rstrip("\r"), value.strip().strip("'\"")]
        for interpolate in (False, True):
            read.append(
                dotenv_values(stream=StringIO(f"{MASTER_KEY}={value}\n"), interpolate=interpolate).get(MASTER_KEY)
            )
    return [value for value in dict.fromkeys(read) if value]


def _look(folder: str, *, in_place: bool) -> Original:
    kept = os.path.join(folder, KEPT_FOLDER)
    # Once everything was moved, what is called so here is this project's.
    partly = [os.path.join(folder, PARTLY_KEPT_FOLDER)] if in_place else []
    places = [kept] if in_place and _is_there(kept) else [*partly, folder]

    def find(name: str) -> str | None:
        paths = [os.path.join(place, name) for place in (places if name in SHARED_FILES else [folder])]
        return next(filter(_is_there, paths), None)

    dotenv_files = tuple(DotenvFile(path) for path in map(find, DOTENV_FILES) if path)
    encrypted = find(ENCRYPTED_FILE) or _find_named(folder, dotenv_files)
    compose = [path for path in map(find, COMPOSE_FILES) if path and _is_compose_file_of_original(path)]
    return Original(
        folder,
        dotenv_files,
        encrypted,
        find(VALUES_FOLDER),
        compose[0] if compose else None,
        find(CONFIG_FILE),
    )


def _find_named(folder: str, dotenv_files: Sequence[DotenvFile]) -> str | None:
    """The encrypted file at the place that the settings name."""
    for file in dotenv_files:
        name = dict(_NAME.findall(file.text)).get("SECRETS_FILE_PATH", "").strip().strip("'\"")
        if name and _is_there(os.path.join(folder, name)):
            return os.path.join(folder, name)
    return None


def _is_there(path: str) -> bool:
    """Whether there is something of this name.

    Raises:
        ConfigurationError: This user may not know.
    """
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be looked at: {error.strerror}; nothing was changed",
            hint="Let a user run this who may read it, or copy the folder to a place where this user may",
        ) from None
    return True


def _is_original(original: Original) -> bool:
    if original.compose_file is not None:
        return True
    if original.config_file is not None and _has_sections(read_text(original.config_file)):
        return True
    texts = [file.text for file in original.dotenv_files]
    names = {name for text in texts for name, _ in _NAME.findall(text)}
    is_ours = bool(_NAMES_OF_THIS & names)
    if len(_NAMES_OF_ORIGINAL & names) >= _FEWEST_NAMES and names >= _RARE_NAMES and not is_ours:
        return True
    if original.encrypted_file is None or not is_encrypted(read_bytes(original.encrypted_file)):
        return False
    keys = [key for text in texts for key in master_keys(text)]
    return bool(keys) and not any(map(_FERNET_KEY.fullmatch, keys))


def _has_sections(text: str) -> bool:
    found = {*_TOP_LEVEL.findall(text)}
    return "cameras" in found and len(found) >= _FEWEST_SECTIONS


def _is_compose_file_of_original(path: str) -> bool:
    text = read_text(path)
    # Ours hands all of them over as files, whose names are longer.
    names = sum(bool(re.search(rf"\b{name}\b", text)) for name in _NAMES_IN_COMPOSE)
    return names >= len(_NAMES_IN_COMPOSE) - 1 and ("ALLOWED_HOSTS" in text or "cctv" in text.lower())
