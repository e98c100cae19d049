"""What can go wrong with a secret, each error with the next command to run.

No message, hint or ``repr`` ever holds a secret's value.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .command import Hint


class SecretsError(Exception):
    """Base of every error raised by this package.

    Args:
        message: What happened, and to which thing. One line.
        hint: What to do about it: one step, or several in their order. A step is a sentence, or the
            :class:`.command.Command` to run.
    """

    def __init__(self, message: str, *, hint: Hint | Sequence[Hint] = ()) -> None:
        super().__init__(message)
        self.hints = several(hint)

    @property
    def hints(self) -> tuple[Hint, ...]:
        """What to do about it, one for each step; empty when nothing is known."""
        return self._hints

    @hints.setter
    def hints(self, hints: tuple[Hint, ...]) -> None:
        self._hints = hints
        # Tracebacks show an exception's notes below its message: https://peps.python.org/pep-0678/
        self.__notes__ = [f"hint: {line}" for line in self.hint.splitlines()]

    @property
    def hint(self) -> str:
        """The text of :attr:`hints`, a line for each."""
        return "\n".join(hint if isinstance(hint, str) else hint.text for hint in self._hints)

    def again(self) -> SecretsError:
        """The same error, to be raised in another thread or at another time: a raised one collects tracebacks."""
        twin = type(self).__new__(type(self), *self.args)
        twin.__dict__.update(self.__dict__)
        twin.__notes__ = list(self.__notes__)
        return twin


def several(hint: Hint | Sequence[Hint]) -> tuple[Hint, ...]:
    """One hint, none (an empty text) or several, as a tuple."""
    # A text is a sequence of texts, too.
    steps = tuple(hint) if isinstance(hint, (list, tuple)) else (hint,) if hint else ()
    assert not any(isinstance(step, str) and "\n" in step for step in steps), "a step is one line"
    return steps


class ConfigurationError(SecretsError):
    """A setting (environment variable or line of ``.env.production``) is missing or wrong."""


class CatalogError(SecretsError):
    """``config/catalog.toml`` is missing or wrong."""


class SecretNotFoundError(SecretsError):
    """A required secret is not in the store.

    Args:
        names: Which ones, as far as the error is about a secret rather than about an earlier value of it.
    """

    def __init__(self, message: str, *, hint: Hint | Sequence[Hint] = (), names: Sequence[str] = ()) -> None:
        super().__init__(message, hint=hint)
        self.names = tuple(names)


class InvalidSecretError(SecretsError):
    """A secret's value cannot be used for what was asked of it."""


class MasterKeyError(SecretsError):
    """The master key is missing, malformed or not kept safely."""


class MasterKeyGoneError(MasterKeyError):
    """The master key is not where it should be, or what is there is no key."""


class MasterKeyOwnerError(MasterKeyError):
    """The master key's file belongs to another user."""


class UntrustedPlaceError(ConfigurationError):
    """A key, token or passphrase is where another user could have put it."""


class OpenFolderError(UntrustedPlaceError):
    """A folder on the way to a key, token or passphrase can be written by others."""


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


class StoreUnavailableError(StoreError):
    """The store does not answer now: unreachable, sealed, throttled. It may later."""


class StoreDeniedError(StoreError):
    """The store refuses: no credentials, wrong ones, or ones that may not do this."""


class StoreEmptyError(StoreError):
    """The store answers, but holds nothing of this deployment yet."""


class StoreDeletedError(StoreError):
    """What the store held was deleted, and can still be brought back.

    Args:
        names: The secrets that were deleted; empty when the whole collection was.
    """

    def __init__(self, message: str, *, hint: Hint | Sequence[Hint] = (), names: Sequence[str] = ()) -> None:
        super().__init__(message, hint=hint)
        self.names = tuple(names)


class PartlyWrittenError(StoreError):
    """Of several secrets that were to be written one by one, some are stored and others are not."""
