"""What the measurements share: a store, and the environment of a measured process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from cryptography.fernet import Fernet

from src.utils.secrets.backends.file import FileBackend
from src.utils.secrets.changes import Change
from src.utils.secrets.masterkey import MasterKey

PROJECT = Path(__file__).resolve().parent.parent
VALUE = "x" * 43


def python(code: str, *flags: str) -> list[str]:
    """Return the command line that runs ``code``."""
    return [sys.executable, *flags, "-c", code]


def environ_of(folder: Path, **more: str) -> dict[str, str]:
    """Return the environment of a measured process."""
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(PROJECT), **more}


def make_file(folder: Path, count: int) -> dict[str, str]:
    """An encrypted file with ``count`` secrets; returns the settings for it."""
    key_file, path = folder / f"{count}.key", folder / f"{count}.enc"
    if not path.exists():
        key_file.touch(0o400)
        key_file.write_text(Fernet.generate_key().decode())
        store = FileBackend(str(path), MasterKey([key_file.read_text()], "the benchmark"))
        store.save({f"SECRET_{number}": Change(VALUE) for number in range(count)})
    return {"SECRETS_BACKEND": "file", "SECRETS_FILE_PATH": str(path), "SECRETS_MASTER_KEY_FILE": str(key_file)}
