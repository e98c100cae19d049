"""Encrypts columns of the database with keys derived from ``ENCRYPTION_KEY``.

HKDF (RFC 5869) gives every column a key of its own, so that a value cannot be moved to another column. Fernet encrypts
and authenticates: https://github.com/fernet/spec/blob/master/Spec.md
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

if TYPE_CHECKING:
    from src.utils.secrets import SecretsManager

SECRET = "ENCRYPTION_KEY"  # pragma: allowlist secret
_KEY_BYTES = 32


@dataclass(frozen=True)
class EncryptedColumn:
    """A column whose values are encrypted.

    Attributes:
        table: Its table.
        key: The primary key of the table: one column.
        name: The column.
    """

    table: str
    key: str
    name: str

    @property
    def info(self) -> bytes:
        """What RFC 5869 calls ``info``: it makes the key of this column another one than those of the others."""
        return f"column {self.table}.{self.name}".encode()


LAST_LOGIN_ADDRESS = EncryptedColumn("accounts", "username", "last_login_address")
# A column that is not here cannot be encrypted, so re-encryption misses none.
COLUMNS = (LAST_LOGIN_ADDRESS,)


class Keys:
    """The values of ``ENCRYPTION_KEY`` of one moment, and the keys that are derived from them, each once.

    Args:
        values: The current value first, then the earlier ones that are kept.
    """

    def __init__(self, values: tuple[str, ...]) -> None:
        self.values = values
        self._derived: dict[tuple[str, bytes], Fernet] = {}

    def __repr__(self) -> str:
        return f"<Keys of {len(self.values)} values>"

    def seal(self, info: bytes, text: str) -> str:
        """``text``, encrypted with the current value's key."""
        return self._fernet(self.values[0], info).encrypt(text.encode()).decode()

    def open(self, info: bytes, token: str) -> str | None:
        """The text in ``token``; ``None`` when none of the keys opens it."""
        return next((text for value in self.values if (text := self._open(value, info, token)) is not None), None)

    def open_with_current(self, info: bytes, token: str) -> str | None:
        """The text in ``token``; ``None`` when the current value's key does not open it."""
        return self._open(self.values[0], info, token)

    def derive(self, info: bytes) -> bytes:
        """The current value's key for ``info``, 32 bytes. RFC 5869, with SHA-256 and without salt."""
        return _derive(self.values[0], info)

    def encrypt(self, column: EncryptedColumn, text: str) -> str:
        """``text`` for ``column``, with the current value's key.

        Raises:
            ValueError: The column is not one of :data:`COLUMNS`.
        """
        if column not in COLUMNS:
            raise ValueError(f"{column.table}.{column.name} is not in COLUMNS")
        return self.seal(column.info, text)

    def decrypt(self, column: EncryptedColumn, token: str) -> str | None:
        """The text of ``token`` from ``column``; ``None`` when none of the keys opens it."""
        return self.open(column.info, token)

    def _open(self, value: str, info: bytes, token: str) -> str | None:
        try:
            return self._fernet(value, info).decrypt(token.encode()).decode()
        except InvalidToken:
            return None

    def _fernet(self, value: str, info: bytes) -> Fernet:
        if (value, info) not in self._derived:
            self._derived[value, info] = Fernet(urlsafe_b64encode(_derive(value, info)))
        return self._derived[value, info]


class ColumnCipher:
    """Gives the keys of this moment. They are derived again only after ``ENCRYPTION_KEY`` has changed.

    Args:
        manager: Gives the current value and the earlier ones that are kept.
    """

    def __init__(self, manager: SecretsManager) -> None:
        self._manager = manager
        self._keys = Keys(())

    def keys(self) -> Keys:
        """The keys of this moment. What is read and written together uses the same ones.

        Raises:
            SecretsError: The store cannot be read, or ``ENCRYPTION_KEY`` is not set.
        """
        self._manager.require_secret(SECRET)
        values = tuple(self._manager.versions(SECRET))
        if values != self._keys.values:
            self._keys = Keys(values)
        return self._keys


def _derive(value: str, info: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=info).derive(value.encode())
