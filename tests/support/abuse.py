"""What strangers can do to the application: many connections over raw sockets, each from an address of its own.

Only the standard library, and one event loop: hundreds of connections take little of the machine that the application
runs on. The attack runs in a process of its own with the lowest priority. To try it by hand:

    .venv/bin/python -m tests.support.abuse SECONDS [KIND...]
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import json
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

CONNECTIONS = 500
CROWD = 900
"""More connections than the application keeps open."""
PAUSE_SECONDS = 0.1
"""Between two requests of a connection. 500 connections still ask for more than one process can answer."""
DRIP_SECONDS = 1.0
ONE_ADDRESS = "127.30.0.1"
ADMINISTRATOR = "admin"
MEBIBYTE = 1024 * 1024
_PIPELINED = 50
_SMALL_BUFFER = 2048
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER without a wait: closing sends RST
_CONNECT_SECONDS = 5.0
_PROJECT = Path(__file__).parents[2]


@dataclasses.dataclass
class Tally:
    """What came of an attack.

    Attributes:
        opened: How many connections the application accepted.
        refused: How many it did not accept.
        closed: How many it ended before the attacker did.
        sent: How many requests, or parts of unfinished ones, were sent.
        statuses: How many answers there were of each status.
    """

    opened: int = 0
    refused: int = 0
    closed: int = 0
    sent: int = 0
    statuses: Counter[int] = dataclasses.field(default_factory=Counter)

    @property
    def answers(self) -> int:
        """How many answers there were."""
        return self.statuses.total()


class Connection:
    """One connection of an attacker.

    Args:
        reader: What the application sends.
        writer: What it gets.
        number: Which of the attacker's places this is.
        tally: Where to count.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int, tally: Tally) -> None:
        self._reader = reader
        self._writer = writer
        self.number = number
        self._tally = tally

    async def send(self, data: bytes) -> None:
        """Send ``data``, and count it."""
        self._writer.write(data)
        await self._writer.drain()
        self._tally.sent += 1

    async def answer(self) -> int:
        """Read one answer; returns its status."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                await self._reader.readexactly(int(line[15:]))
        self._tally.statuses[status] += 1
        return status

    async def ask(self, data: bytes) -> int:
        """Send a request and read its answer."""
        await self.send(data)
        return await self.answer()

    async def wait_for_end(self) -> None:
        """Read until the application closes the connection."""
        while await self._reader.read(65536):
            pass
        raise ConnectionResetError

    async def drip(self, data: bytes) -> None:
        """Send one byte now and then, until the application closes the connection."""
        for byte in itertools.cycle(data):
            await self.send(bytes([byte]))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DRIP_SECONDS):
                    await self.wait_for_end()

    def end_at_once(self) -> None:
        """Close with a reset, without reading what is on its way."""
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._writer.transport.abort()

    def end_sending(self) -> None:
        """Close this half."""
        self._writer.write_eof()


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of abuse.

    Attributes:
        attack: The life of one connection; a new one follows it.
        from_one_address: Whether all connections come from one address.
        receive_buffer: Bytes of the kernel's buffer for answers; ``None`` is the system's default.
        least_answers: Fewer answers than this, and it was no attack.
        least_sent: Fewer requests or parts of them than this, and it was no attack.
        guesses_for_one: Whether all guesses are for one name from one address.
        connections: From how many connections at once.
    """

    attack: Callable[[Connection], Awaitable[None]]
    from_one_address: bool = False
    receive_buffer: int | None = None
    least_answers: int = 0
    least_sent: int = 0
    guesses_for_one: bool = False
    connections: int = CONNECTIONS


