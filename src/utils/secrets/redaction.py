"""Keeps secrets out of logs.

After :func:`install`, a log record that would show a value of a loaded secret, or its URL-encoded, base64 or
JSON-escaped form, shows ``[redacted]`` in its place: in the message, in its arguments and in the text of an exception.
Values under 8 characters are not searched for: they would be found by chance inside ordinary words.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging
    import re
    from collections.abc import Callable, Iterable

    from .snapshot import Snapshot

SHORTEST_VALUE = 8
REPLACEMENT = "[redacted]"

_snapshots: list[Snapshot] = []
_extra_values: set[str] = set()
_pattern: re.Pattern[str] | None = None
_stale = False
_KEPT_SNAPSHOTS = 8  # a value that was just replaced may still come up in an error


def protect(snapshot: Snapshot) -> None:
    """Keep the values of ``snapshot`` out of the log. Costs nothing until something is logged."""
    global _stale
    _snapshots.append(snapshot)
    del _snapshots[:-_KEPT_SNAPSHOTS]
    _stale = True


def protect_values(values: Iterable[str]) -> None:
    """Keep single values out of the log, such as those of the environment, which nothing loads at once."""
    global _stale
    _extra_values.update(values)
    _stale = True


def install() -> None:
    """Redact every log record made from now on, whatever logger and handler it goes through. Safe to call twice."""
    import logging

    factory = logging.getLogRecordFactory()
    if not getattr(factory, "redacts_secrets", False):
        logging.setLogRecordFactory(_redacting(factory))


def redact(text: str) -> str:
    """``text`` with every protected value replaced."""
    pattern = _current_pattern()
    return pattern.sub(REPLACEMENT, text) if pattern else text


def _redacting(factory: Callable[..., logging.LogRecord]) -> Callable[..., logging.LogRecord]:
    import logging

    exceptions = logging.Formatter()

    def make_record(*args: object, **keywords: object) -> logging.LogRecord:
        record = factory(*args, **keywords)
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):
            return record  # a wrong format string: logging itself reports it
        redacted = redact(message)
        if redacted != message:
            record.msg, record.args = redacted, None
        # A formatter takes exc_text as it is and formats the exception only when there is none.
        if record.exc_info and record.exc_info[0] is not None:
            record.exc_text = redact(exceptions.formatException(record.exc_info))
        return record

    make_record.redacts_secrets = True  # type: ignore[attr-defined]
    return make_record


def _current_pattern() -> re.Pattern[str] | None:
    global _pattern, _stale
    if _stale:
        import re

        values = {value for snapshot in _snapshots for value in _all_values(snapshot)} | _extra_values
        forms = {form for value in values if len(value) >= SHORTEST_VALUE for form in _forms(value)}
        longest_first = sorted(forms, key=len, reverse=True)
        _pattern = re.compile("|".join(map(re.escape, longest_first))) if forms else None
        _stale = False
    return _pattern


def _earlier_values(snapshot: Snapshot, name: str) -> list[str]:
    """None where what the store keeps of them is damaged: a log must not fail for that."""
    from .errors import SecretsError

    try:
        return [entry.value for entry in snapshot.metadata[name].previous]
    except SecretsError:
        return []


def _all_values(snapshot: Snapshot) -> list[str]:
    earlier = [value for name in snapshot.metadata for value in _earlier_values(snapshot, name)]
    return [*snapshot.values.values(), *earlier]


def _forms(value: str) -> set[str]:
    from base64 import b64encode, urlsafe_b64encode
    from json import dumps
    from urllib.parse import quote, quote_plus

    data = value.encode(errors="surrogatepass")
    base64_forms = {encode(data).decode().rstrip("=") for encode in (b64encode, urlsafe_b64encode)}
    escaped = {dumps(value)[1:-1], dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1]}
    return {value, quote(value), quote(value, safe=""), quote_plus(value)} | base64_forms | escaped
