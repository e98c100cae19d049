"""Events from cameras: signed, fresh, and taken once."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from typing import TYPE_CHECKING

from .tokens import accepted_values

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from src.utils.secrets import SecretsManager

    from .cache import Cache

SIGNATURE_HEADER = "X-Webhook-Signature"
TIMESTAMP_HEADER = "X-Webhook-Timestamp"
WINDOW_SECONDS = 300
_PREFIX = "sha256="
_TIMESTAMP = re.compile(r"[0-9]{1,12}")
_TIMED_BODY = re.compile(rb"[0-9]{1,12}\.")
# An event is fresh from WINDOW_SECONDS before its timestamp until as long after it.
_REMEMBERED_SECONDS = 2 * WINDOW_SECONDS + 1
_MOST_REMEMBERED = 100_000


class RefusedError(Exception):
    """This is no event of ours. The text says why, and repeats nothing of it.

    Attributes:
        status: HTTP's code for it.
    """

    def __init__(self, text: str, status: int = 401) -> None:
        super().__init__(text)
        self.status = status


class Webhooks:
    """Decides which events are accepted.

    The signature is HMAC-SHA-256 (RFC 2104) with ``WEBHOOK_SECRET`` over the timestamp, a dot and the body, so nobody
    who has recorded an event can send it later.

    Args:
        manager: The secrets.
        cache: Remembers events for all processes; without it, this process does.
        accepts_untimed: Also accept the body's signature alone. Anyone who has recorded such an event can repeat it.
    """

    def __init__(self, manager: SecretsManager, cache: Cache, *, accepts_untimed: bool) -> None:
        self._manager = manager
        self._cache = cache
        self._accepts_untimed = accepts_untimed
        self._seen: dict[str, float] = {}

    async def accept(self, headers: Mapping[str, str], read_body: Callable[[], Awaitable[bytes]]) -> None:
        """Take an event, once.

        Args:
            headers: The request's headers.
            read_body: Reads what is signed. Only called if the headers may be right.

        Raises:
            RefusedError: It is not signed by us, not fresh, or was accepted before.
        """
        self._require_headers(headers)
        body = await read_body()
        timestamp = headers.get(TIMESTAMP_HEADER)
        signed = body if timestamp is None else timestamp.encode() + b"." + body
        if timestamp is None and _TIMED_BODY.match(body):
            # It would be an event with a timestamp, recorded and sent again in the earlier form.
            raise RefusedError(f"{TIMESTAMP_HEADER} is missing (see docs/webhooks.md)")
        if not self._is_signed(signed, headers[SIGNATURE_HEADER]):
            raise RefusedError(f"{SIGNATURE_HEADER} is missing or wrong")
        if timestamp is not None and not await self._is_first(hashlib.sha256(signed).hexdigest()):
            raise RefusedError("This event was accepted before", status=409)

    def _require_headers(self, headers: Mapping[str, str]) -> None:
        """Look at what can be looked at before the body is read."""
        if not headers.get(SIGNATURE_HEADER, "").startswith(_PREFIX):
            raise RefusedError(f"{SIGNATURE_HEADER} is missing or wrong")
        timestamp = headers.get(TIMESTAMP_HEADER)
        if timestamp is None:
            if self._accepts_untimed:
                return
            raise RefusedError(f"{TIMESTAMP_HEADER} is missing (see docs/webhooks.md)")
        if not _TIMESTAMP.fullmatch(timestamp):
            raise RefusedError(f"{TIMESTAMP_HEADER} is not a number of seconds since 1970")
        if abs(time.time() - int(timestamp)) > WINDOW_SECONDS:
            raise RefusedError(
                f"{TIMESTAMP_HEADER} is more than {WINDOW_SECONDS // 60} minutes from this server's clock"
            )

    def _is_signed(self, signed: bytes, header: str) -> bool:
        given = header.removeprefix(_PREFIX).strip().lower().encode(errors="replace")
        return any(
            hmac.compare_digest(hmac.new(key.encode(), signed, hashlib.sha256).hexdigest().encode(), given)
            for key in accepted_values(self._manager, "WEBHOOK_SECRET")
        )

    async def _is_first(self, event: str) -> bool:
        """Both remember: Redis may have been away when it was accepted, or may lose what it has."""
        if not self._is_first_here(event):
            return False
        mark = secrets.token_hex(8)
        # If the connection breaks, the client sends it again: the mark that is found then is its own.
        found = await self._cache.ask(
            lambda client: client.set(f"webhook:{event}", mark, nx=True, ex=_REMEMBERED_SECONDS, get=True)
        )
        return found is None or found == mark.encode()

    def _is_first_here(self, event: str) -> bool:
        now = time.monotonic()
        if self._seen.get(event, 0.0) > now:
            return False
        if len(self._seen) >= _MOST_REMEMBERED:
            self._seen = {seen: until for seen, until in self._seen.items() if until > now}
        self._seen[event] = now + _REMEMBERED_SECONDS
        return True
