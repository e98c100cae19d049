"""A manager of an encrypted file, and its clock."""

from __future__ import annotations

from pathlib import Path

from cryptography.fernet import Fernet

from src.utils.secrets import SecretsManager
from src.utils.secrets.backends.file import FileBackend
from src.utils.secrets.settings import Settings

KEY = Fernet.generate_key().decode()


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def open_manager(store: FileBackend, ttl: str = "300") -> SecretsManager:
    environ = {
        "SECRETS_BACKEND": "file",
        "SECRETS_FILE_PATH": store.path,
        "SECRETS_MASTER_KEY": KEY,
        "SECRETS_CACHE_TTL": ttl,
    }
    return SecretsManager(settings=Settings(environ))


def corrupt(store: FileBackend) -> None:
    path = Path(store.path)
    path.chmod(0o600)
    path.write_bytes(b"garbage")
