"""How large a body may be, and how long it may take to arrive."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.requests import Request

SECONDS_FOR_BODY = 15.0


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
