"""Master keys that lie near: beside the one in use, where the set-up keeps keys, and in the project."""

from __future__ import annotations

import glob
import os
from typing import TYPE_CHECKING

from src.ops.deployment.dotenv import read_dotenv
from src.utils.secrets.backends.file import FileBackend
from src.utils.secrets.errors import SecretsError, UnsupportedVersionError
from src.utils.secrets.masterkey import load_master_key, parse_master_key, read_master_key_file
from src.utils.secrets.settings import SecretsBackend

from .summary import key_file_named
from .traces import copies_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from src.ops.deployment.deployment import Deployment
    from src.utils.secrets.masterkey import MasterKey

LARGEST_KEY_FILE = 1024
_KEY_FILE = "SECRETS_MASTER_KEY_FILE"


def near_keys(deployment: Deployment) -> list[MasterKey]:
    """The key in use, then those that lie near; each of them once, and none that cannot be used."""
    in_use = key_in_use(deployment)
    settings = _read_settings(deployment)
    named = [lines.get(_KEY_FILE) for lines in settings.values()]
    keys = [*([in_use] if in_use else []), *_keys_in_settings(settings), *_keys_in_files(deployment, named)]
    return list({tuple(key.ids): key for key in reversed(keys)}.values())[::-1]


def find_key_for(deployment: Deployment, path: str) -> MasterKey | None:
    """The key among the near ones that opens the encrypted file at ``path``; ``None`` when none does."""
    return next((key for key in near_keys(deployment) if opens(key, path)), None)


def opens(key: MasterKey, path: str) -> bool:
    """Whether a key opens the encrypted file at ``path``. What is in it may be of a newer version."""
    try:
        FileBackend(path, key).load()
    except UnsupportedVersionError:
        return True
    except SecretsError:
        return False
    return True


def key_in_use(deployment: Deployment) -> MasterKey | None:
    """The key that the settings name; ``None`` when there is none that can be used."""
    try:
        return load_master_key(deployment.settings(SecretsBackend.FILE).environ)
    except SecretsError:
        return None


def _read_settings(deployment: Deployment) -> dict[str, dict[str, str | None]]:
    """The lines of the settings file, and of the ones that it was, by path: they may still name an earlier key."""
    found = {}
    for path in (deployment.settings_file, *copies_of(deployment.settings_file)):
        try:
            found[path] = read_dotenv(path)
        except SecretsError:
            continue
    return found


def _keys_in_settings(settings: Mapping[str, Mapping[str, str | None]]) -> list[MasterKey]:
    keys = []
    for path, lines in settings.items():
        text = lines.get("SECRETS_MASTER_KEY")
        try:
            keys += [parse_master_key(text, path)] if text else []
        except SecretsError:
            continue
    return keys


def _keys_in_files(deployment: Deployment, named_in_settings: Sequence[str | None]) -> list[MasterKey]:
    named = [deployment.variables().get(_KEY_FILE), *named_in_settings]
    named += [key_file_named(deployment), deployment.default_key_file]
    forms = [os.path.join(glob.escape(os.path.dirname(deployment.default_key_file)), "*")]
    for path in filter(None, named):
        forms.append(glob.escape(os.path.abspath(os.path.expanduser(path))) + "*")
    forms += [os.path.join(glob.escape(deployment.project_directory), folder, "*.key*") for folder in ("", "config")]
    found = dict.fromkeys(path for form in forms for path in sorted(glob.glob(form)))
    return [key for path in found for key in _read(path)]


def _read(path: str) -> list[MasterKey]:
    try:
        if not os.path.isfile(path) or os.path.getsize(path) > LARGEST_KEY_FILE:
            return []
        return [read_master_key_file(path, "The master key file")]
    except (OSError, SecretsError):
        return []
