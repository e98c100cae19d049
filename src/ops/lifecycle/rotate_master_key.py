"""A new master key for the encrypted file, with no moment at which a reader cannot open it.

First the key file holds both keys, the new one first; then the file is encrypted again; then the key file holds the new
key alone. A reader that still has the old key reads the key file again when the secrets do not open. After a crash the
key file shows how far it came: running the command again goes on.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from src.ops.deployment.audit import recorded
from src.ops.deployment.dotenv import write_dotenv
from src.ops.deployment.interrupts import deferred_interrupts
from src.ops.setup.master_key import KEY_FILE_MODE
from src.ops.setup.near_keys import opens
from src.ops.store_kinds import kind_in_use
from src.utils.secrets.atomicfile import remove_stale_temporaries, replace_file
from src.utils.secrets.backends.file import FileBackend
from src.utils.secrets.command import manage, program
from src.utils.secrets.errors import ConfigurationError, MasterKeyError
from src.utils.secrets.masterkey import generate_master_key, load_master_key, read_master_key_file
from src.utils.secrets.settings import MASTER_KEY_FAMILY, credentials_directory_key

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment
    from src.utils.secrets.masterkey import MasterKey


@dataclass(frozen=True)
class MasterKeyRotation:
    """What a rotation would do.

    Attributes:
        path: The encrypted file.
        key_file: The file with its key; ``None`` when the key comes from elsewhere and already is the new one.
        is_resumed: Whether an earlier run was stopped in the middle.
    """

    path: str
    key_file: str | None
    is_resumed: bool


def plan_master_key_rotation(deployment: Deployment) -> MasterKeyRotation:
    """Look at what is there.

    Raises:
        ConfigurationError: The store in use is not an encrypted file.
        MasterKeyError: The key comes from a place that cannot be written from here; the hint says what to do.
        SecretsError: The file does not open.
    """
    settings = deployment.settings()
    kind = kind_in_use(deployment)
    if not kind.has_master_key:
        raise ConfigurationError(
            f"{kind.title} has no master key; only the encrypted file has one",
            hint="The server encrypts what it keeps: see its own documentation for rotating its keys",
        )
    key = load_master_key(settings.environ)
    FileBackend(settings.file_path, key).load()
    key_file = settings.environ.get("SECRETS_MASTER_KEY_FILE") or None
    if key_file is not None:
        return MasterKeyRotation(settings.file_path, os.path.expanduser(key_file), is_resumed=len(key) > 1)
    if len(key) > 1:
        return MasterKeyRotation(settings.file_path, None, is_resumed=False)
    where = next((name for name in MASTER_KEY_FAMILY if settings.environ.get(name)), "")
    source = where or credentials_directory_key(settings.environ) or "the environment"
    raise MasterKeyError(
        f"The master key comes from {source}, which cannot be written from here",
        hint=[
            program(
                "python3", "-c", 'import secrets; print(secrets.token_urlsafe(32) + "=")', purpose="Make a new key"
            ),
            "Put NEW,OLD there (the new key, a comma, the old one) and restart what reads it",
            manage("rotate-master-key", purpose="Encrypt the file with the new key"),
            "Then put NEW there alone",
        ],
    )


def rotate_master_key(deployment: Deployment, rotation: MasterKeyRotation) -> str | None:
    """Carry the rotation out.

    Returns:
        Where the old key is kept; ``None`` when the key comes from elsewhere.

    Raises:
        SecretsError: A step failed. Both keys are still accepted, and running this again goes on.
    """
    with (
        deferred_interrupts() as check,
        recorded(deployment, "rotate-master-key", [], f"the encrypted file {rotation.path}"),
    ):
        check()
        if rotation.key_file is None:
            FileBackend(rotation.path, load_master_key(deployment.settings().environ)).reencrypt()
            return None
        return _rotate_in_file(deployment, rotation.path, rotation.key_file)


def old_key_files(key_file: str) -> list[str]:
    """The keys that earlier rotations kept, beside ``key_file``."""
    directory, name = os.path.split(os.path.abspath(key_file))
    with contextlib.suppress(FileNotFoundError):
        return sorted(
            os.path.join(directory, entry) for entry in os.listdir(directory) if entry.startswith(f"{name}.old-")
        )
    return []


def forgotten_files(rotation: MasterKeyRotation) -> list[str]:
    """What :func:`forget_old_keys` removes: the old keys, and the previous file where only they open it."""
    assert rotation.key_file is not None
    old = old_key_files(rotation.key_file)
    previous = f"{rotation.path}.bak"
    present = read_master_key_file(rotation.key_file, "The master key file")
    if old and os.path.exists(previous) and not opens(present, previous):
        return [*old, previous]
    return old


def forget_old_keys(deployment: Deployment, rotation: MasterKeyRotation) -> list[str]:
    """Remove what :func:`forgotten_files` names.

    Returns:
        The files removed.
    """
    removed = []
    with recorded(deployment, "rotate-master-key --forget", [], f"the encrypted file {rotation.path}"):
        for path in forgotten_files(rotation):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
                removed.append(path)
    return removed


def _rotate_in_file(deployment: Deployment, path: str, key_file: str) -> str:
    remove_stale_temporaries([key_file])
    keys = read_master_key_file(key_file, "The master key file")
    if len(keys) == 1:
        old = keys
        keys = generate_master_key(key_file).with_older(old)
        _write_key(key_file, keys)
    old_file = f"{key_file}.old-{keys.ids[-1]}"
    if not os.path.exists(old_file):
        _write_key(old_file, keys.older())
    FileBackend(path, keys).reencrypt()
    write_dotenv(deployment.settings_file, {"SECRETS_MASTER_KEY_ID": keys.ids[0]})
    alone = keys.first()
    FileBackend(path, alone, expected_key_id=alone.ids[0]).load()
    _write_key(key_file, alone)
    return old_file


def _write_key(path: str, key: MasterKey) -> None:
    status = os.stat(path) if os.path.exists(path) else None
    owner = (status.st_uid, status.st_gid) if status else None
    replace_file(path, f"{key.text()}\n".encode(), mode=KEY_FILE_MODE, owner=owner)
