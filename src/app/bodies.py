"""How large a body may be, and how long it may take to arrive."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect

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


async def wait(request: Request, seconds: float) -> None:
    """Wait before the answer to a request whose body is read, for as long as somebody is there to get it.

    Args:
        request: What is answered then.
        seconds: How long.

    Raises:
        ClientDisconnect: The client has hung up.
    """
    if seconds <= 0:
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while (await request.receive())["type"] != "http.disconnect":
                pass
            raise ClientDisconnect


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
        length = announced_length(scope["headers"]) if scope["type"] == "http" else 0
        if not 0 < length <= LARGEST_DRAINED:
            await self._app(scope, receive, _closing(send) if length else send)
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


def _closing(send: Send) -> Send:
    """Says in the head of the answer that the connection ends: nobody reads the rest of the body."""

    async def send_and_close(message: Message) -> None:
        if message["type"] == "http.response.start":
            others = [header for header in message.get("headers", ()) if header[0].lower() != b"connection"]
            message["headers"] = [*others, (b"connection", b"close")]
        await send(message)

    return send_and_close


def announced_length(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """How many bytes the body will have. The server lets no body begin that is not announced, and no wrong number."""
    return next((int(value) for name, value in headers if name == b"content-length"), 0)