def request(method: str, path: str, body: bytes = b"", *headers: str) -> bytes:
    """A request as bytes."""
    lines = [f"{method} {path} HTTP/1.1", "Host: app", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def login(username: str, password: str) -> bytes:
    """A request to log in."""
    return request("POST", "/login", json.dumps({"username": username, "password": password}).encode())


def webhook(body: bytes) -> bytes:
    """A webhook that is wrong only in the value of its signature."""
    signature, timestamp = "sha256=" + "0" * 64, str(int(time.time()))
    return request("POST", "/webhook", body, f"X-Webhook-Signature: {signature}", f"X-Webhook-Timestamp: {timestamp}")


def _chunked_webhook() -> bytes:
    head, _, _ = webhook(b"").partition(b"\r\n\r\n")
    return head + b"\r\nTransfer-Encoding: chunked\r\n\r\n"


_names = itertools.count()
_body = b"x" * MEBIBYTE
_PATHS = ("/", "/unknown", "/%00%ff", "//", "/" + "a" * 4000, "/health/..;/", "/login?x=" + "y" * 2000)
_MALFORMED = (b"zz\r\nabc\r\n", b"-1\r\n\r\n", b"ffffffffffffffffffff\r\n", b"3\r\nabcde\r\n", b"5;" + b"x" * 20000)
_HUGE = request("GET", "/health", b"", *(f"X-{number}: {'h' * 900}" for number in range(64)))
_MANY_HEADERS = request("GET", "/health", b"", *(f"X-{number}: h" for number in range(3000)))
_TINY_HEADERS = b"GET /health HTTP/1.1\r\nHost: app\r\n" + b"a:\r\n" * 3900 + b"\r\n"
_TINY_CHUNKS = b"1\r\nx\r\n" * 50_000 + b"0\r\n\r\n"
_NESTED = b'{"username":' + b"[" * 30_000
_WIDE = b'{"username":[' + b"{}," * 40_000 + b"0]}"
_UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
)


def _asking(*requests: Callable[[], bytes]) -> Callable[[Connection], Awaitable[None]]:
    """Ask one after the other, each after the answer to the one before."""

    async def attack(connection: Connection) -> None:
        for make in itertools.cycle(requests):
            await connection.ask(make())
            await asyncio.sleep(PAUSE_SECONDS)

    return attack


def _always(data: bytes) -> Callable[[], bytes]:
    return lambda: data


def _as_nobody() -> bytes:
    return login(f"nobody-{next(_names)}", "wrong")


def _as_administrator() -> bytes:
    return login(ADMINISTRATOR, "wrong")


async def _unfinished_head(connection: Connection) -> None:
    await connection.send(b"GET /health HTTP/1.1\r\nHost: app\r\nX-Slow: ")
    await connection.drip(b"x")


async def _unfinished_body(connection: Connection) -> None:
    await connection.send(webhook(_body)[:400])
    await connection.drip(b"x")


async def _large_unfinished_login(connection: Connection) -> None:
    await connection.send(b"POST /login HTTP/1.1\r\nHost: app\r\nContent-Length: 130000\r\n\r\n" + b" " * 125_000)
    await connection.drip(b" ")


async def _unfinished_login(connection: Connection) -> None:
    await connection.send(b"POST /login HTTP/1.1\r\nHost: app\r\nContent-Length: 900\r\n\r\n{")
    await connection.drip(b" ")


async def _expecting(connection: Connection) -> None:
    await connection.ask(request("POST", "/webhook", b"", "Content-Length: 1000", "Expect: 100-continue"))
    await connection.wait_for_end()


async def _unread(connection: Connection) -> None:
    while True:
        await connection.send(request("GET", _PATHS[0]) * _PIPELINED)


async def _pipelined(connection: Connection) -> None:
    while True:
        await connection.send(request("GET", "/ready") * _PIPELINED)
        for _ in range(_PIPELINED):
            await connection.answer()


async def _pipelined_logins(connection: Connection) -> None:
    await connection.send(b"".join(_as_nobody() for _ in range(_PIPELINED)))
    for _ in range(_PIPELINED):
        await connection.answer()


async def _opened_and_closed(connection: Connection) -> None:
    connection.end_at_once()
    await asyncio.sleep(PAUSE_SECONDS)


async def _idle(connection: Connection) -> None:
    await connection.wait_for_end()


