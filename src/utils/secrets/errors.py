"""What can go wrong with a secret, each error with the next command to run.

No message, hint or ``repr`` ever holds a secret's value.
"""

from __future__ import annotations


class SecretsError(Exception):
    """Base of every error raised by this package.

    Args:
        message: What happened, and to which thing. One line.
        hint: What to do about it; several steps are separated by newlines.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ConfigurationError(SecretsError):
    """A setting (environment variable or line of ``.env.production``) is missing or wrong."""


class CatalogError(SecretsError):
    """``config/catalog.toml`` is missing or wrong."""


class SecretNotFoundError(SecretsError):
    """A required secret is not in the store."""


class InvalidSecretError(SecretsError):
    """A secret's value cannot be used for what was asked of it."""


class MasterKeyError(SecretsError):
    """The master key is missing, malformed or not kept safely."""


class StoreError(SecretsError):
    """The store cannot be read or written."""


class DecryptionError(StoreError):
    """The encrypted file does not open with this master key."""


class DamagedStoreError(StoreError):
    """What the store holds is not what was written to it."""


class UnsupportedVersionError(StoreError):
    """The store was written by a newer version of this program."""


class StoreChangedError(StoreError):
    """Somebody else changed the store between reading and writing."""
