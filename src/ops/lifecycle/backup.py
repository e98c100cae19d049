"""A backup in one file: the secrets, their earlier values and the settings, encrypted with a passphrase or a key file.

The file is JSON with a header and one Fernet token. Its key comes from the passphrase by scrypt (RFC 7914), or is the
Fernet key in the key file. Lost keys of the store do not matter to it, and it fits every store.
"""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from src.ops.deployment.audit import recorded
from src.ops.deployment.dotenv import read_dotenv
from src.utils.secrets.atomicfile import make_private_directory, remove_stale_temporaries, replace_file
from src.utils.secrets.changes import check_value
from src.utils.secrets.errors import (
    DamagedStoreError,
    DecryptionError,
    SecretsError,
    StoreError,
    UnsupportedVersionError,
)
from src.utils.secrets.settings import absent_path, open_regular
from src.utils.secrets.snapshot import SecretMetadata, Snapshot, utc_now

if TYPE_CHECKING:
    from collections.abc import Mapping

    from src.ops.deployment.deployment import Deployment
    from src.utils.secrets.backends.base import Backend
    from src.utils.secrets.masterkey import MasterKey

FORMAT = "secrets-backup"
VERSION = 1
MAX_BYTES = 64 * 1024 * 1024
SALT_BYTES = 16
# 128 MiB and some 0.3 s: RFC 7914 and the OWASP cheat sheet for password storage name 2^17, 8, 1.
SCRYPT_N, SCRYPT_R, SCRYPT_P = 2**17, 8, 1
_LARGEST_N, _LARGEST_R, _LARGEST_P = 2**20, 8, 4


@dataclass(frozen=True)
class Backup:
    """What a backup holds.

    Attributes:
        created_at: When it was made.
        application: The slug of the application that it was made of.
        environment: Its environment.
        snapshot: The secrets.
        settings: The lines of its settings file.
    """

    created_at: str
    application: str
    environment: str
    snapshot: Snapshot
    settings: Mapping[str, str]


class Lock:
    """What opens a backup: a passphrase, or a key. Give one of them."""

    def __init__(self, *, passphrase: str | None = None, key: MasterKey | None = None) -> None:
        self._passphrase = passphrase
        self._key = key

    def header(self) -> dict[str, Any]:
        """How the key is found, for a new backup."""
        if self._passphrase is None:
            assert self._key is not None
            return {"key": "file", "key_id": self._key.ids[0]}
        salt = base64.b64encode(os.urandom(SALT_BYTES)).decode()
        return {"key": "scrypt", "salt": salt, "n": SCRYPT_N, "r": SCRYPT_R, "p": SCRYPT_P}

    def fernet(self, header: Mapping[str, Any], path: str) -> Fernet:
        """What opens the backup with this header.

        Raises:
            DecryptionError: It needs the other kind of lock.
            DamagedStoreError: The header makes no sense.
        """
        if header["key"] == "file":
            if self._key is None:
                raise DecryptionError(
                    f"{path} was made with a key file (key {header.get('key_id')})", hint="Name it: --key-file PATH"
                )
            return Fernet(self._key.first().text())
        if self._passphrase is None:
            raise DecryptionError(f"{path} was made with a passphrase", hint="Leave --key-file out")
        n, r, p = (header[name] for name in ("n", "r", "p"))
        limits = zip((n, r, p), (_LARGEST_N, _LARGEST_R, _LARGEST_P), strict=True)
        if not all(isinstance(number, int) and 0 < number <= limit for number, limit in limits):
            raise _damaged(path, "the parameters of its key are out of bounds")
        salt = base64.b64decode(header["salt"], validate=True)
        derived = Scrypt(salt=salt, length=32, n=n, r=r, p=p).derive(self._passphrase.encode())
        return Fernet(base64.urlsafe_b64encode(derived))


def default_backup_path(deployment: Deployment) -> str:
    """Where a backup goes when nobody says where: outside of the project."""
    name = f"{deployment.environment}-{utc_now().replace(':', '')}.backup"
    return os.path.join(deployment.state_directory, "backups", name)


