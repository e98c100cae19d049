"""The original's encrypted file: Fernet over a JSON object, its key derived from a master key with PBKDF2."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from src.utils.secrets.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

# What the original's set-up script has; both are public.
_SALT = b"cctv_face_detection_salt"
_ROUNDS = 480_000
_KEY_BYTES = 32
_TOKEN_START = b"gAAAAA"  # version 0x80 and the first bytes of the time, https://github.com/fernet/spec


def is_encrypted(data: bytes) -> bool:
    """Whether ``data`` is a Fernet token, of the original or of this project."""
    return data.lstrip().startswith(_TOKEN_START)


def decrypt(data: bytes, master_keys: Iterable[str], place: str) -> dict[str, object]:
    """The values in the original's encrypted file.

    Args:
        data: What the file holds.
        master_keys: What the master key may be: a settings file is read in several ways by different programs.
        place: The file, for errors.

    Returns:
        Value by name.

    Raises:
        ConfigurationError: None of the keys opens it, or there is none; or it holds something else.
    """
    from cryptography.fernet import Fernet, InvalidToken
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

    keys = list(dict.fromkeys(filter(None, master_keys)))
    for key in keys:
        derived = PBKDF2HMAC(SHA256(), _KEY_BYTES, _SALT, _ROUNDS).derive(key.encode(errors="surrogateescape"))
        try:
            content = Fernet(base64.urlsafe_b64encode(derived)).decrypt(data.strip())
        except InvalidToken:
            continue
        return _parse(content, place)
    raise ConfigurationError(
        f"No master key that is known opens {place}; nothing was changed"
        if keys
        else f"There is no master key for {place}; nothing was changed",
        hint="Put the original's master key into a file that only you can read, and add: --adopt-key-file PATH",
    )


def _parse(content: bytes, place: str) -> dict[str, object]:
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise ConfigurationError(
            f"{place} holds no list of names and values; nothing was changed",
            hint="Check that it is the original's file",
        )
    return values