async def _idle_after_an_answer(connection: Connection) -> None:
    await connection.ask(request("GET", "/health"))
    await connection.wait_for_end()


async def _malformed_chunks(connection: Connection) -> None:
    await connection.ask(_chunked_webhook() + _MALFORMED[connection.number % len(_MALFORMED)])


def _abandoning(make: Callable[[], bytes]) -> Callable[[Connection], Awaitable[None]]:
    async def attack(connection: Connection) -> None:
        await connection.send(make())
        await asyncio.sleep(PAUSE_SECONDS)
        connection.end_at_once()

    return attack


async def _half_closed(connection: Connection) -> None:
    await connection.send(request("GET", "/ready"))
    connection.end_sending()
    await connection.answer()
    await connection.wait_for_end()


async def _garbage(connection: Connection) -> None:
    await connection.send(b"\x16\x03\x01\x02\x00\x01\x00" * 40 + b"\r\n\r\n")
    await connection.answer()


_SINGLE: dict[str, Kind] = {
    "logins as nobody": Kind(_asking(_as_nobody), least_answers=100),
    "logins for one name from one address": Kind(
        _asking(_as_administrator), from_one_address=True, least_answers=100, guesses_for_one=True
    ),
    "logins for one name from everywhere": Kind(_asking(_as_administrator), least_sent=400),
    "pipelined logins": Kind(_pipelined_logins, least_sent=100),
    "abandoned logins": Kind(_abandoning(_as_nobody), least_sent=100),
    "abandoned logins for one name": Kind(_abandoning(_as_administrator), least_sent=100),
    "wide login bodies": Kind(_asking(_always(request("POST", "/login", _WIDE))), least_answers=100),
    "nested login bodies": Kind(_asking(_always(request("POST", "/login", _NESTED))), least_answers=100),
    "tokens": Kind(
        _asking(_always(request("GET", "/me", b"", f"Authorization: Bearer {'e.' * 3000}"))), least_answers=100
    ),
    "ready": Kind(_asking(_always(request("GET", "/ready"))), least_answers=100),
    "paths": Kind(_asking(*(_always(request("GET", path)) for path in _PATHS)), least_answers=100),
    "large webhooks": Kind(_asking(lambda: webhook(_body)), least_sent=20),
    "small webhooks": Kind(_asking(lambda: webhook(_body[:60_000])), least_sent=50),
    "unfinished heads": Kind(_unfinished_head, least_sent=1000),
    "unfinished bodies": Kind(_unfinished_body, least_sent=500),
    "unfinished logins": Kind(_unfinished_login, least_sent=500),
    "large unfinished logins": Kind(_large_unfinished_login, least_sent=500),
    # More than the 500 senders that the application has to withstand: beyond its places it has to choose.
    "a crowd with unfinished bodies": Kind(_unfinished_body, least_sent=500, connections=CROWD),
    "an idle crowd": Kind(_idle, connections=CROWD),
    "expected bodies": Kind(_expecting, least_sent=100),
    "huge heads": Kind(_asking(_always(_HUGE)), least_sent=100),
    "many headers": Kind(_asking(_always(_MANY_HEADERS)), least_sent=100),
    "tiny headers": Kind(_asking(_always(_TINY_HEADERS)), least_sent=100),
    "tiny chunks": Kind(_asking(lambda: _chunked_webhook() + _TINY_CHUNKS), least_sent=20),
    "malformed chunks": Kind(_malformed_chunks, least_sent=100),
    "unread answers": Kind(_unread, receive_buffer=_SMALL_BUFFER, least_sent=100),
    "pipelining from one address": Kind(_pipelined, from_one_address=True, least_answers=100),
    "pipelining": Kind(_pipelined, least_answers=100),
    "opened and closed": Kind(_opened_and_closed),
    "half closed": Kind(_half_closed, least_answers=100),
    "idle": Kind(_idle),
    "idle after an answer": Kind(_idle_after_an_answer, least_answers=100),
    "upgrades": Kind(_asking(_always(request("GET", "/health", b"", *_UPGRADE))), least_answers=100),
    "not HTTP": Kind(_garbage, least_sent=100),
}