def make_backup(deployment: Deployment, store: Backend, lock: Lock, path: str) -> int:
    """Write a backup, read it back, and compare.

    Returns:
        How many secrets are in it.

    Raises:
        StoreError: The file is there already, cannot be written, or reads back differently.
    """
    snapshot = store.load()
    content = {
        "secrets": dict(snapshot.values),
        "metadata": {
            name: snapshot.metadata[name].to_document() for name in snapshot.metadata if name in snapshot.values
        },
        "settings": {name: value for name, value in read_dotenv(deployment.settings_file).items() if value},
    }
    header: dict[str, Any] = {"format": FORMAT, "version": VERSION, "created_at": utc_now()}
    header |= {"application": deployment.catalog.slug, "environment": deployment.environment, "lock": lock.header()}
    token = lock.fernet(header["lock"], path).encrypt(json.dumps(content, ensure_ascii=False).encode()).decode()
    text = json.dumps(header | {"data": token}, indent=1) + "\n"
    make_private_directory(os.path.dirname(os.path.abspath(path)))
    remove_stale_temporaries([path])
    with recorded(deployment, "backup", snapshot.values, store.describe()):
        replace_file(path, text.encode(), mode=0o400, must_not_exist=True)
        if read_backup(path, lock).snapshot.values != dict(snapshot.values):
            os.unlink(path)
            raise StoreError(f"{path} reads back differently; it is removed", hint="Run this again")
    return len(snapshot.values)


def read_backup(path: str, lock: Lock) -> Backup:
    """Open a backup.

    Raises:
        DecryptionError: The passphrase or key is not its own.
        DamagedStoreError: It is not a backup, or is damaged.
        UnsupportedVersionError: A newer program made it.
        StoreError: It cannot be read.
    """
    header = _read_header(path)
    try:
        fernet = lock.fernet(header["lock"], path)
        text = fernet.decrypt(header["data"].encode())
    except InvalidToken:
        raise DecryptionError(
            f"{path} does not open: the passphrase or key is not the one it was made with, or the file is damaged",
            hint="Try again. A backup of the same day may have another passphrase",
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, MemoryError):
        raise _damaged(path, "its header is not of the known form") from None
    try:
        content = json.loads(text)
        values = content["secrets"]
        for name, value in values.items():
            check_value(name, value)
        metadata = {name: SecretMetadata.from_document(entry) for name, entry in content["metadata"].items()}
        settings = {str(name): str(value) for name, value in content["settings"].items()}
        return Backup(
            str(header["created_at"]),
            str(header["application"]),
            str(header["environment"]),
            Snapshot(values, metadata),
            settings,
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, SecretsError):
        raise _damaged(path, "it opens, but its content is not of the known form") from None


def needed_key_id(path: str) -> str | None:
    """The id of the key file that a backup opens with; ``None`` when it has a passphrase, or cannot be read."""
    try:
        lock = _read_header(path)["lock"]
        return str(lock["key_id"]) if lock["key"] == "file" else None
    except (SecretsError, KeyError, TypeError):
        return None


def is_backup(path: str) -> bool:
    """Whether a file is a backup, also one that this version cannot read."""
    return _owner(path) is not None


def is_backup_of(path: str, deployment: Deployment) -> bool:
    """Whether a file is a backup of this deployment, and not of another environment or application."""
    return _owner(path) in (_UNKNOWN_OWNER, (deployment.catalog.slug, deployment.environment))


_UNKNOWN_OWNER = ("", "")


def _owner(path: str) -> tuple[str, str] | None:
    """The application and environment that a backup is of, as it says; ``None`` for what is none."""
    try:
        header = _read_header(path)
    except UnsupportedVersionError:
        return _UNKNOWN_OWNER
    except SecretsError:
        return None
    return str(header.get("application")), str(header.get("environment"))


def _read_header(path: str) -> dict[str, Any]:
    try:
        with open_regular(path) as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise StoreError(
            f"The backup cannot be read: {error.strerror}: {absent_path(path)}", hint="Name the backup's file"
        ) from None
    if len(data) > MAX_BYTES:
        raise _damaged(path, "it is larger than 64 MiB")
    try:
        header = json.loads(data)
        is_backup = header["format"] == FORMAT
        version = header["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _damaged(path, "it is not a backup of this program") from None
    if not is_backup:
        raise _damaged(path, "it is not a backup of this program")
    if version != VERSION:
        raise UnsupportedVersionError(
            f"The backup {path} has a format that this program does not know; it reads version {VERSION}",
            hint="Use the version of this program that wrote it, or a newer one",
        )
    return dict(header)


def _damaged(path: str, reason: str) -> DamagedStoreError:
    return DamagedStoreError(f"The backup {path} cannot be used: {reason}", hint="Use another backup")
