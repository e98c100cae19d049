"""How large a body may be, and how long it may take to arrive."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECONDS_FOR_BODY = 15.0
LARGEST_DRAINED = 2 * 1024 * 1024


class BodyTooLargeError(Exception):
    """The body has more bytes than this resource takes.

    Args:
        limit: How many it takes.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(f"The body is larger than {limit // 1024} KiB")


class BodyTooSlowError(Exception):
    """The body did not arrive in time."""


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body.

    Args:
        request: Whose.
        limit: How many bytes it may have.

    Raises:
        BodyTooLargeError: It has more, or says so.
        BodyTooSlowError: It is not there after ``SECONDS_FOR_BODY``.
    """
    if announced_length(request.scope["headers"]) > limit:
        raise BodyTooLargeError(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(SECONDS_FOR_BODY):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise BodyTooLargeError(limit)
    except TimeoutError:
        raise BodyTooSlowError from None
    return bytes(body)


class DrainBodies:
    """Reads what is left of a body before the answer begins, and forgets it.

    A proxy that is still sending when the connection ends takes that for a failure, and never sees the answer.

    Args:
        app: What answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification: https://asgi.readthedocs.io/en/latest/specs/www.html."""
        if scope["type"] != "http" or not 0 < announced_length(scope["headers"]) <= LARGEST_DRAINED:
            await self._app(scope, receive, send)
            return
        deadline = asyncio.get_running_loop().time() + SECONDS_FOR_BODY
        is_open = True

        async def receive_and_note() -> Message:
            nonlocal is_open
            message = await receive()
            is_open = bool(message.get("more_body"))
            return message

        async def drain_and_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(deadline):
                        while is_open:
                            await receive_and_note()
            await send(message)

        await self._app(scope, receive_and_note, drain_and_send)


def announced_length(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """How many bytes the body will have. The server lets no body begin that is not announced, and no wrong number."""
    return next((int(value) for name, value in headers if name == b"content-length"), 0)
