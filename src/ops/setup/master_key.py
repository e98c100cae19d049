"""The master key of the encrypted file: which one, and where it is kept."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from src.ops.deployment.undo import make_directories, remove_file
from src.utils.secrets.atomicfile import numbered_names, remove_stale_temporaries, replace_file
from src.utils.secrets.errors import MasterKeyError
from src.utils.secrets.masterkey import (
    generate_master_key,
    load_master_key,
    looks_like_master_key,
    read_master_key_file,
)
from src.utils.secrets.settings import MASTER_KEY_FAMILY, absent_path, credentials_directory_key
from src.utils.secrets.trusted_place import require_trusted_place

if TYPE_CHECKING:
    from contextlib import ExitStack

    from src.ops.deployment.deployment import Deployment
    from src.utils.secrets.masterkey import MasterKey

KEY_FILE_MODE = 0o400


class NoPlaceForKeyError(MasterKeyError):
    """This user has no folder of their own, outside of the project, where a master key could be kept."""


@dataclass(frozen=True)
class KeyChoice:
    """The master key, and where it is kept.

    Attributes:
        key: The key.
        file: Its file, to be named in ``.env.production``; ``None`` when it comes from elsewhere.
        is_new: Whether it was made now.
    """

    key: MasterKey
    file: str | None
    is_new: bool

    @property
    def new_file(self) -> str | None:
        """The file that the key is written to; ``None`` when it is no new key, or has no file."""
        return self.file if self.is_new else None


def choose_key(deployment: Deployment, master_key_file: str | None) -> KeyChoice:
    """The master key to use: the one that is configured, else the one in its usual file, else a new one.

    Raises:
        NoPlaceForKeyError: There is none, and no place for a new one.
        MasterKeyError: There is one, but it cannot be used.
    """
    variables = deployment.variables()
    given = [name for name in MASTER_KEY_FAMILY if deployment.environ.get(name)]
    if master_key_file is not None:
        if given:
            raise MasterKeyError(
                f"--master-key-file and {given[0]} both name a master key", hint=f"Keep one: unset {given[0]}"
            )
        return _key_in_file(master_key_file, deployment)
    if given or credentials_directory_key(variables):
        return KeyChoice(load_master_key(variables), variables.get("SECRETS_MASTER_KEY_FILE"), is_new=False)
    if variables.get("SECRETS_MASTER_KEY"):
        return KeyChoice(load_master_key(variables), None, is_new=False)
    if variables.get("SECRETS_MASTER_KEY_FILE"):
        return _key_in_file(variables["SECRETS_MASTER_KEY_FILE"], deployment)
    if check_key_path(deployment.default_key_file, deployment):
        raise NoPlaceForKeyError(
            "There is no place for the master key: this user has no home folder outside of the project",
            hint=[
                "Name a file in a folder that only this user can write to: --master-key-file PATH",
                "Or let systemd make one for the service: StateDirectory=, and run this with STATE_DIRECTORY",
            ],
        )
    return _key_in_file(deployment.default_key_file, deployment)


def choose_unused_key(deployment: Deployment) -> KeyChoice:
    """The key for a new file in place of a lost one.

    The key file in use is left alone: it may yet turn out to open something. A new one is made beside it. A key that
    the environment gives stays the key.
    """
    is_given = any(deployment.environ.get(name) for name in MASTER_KEY_FAMILY)
    if is_given or credentials_directory_key(deployment.environ):
        return choose_key(deployment, None)
    return choose_key(deployment, _unused_path(deployment.default_key_file))


def check_key_path(path: str, deployment: Deployment) -> str | None:
    """What is wrong with keeping the master key at ``path``; ``None`` when nothing is."""
    real = os.path.realpath(os.path.expanduser(path))
    inside = os.path.realpath(deployment.project_directory)
    if real == inside or real.startswith(inside + os.sep):
        return "The key may not be in the project's folder: anyone who copies the folder would have both."
    if os.path.isdir(real):
        return "That is a folder; name a file in it."
    if looks_like_master_key(os.path.basename(path)):
        return "That is a key itself; give the path of a file."
    return None


def write_key_file(path: str, master_key: MasterKey, undo: ExitStack) -> None:
    """Write a master key to a file that must not be there yet.

    Raises:
        UntrustedPlaceError: Others could replace it there; it would not be read again.
        StoreError: It could not be written.
    """
    require_trusted_place(path, f"A key in {path}")
    make_directories(os.path.dirname(os.path.abspath(path)), undo)
    remove_stale_temporaries([path])
    replace_file(path, f"{master_key.text()}\n".encode(), mode=KEY_FILE_MODE, must_not_exist=True)
    undo.callback(remove_file, path)


def _key_in_file(path: str, deployment: Deployment) -> KeyChoice:
    path = os.path.abspath(os.path.expanduser(path))
    fault = check_key_path(path, deployment)
    if fault:
        raise MasterKeyError(f"{absent_path(path)}: {fault}", hint="Choose another place: --master-key-file PATH")
    if os.path.lexists(path):
        return KeyChoice(read_master_key_file(path, "The master key file"), path, is_new=False)
    return KeyChoice(generate_master_key(path), path, is_new=True)


def _unused_path(path: str) -> str:
    return next(name for name in numbered_names(*os.path.splitext(path)) if not os.path.lexists(name))
