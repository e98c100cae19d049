"""What the stores' servers and SDKs report, and what this program says about it.

Each backend has its table, ``FAILURES``; ``docs/errors.md`` is rendered from them. No SDK is imported for that: a
failure is known by its error code, or by the name of its exception's class.
"""

from __future__ import annotations

from .command import manage
from .errors import (
    SecretsError,
    StoreError,
    StoreUnavailableError,
    several,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .command import Command, Hint

LONGEST_REASON = 200
LATER_HINT = "Try again in a minute"


class Failure:
    """One kind of failure.

    Args:
        codes: The error codes, or names of exception classes, that mean it.
        error: The error to raise.
        message: Its text; ``{where}``, ``{action}`` and ``{reason}`` are filled in.
        hints: What to do about it: one step, or several in their order.
    """

    __slots__ = ("codes", "error", "hints", "message")

    def __init__(self, codes: str, error: type[SecretsError], message: str, hints: Hint | Sequence[Hint]) -> None:
        self.codes = codes.split()
        self.error = error
        self.message = message
        self.hints = several(hints)


def see_policy(store: str) -> Command:
    """The hint that shows what has to be allowed in a store."""
    return manage("policy", store, purpose="See what is needed")


def store_error(
    table: Iterable[Failure],
    codes: Iterable[str],
    *,
    where: str,
    action: str = "access",
    reason: str = "",
) -> SecretsError:
    """The error for a failure.

    Args:
        table: ``FAILURES`` of the store's backend.
        codes: What is known about the failure, the most telling first.
        where: What was accessed.
        action: What was tried.
        reason: What the server or the system said, if that holds no value.
    """
    codes = list(codes)
    by_code = {code: failure for failure in table for code in failure.codes}
    for code in codes:
        failure = by_code.get(code)
        if failure is not None:
            return failure.error(_fill(failure.message, where, action, reason), hint=failure.hints)
    return StoreError(f"{where}: {action} failed with {codes[0]}", hint="Please report this as a bug if it comes again")


class ResponseGuard:
    """Turns what goes wrong with an answer of another shape than the service's into one clear error.

    The SDKs let through whatever their parsers raise when a proxy, a sign-in page or another program answers.

    Args:
        where: What was asked.
        known: The SDK's own errors, which are let through.
        parsing: Those of its parser.
    """

    __slots__ = ("_known", "_parsing", "_where")

    def __init__(
        self,
        where: str,
        known: tuple[type[BaseException], ...] = (),
        parsing: tuple[type[BaseException], ...] = (),
    ) -> None:
        self._where = where
        self._known = known
        self._parsing = parsing

    def __enter__(self) -> None:
        """Nothing to begin."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Raise in place of what a parser raised.

        Raises:
            StoreUnavailableError: The answer makes no sense.
        """
        if kind is None or issubclass(kind, (SecretsError, *self._known)):
            return
        if issubclass(kind, (AttributeError, LookupError, RecursionError, TypeError, ValueError, *self._parsing)):
            raise StoreUnavailableError(
                f"{self._where} sent an unexpected response ({kind.__name__})",
                hint="Check the address: a proxy, a sign-in page or another program may answer there",
            ) from None


def class_names(error: BaseException) -> list[str]:
    """The name of the error's class, then those of its bases."""
    return [kind.__name__ for kind in type(error).__mro__[:-3]] or [type(error).__name__]


def root_cause(error: BaseException) -> str:
    """What the operating system or TLS said at the bottom of a network error: ``Connection refused``."""
    seen: list[BaseException] = []
    queue: list[object] = [error]
    while queue:
        current = queue.pop(0)
        if not isinstance(current, BaseException) or current in seen:
            continue
        seen.append(current)
        queue += [current.__cause__, current.__context__]
        queue += [getattr(current, name, None) for name in ("reason", "inner_exception", "error")]
        queue += [current.args[-1]] if current.args else []
    for found in reversed(seen):
        text = getattr(found, "verify_message", None) or (found.strerror if isinstance(found, OSError) else None)
        if text:
            return str(text)[:LONGEST_REASON]
    return "no answer in time" if any("imeout" in type(found).__name__ for found in seen) else type(error).__name__


def _fill(message: str, where: str, action: str, reason: str) -> str:
    parts: Mapping[str, str] = {"{where}": where, "{action}": action, "{reason}": " ".join(reason.split())}
    for placeholder, text in parts.items():
        message = message.replace(placeholder, text)
    return message
