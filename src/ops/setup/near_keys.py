"""Master keys that lie near: beside the one in use, where the set-up keeps keys, and in the project."""

from __future__ import annotations

import glob
import os
from typing import TYPE_CHECKING

from src.utils.secrets.backends.file import FileBackend
from src.utils.secrets.errors import SecretsError
from src.utils.secrets.masterkey import load_master_key, read_master_key_file
from src.utils.secrets.settings import MASTER_KEY_FAMILY, SecretsBackend

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment
    from src.utils.secrets.masterkey import MasterKey

LARGEST_KEY_FILE = 1024


def near_keys(deployment: Deployment) -> list[MasterKey]:
    """The key in use, then those that lie near; each of them once, and none that cannot be used."""
    in_use = key_in_use(deployment)
    keys = [*([in_use] if in_use else []), *_keys_in_files(deployment)]
    return list({tuple(key.ids): key for key in reversed(keys)}.values())[::-1]


def find_key_for(deployment: Deployment, path: str) -> MasterKey | None:
    """The key among the near ones that opens the encrypted file at ``path``; ``None`` when none does."""
    return next((key for key in near_keys(deployment) if opens(key, path)), None)


def opens(key: MasterKey, path: str) -> bool:
    """Whether a key opens the encrypted file at ``path``."""
    try:
        FileBackend(path, key).load()
    except SecretsError:
        return False
    return True


def key_in_use(deployment: Deployment) -> MasterKey | None:
    """The key that the settings name; ``None`` when there is none that can be used."""
    try:
        return load_master_key(deployment.settings(SecretsBackend.FILE).environ)
    except SecretsError:
        return None


def _keys_in_files(deployment: Deployment) -> list[MasterKey]:
    variables = deployment.variables()
    named = [variables[name] for name in MASTER_KEY_FAMILY if name.endswith("_FILE") and variables.get(name)]
    named.append(deployment.default_key_file)
    forms = [os.path.join(glob.escape(os.path.dirname(deployment.default_key_file)), "*")]
    for path in named:
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
