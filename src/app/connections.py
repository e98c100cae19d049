"""How many connections there are, whose, and how long each may take.

uvicorn's ``limit_concurrency`` answers 503 to everybody once strangers hold enough connections, the health check
included. Here the newest connection gets a place instead, at the expense of one that uses its place badly.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import os
import re
import socket
import time
from collections import Counter
from functools import partial
from typing import Any, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from .bodies import announced_length
from .hardening import FEWEST_FILES
from .peers import network_of

MOST_CONNECTIONS = 512
SECONDS_FOR_HEAD = 10.0
# A slow body, the delay of a login, and the queue for Argon2 together.
SECONDS_FOR_REQUEST = 30.0
SECONDS_BETWEEN_SWEEPS = 1.0
# asyncio accepts as many as the backlog in one turn of its loop, and an aborted connection is closed two turns later.
ACCEPTED_AT_ONCE = 16
TURNS_UNTIL_CLOSED = 4
# A sender with more than one of these parts of the places loses one first. A browser has about six connections.
PARTS = 16
SECONDS_TO_SEND = 0.25
SERVED_ENOUGH = 3
WAITING_TO_BE_ACCEPTED = 2048
# What the kernel keeps for a connection counts as memory of the container.
SOCKET_BUFFER = 64 * 1024
LARGEST_HEAD = 16 * 1024
MOST_LINES = 100
# h11 takes line ends without a carriage return, too.
_END_OF_HEAD = re.compile(rb"\n\r?\n")
_CHUNKED = re.compile(rb"\n[ \t]*transfer-encoding", re.IGNORECASE)


class Room:
    """The connections that are open.

    Args:
        places: How many there may be.
    """

    def __init__(self, places: int = MOST_CONNECTIONS) -> None:
        self._places = places
        self._part = max(1, places // PARTS)
        self._connections: set[GuardedProtocol] = set()
        self._of_network: Counter[str] = Counter()
        self._sweep: asyncio.TimerHandle | None = None

    @classmethod
    def for_files(cls, limit: int) -> Room:
        """A room that leaves enough of ``limit`` open files for everything else."""
        spare = FEWEST_FILES + ACCEPTED_AT_ONCE * TURNS_UNTIL_CLOSED
        return cls(max(FEWEST_FILES // 2, min(MOST_CONNECTIONS, limit - spare)))

    def enter(self, connection: GuardedProtocol) -> None:
        """Give ``connection`` a place, if need be that of another one."""
        self._connections.add(connection)
        self._of_network[connection.network] += 1
        if len(self._connections) > self._places:
            worst = self._worst(connection)
            self.leave(worst)
            worst.transport.abort()
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(SECONDS_BETWEEN_SWEEPS, self._end_late_ones)

    def leave(self, connection: GuardedProtocol) -> None:
        """``connection`` is closed. It may be said twice."""
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        self._of_network[connection.network] -= 1
        if not self._of_network[connection.network]:
            del self._of_network[connection.network]

    def _worst(self, newest: GuardedProtocol) -> GuardedProtocol:
        """Of the sender who has most, if that is more than its part; else of anybody, but not the newest one."""
        most = max(self._of_network.values())
        fewest = most if most > self._part else 0
        others = (
            connection
            for connection in self._connections
            if connection is not newest and self._of_network[connection.network] >= fewest
        )
        return max(others, key=_badness, default=newest)

    def _end_late_ones(self) -> None:
        now = time.monotonic()
        for connection in [each for each in self._connections if each.deadline < now]:
            connection.transport.abort()
        self._sweep = None
        if self._connections:
            self._sweep = asyncio.get_running_loop().call_later(SECONDS_BETWEEN_SWEEPS, self._end_late_ones)


def _badness(connection: GuardedProtocol) -> tuple[int, int, float]:
    """First those that keep the server waiting, the longest first; then those that were served most.

    Then those that have just come, and last those that were promised an answer.
    """
    age = time.monotonic() - connection.since
    if connection.is_awaited:
        return (3 if age > SECONDS_TO_SEND else 1, 0, age)
    return (2, connection.served, age) if connection.served >= SERVED_ENOUGH else (0, 0, age)


class GuardedProtocol(H11Protocol):
    """uvicorn's protocol with deadlines, with a place in a room, and with one request at a time.

    h11 parses all that it is given before anything else runs, and headers and chunks cost it more than other bytes.
    So it gets a head only when that is complete and small, then as many bytes as the head has announced, and no chunks.
    More than that before the answer is not read: the connection ends with the answer, as HTTP allows at any time.

    Attributes:
        network: Of whom it is.
        since: When its present wait or request began, on the monotonic clock.
        deadline: When it is ended, on the monotonic clock.
        is_serving: Whether a request is being worked on.
        served: How many requests it has brought.
    """

    def __init__(self, room: Room, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._room = room
        self._head = bytearray()
        self._announced = 0
        self.network = ""
        self.since = self.deadline = 0.0
        self.is_serving = False
        self.served = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a place."""
        super().connection_made(transport)
        self.network = network_of(self.client[0] if self.client else "")
        self._wait_for_head()
        _limit_buffers(transport)
        self._room.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave the place."""
        self._room.leave(self)
        super().connection_lost(exc)

    @property
    def is_awaited(self) -> bool:
        """Whether the server waits for a head or a body."""
        return not self.is_serving or self._announced > 0

    def data_received(self, data: bytes) -> None:
        """A part of a head or of a body."""
        while data and not self.transport.is_closing():
            if self._announced:
                data = self._receive_body(data)
            elif self.is_serving:
                self._end_with_answer()
                return
            else:
                data = self._complete_head(data)

    def on_response_complete(self) -> None:
        """Begin the wait for the next request."""
        self._wait_for_head()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer if an answer is still possible, and let the application send no other."""
        if self._has_request():
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        try:
            super().send_400_response(msg)
        except h11.LocalProtocolError:
            self.transport.abort()

    def shutdown(self) -> None:
        """End an idle connection; let a busy one finish."""
        try:
            super().shutdown()
        except h11.LocalProtocolError:
            self.transport.abort()

    def _complete_head(self, data: bytes) -> bytes:
        """Hand on the head if it is there, and return what follows it."""
        self._head += data
        end = _END_OF_HEAD.search(self._head, max(0, len(self._head) - len(data) - len("\r\n\r")))
        head, rest = self._head[: end.end() if end else None], self._head[end.end() :] if end else b""
        if len(head) > LARGEST_HEAD or head.count(b"\n") > MOST_LINES:
            self._refuse(431)
        elif end is None:
            return b""
        elif _CHUNKED.search(head):
            self._refuse(411)
        else:
            self._head = bytearray()
            super().data_received(bytes(head))
            self._begin_request()
            return bytes(rest)
        return b""

    def _begin_request(self) -> None:
        if not self._has_request() or self.is_serving:
            return
        self.is_serving = True
        self.served += 1
        self.since = time.monotonic()
        self.deadline = self.since + SECONDS_FOR_REQUEST
        self._announced = announced_length(self.headers)

    def _receive_body(self, data: bytes) -> bytes:
        """Hand on what belongs to the body, and return what follows it: the next head, if the answer came early."""
        body, rest = data[: self._announced], data[self._announced :]
        self._announced -= len(body)
        super().data_received(body)
        return rest

    def _end_with_answer(self) -> None:
        self.cycle.keep_alive = False
        self.flow.pause_reading()

    def _refuse(self, status: int) -> None:
        reason = http.HTTPStatus(status).phrase
        head = f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        self.transport.write(head.encode())
        self.transport.close()

    def _has_request(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait_for_head(self) -> None:
        self.is_serving = False
        self.since = time.monotonic()
        self.deadline = self.since + SECONDS_FOR_HEAD


def protocol_in(room: Room) -> type[asyncio.Protocol]:
    """What uvicorn calls for each connection."""
    return cast("type[asyncio.Protocol]", partial(GuardedProtocol, room))


def options() -> dict[str, Any]:
    """What else uvicorn has to know."""
    return {
        "backlog": ACCEPTED_AT_ONCE,
        "h11_max_incomplete_event_size": LARGEST_HEAD,
        "timeout_keep_alive": 5,
        "ws": "none",
    }


class Server(uvicorn.Server):
    """uvicorn's server, which accepts few connections at once while many may wait in the kernel."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        for server in self.servers:
            for opened in server.sockets:
                with socket.socket(fileno=os.dup(opened.fileno())) as listening:
                    listening.listen(WAITING_TO_BE_ACCEPTED)


def _limit_buffers(transport: asyncio.Transport) -> None:
    opened = transport.get_extra_info("socket")
    with contextlib.suppress(OSError, AttributeError):
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            opened.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER)