async def _all_together(connection: Connection) -> None:
    kinds = list(_SINGLE.values())
    await kinds[connection.number % len(kinds)].attack(connection)


KINDS: dict[str, Kind] = _SINGLE | {"all together": Kind(_all_together, least_answers=100, least_sent=500)}


async def attack(port: int, kind: Kind, seconds: float, connections: int) -> Tally:
    """Attack what listens on ``port`` of this machine.

    Args:
        port: Whom.
        kind: How.
        seconds: How long.
        connections: From how many connections at once.
    """
    tally = Tally()
    end = asyncio.get_running_loop().time() + seconds
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(end), asyncio.TaskGroup() as group:
            for number in range(connections):
                group.create_task(_keep_attacking(port, kind, number, tally))
    return tally


async def _keep_attacking(port: int, kind: Kind, number: int, tally: Tally) -> None:
    while True:
        try:
            async with _connection(port, kind, number, tally) as connection:
                await kind.attack(connection)
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError):
            tally.closed += 1
        await asyncio.sleep(PAUSE_SECONDS)


@asynccontextmanager
async def _connection(port: int, kind: Kind, number: int, tally: Tally) -> AsyncIterator[Connection]:
    opened = socket.socket()
    opened.setblocking(False)
    try:
        if kind.receive_buffer:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, kind.receive_buffer)
        opened.bind((ONE_ADDRESS if kind.from_one_address else address_of(number), 0))
        async with asyncio.timeout(_CONNECT_SECONDS):
            await asyncio.get_running_loop().sock_connect(opened, ("127.0.0.1", port))
    except OSError:  # also the built-in TimeoutError, by which a full queue shows
        tally.refused += 1
        tally.closed -= 1
        opened.close()
        raise
    reader, writer = await asyncio.open_connection(sock=opened, limit=_SMALL_BUFFER if kind.receive_buffer else 65536)
    tally.opened += 1
    try:
        yield Connection(reader, writer, number, tally)
    finally:
        writer.transport.abort()


def address_of(number: int) -> str:
    """The source address of an attacker's place."""
    return f"127.20.{number // 250}.{number % 250 + 1}"


class Attack:
    """An attack in a process of its own, while the block of :func:`running_attack` runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    @property
    def is_over(self) -> bool:
        """Whether its time is up."""
        return self._process.poll() is not None

    def tally(self) -> Tally:
        """Wait for the end; returns what came of it."""
        output, _ = self._process.communicate(timeout=120)
        assert self._process.returncode == 0, "the attack failed"
        counts = json.loads(output)
        counts["statuses"] = Counter({int(status): count for status, count in counts["statuses"].items()})
        return Tally(**counts)


@contextmanager
def running_attack(port: int, kind: str, seconds: float, connections: int | None = None) -> Iterator[Attack]:
    """Attack from a process that gives way to every other.

    Args:
        port: Whom.
        kind: One of ``KINDS``.
        seconds: How long.
        connections: From how many connections at once; ``None`` means the kind's own number.
    """
    command = ["nice", "-n", "19", sys.executable, "-m", "tests.support.abuse", "attack"]
    with subprocess.Popen(
        [*command, str(port), kind, str(seconds), str(connections or KINDS[kind].connections)],
        cwd=_PROJECT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Attack(process)
        finally:
            process.kill()


def main(arguments: list[str]) -> None:
    """Attack, or start an application and attack that."""
    if arguments[:1] == ["attack"]:
        _, port, kind, seconds, connections = arguments
        tally = asyncio.run(attack(int(port), KINDS[kind], float(seconds), int(connections)))
        print(json.dumps(vars(tally)))  # noqa: T201
        return
    from tests.support.abuse_report import report

    report(float(arguments[0]) if arguments else 6.0, arguments[1:] or list(KINDS))


if __name__ == "__main__":
    main(sys.argv[1:])
