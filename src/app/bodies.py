"""What a request may hold, and how long it may take to arrive."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

LARGEST_HEAD = 16 * 1024
SECONDS_FOR_BODY = 15.0
_BYTES_PER_HEADER = 4  # colon, space, and the line's end


class BodyTooLargeError(Exception):
    """The body has more bytes than this resource takes.

    Attributes:
        limit: How many it takes.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(f"The body is larger than {limit // 1024} KiB")
        self.limit = limit


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
    length = request.headers.get("Content-Length", "")
    if length.isdecimal() and int(length[:20]) > limit:
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


class HeadLimit:
    """Refuses requests whose line and headers are larger than ``LARGEST_HEAD``: the server only limits parts of them.

    Args:
        app: What gets the others.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification: https://asgi.readthedocs.io/en/latest/specs/www.html."""
        if scope["type"] == "http" and _size_of_head(scope) > LARGEST_HEAD:
            text = {"error": f"The head of the request is larger than {LARGEST_HEAD // 1024} KiB"}
            await JSONResponse(text, 431, {"Connection": "close"})(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _size_of_head(scope: Scope) -> int:
    headers = sum(len(name) + len(value) + _BYTES_PER_HEADER for name, value in scope["headers"])
    return headers + len(scope["raw_path"]) + len(scope["query_string"])
