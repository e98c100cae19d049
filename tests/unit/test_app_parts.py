"""The small parts that keep the application up."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

from src.app import connections, log_limit, readiness
from src.app.admission import Admission, BusyError
from src.app.bodies import LARGEST_DRAINED, DrainBodies, wait
from src.app.cache import Cache
from src.app.connections import GuardedProtocol, Room
from src.app.limits import MOST_GUESSES, MOST_QUESTIONS, LoginLimiter
from src.app.log_limit import LogLimit
from src.app.passwords import Passwords
from src.app.peers import Peers, network_of
from src.app.readiness import Checks, Readiness, is_ready

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from starlette.types import Message, Receive, Scope, Send

# --- Places ----------------------------------------------------------------------------------------------------------


def test_a_network_gets_its_part_of_the_places_and_gives_them_back() -> None:
    admission = Admission(4, 2)
    with admission.place("a"), admission.place("a"):
        with pytest.raises(BusyError):
            admission.require_place("a")
        with admission.place("b"), admission.place("b"), pytest.raises(BusyError):
            admission.require_place("c")
        admission.require_place("c")
    admission.require_place("a")


def test_a_place_is_given_back_after_an_error() -> None:
    admission = Admission(1, 1)
    with pytest.raises(ValueError, match="x"), admission.place("a"):
        raise ValueError("x")
    admission.require_place("a")


# --- Passwords -------------------------------------------------------------------------------------------------------


def test_two_passwords_are_looked_at_at_once_whatever_the_number_of_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    checker, running, most = Passwords(), 0, 0
    lock = threading.Lock()

    def verify(self: object, password_hash: str, password: str) -> bool:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1
        return True

    monkeypatch.setattr("argon2.PasswordHasher.verify", verify)

    async def look() -> list[bool]:
        return list(await asyncio.gather(*(checker.matches("hash", "x") for _ in range(20))))

    assert asyncio.run(look()) == [True] * 20
    assert most == 2


def test_a_name_that_is_not_there_takes_as_long_as_one_that_is() -> None:
    checker = Passwords()

    async def seconds(password_hash: str | None) -> float:
        began = time.process_time()
        assert not await checker.matches(password_hash, "wrong")
        return time.process_time() - began

    async def compare() -> tuple[float, float]:
        known = await checker.hash("right")
        assert await checker.matches(known, "right")
        return min([await seconds(known) for _ in range(3)]), min([await seconds(None) for _ in range(3)])

    there, not_there = asyncio.run(compare())
    assert not_there > there / 2


def test_a_hash_that_is_damaged_matches_nothing() -> None:
    assert not asyncio.run(Passwords().matches("no hash at all", "x"))


# --- Readiness -------------------------------------------------------------------------------------------------------


class Looks:
    """Counts looks; each takes a moment."""

    def __init__(self) -> None:
        self.count = 0
        self.state = "ok"
        self.seconds = 0.05
        self.error: Exception | None = None

    async def __call__(self) -> Checks:
        self.count += 1
        state = self.state
        await asyncio.sleep(self.seconds)
        if self.error:
            raise self.error
        return {"part": {"state": state}}


def test_all_who_ask_at_once_share_one_look_which_is_kept_for_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask() -> None:
        looks = Looks()
        shared = Readiness(looks)
        results = await asyncio.gather(*(shared.checks() for _ in range(100)))
        assert looks.count == 1
        assert all(result is results[0] for result in results)
        await shared.checks()
        assert looks.count == 1
        now = time.monotonic()
        monkeypatch.setattr(readiness, "monotonic", lambda: now + 1.1)
        await shared.checks()
        assert looks.count == 2

    asyncio.run(ask())


def test_who_hangs_up_does_not_end_the_look_of_the_others() -> None:
    async def ask() -> None:
        looks = Looks()
        shared = Readiness(looks)
        first, second = asyncio.create_task(shared.checks()), asyncio.create_task(shared.checks())
        await asyncio.sleep(0.01)
        first.cancel()
        assert is_ready(await second)
        assert looks.count == 1

    asyncio.run(ask())


def test_a_look_that_began_before_a_change_is_not_kept() -> None:
    async def ask() -> None:
        looks = Looks()
        shared = Readiness(looks)
        looks.state = "old"
        before = asyncio.create_task(shared.checks())
        await asyncio.sleep(0.01)
        looks.state = "ok"
        shared.forget()
        assert is_ready(await shared.checks())
        assert not is_ready(await before)
        assert is_ready(await shared.checks())

    asyncio.run(ask())


def test_while_a_look_takes_long_the_last_result_counts_for_five_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask() -> None:
        looks = Looks()
        shared = Readiness(looks)
        assert is_ready(await shared.checks())
        now = time.monotonic()
        looks.state, looks.seconds = "unavailable", 0.5
        monkeypatch.setattr(readiness, "monotonic", lambda: now + 2)
        assert is_ready(await shared.checks())
        assert not is_ready(await shared.checks())
        looks.state = "ok"
        monkeypatch.setattr(readiness, "monotonic", lambda: now + 8)
        assert is_ready(await shared.checks())
        assert looks.count == 3

    asyncio.run(ask())


def test_a_look_that_fails_is_tried_again() -> None:
    async def ask() -> None:
        looks = Looks()
        shared = Readiness(looks)
        looks.error = ValueError("x")
        with pytest.raises(ValueError, match="x"):
            await shared.checks()
        looks.error = None
        assert is_ready(await shared.checks())

    asyncio.run(ask())


# --- Who asks --------------------------------------------------------------------------------------------------------


def request(client: str, host: str = "127.0.0.1:8000", scheme: str = "http", **headers: str) -> Request:
    raw = [(b"host", host.encode())]
    raw += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request(
        {
            "type": "http",
            "method": "GET",
            "path": "/",
            "query_string": b"",
            "scheme": scheme,
            "server": ("127.0.0.1", 8000),
            "client": (client, 4711),
            "headers": raw,
        }
    )


@pytest.mark.parametrize(
    ("client", "host", "headers", "is_local"),
    [
        ("127.0.0.1", "127.0.0.1:8000", {}, True),
        ("127.5.5.5", "localhost:8000", {}, True),
        ("::1", "[::1]:8000", {}, True),
        ("::ffff:127.0.0.1", "localhost", {}, True),
        ("172.18.0.1", "127.0.0.1:8000", {}, False),
        ("unknown", "localhost", {}, False),
        ("127.0.0.1", "cameras.example", {}, False),
        ("127.0.0.1", "127.0.0.1.nip.example", {}, False),
        ("127.0.0.1", "localhost", {"x_forwarded_for": "127.0.0.1"}, False),
        ("127.0.0.1", "localhost", {"x_forwarded_user": "x"}, False),
        ("127.0.0.1", "localhost", {"forwarded": "for=x"}, False),
        ("127.0.0.1", "localhost", {"via": "1.1 x"}, False),
        ("127.0.0.1", "localhost", {"true_client_ip": "x"}, False),
    ],
)
def test_only_who_is_on_this_machine_is_local(client: str, host: str, headers: dict[str, str], is_local: bool) -> None:
    assert Peers(()).identify(request(client, host, **headers)).is_local is is_local


def test_only_what_may_be_a_proxy_of_this_deployment_is_named_and_each_once(caplog: pytest.LogCaptureFixture) -> None:
    peers = Peers(())
    for sender in ("8.8.8.8", "172.18.0.1", "172.18.0.1", "2001:4860::8", "fd00::1", "10.0.0.2"):
        peers.identify(request(sender, x_forwarded_for="8.8.4.4"))
    peers.identify(request("172.18.0.9"))
    named = [message.partition("APP_TRUSTED_PROXIES=")[2].split()[0] for message in caplog.messages]
    assert named == ["172.18.0.1", "fd00::1", "10.0.0.2"]
    for number in range(100):
        peers.identify(request(f"10.0.1.{number}", x_forwarded_for="8.8.4.4"))
    assert len(caplog.messages) < 10


def test_only_a_trusted_proxy_says_that_it_was_https() -> None:
    from ipaddress import ip_network

    peers = Peers((ip_network("10.0.0.0/8"),))
    assert peers.identify(request("10.0.0.1", x_forwarded_proto="https")).is_secure
    assert not peers.identify(request("10.0.0.1", x_forwarded_proto="https, http")).is_secure
    assert not peers.identify(request("10.0.0.1", x_forwarded_proto="http", scheme="https")).is_secure
    assert not peers.identify(request("192.0.2.1", x_forwarded_proto="https")).is_secure
    assert peers.identify(request("192.0.2.1", scheme="https")).is_secure


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "unknown"),
        ("x", "unknown"),
    ],
)
def test_what_counts_as_one_sender(address: str, network: str) -> None:
    assert network_of(address) == network


# --- Bodies ----------------------------------------------------------------------------------------------------------


def being_received(*messages: Message) -> Request:
    """A request that gets these messages, and then none."""
    left = list(messages)

    async def receive() -> Message:
        if not left:
            await asyncio.Event().wait()
        return left.pop(0)

    return Request({"type": "http", "headers": []}, receive)


def test_a_wait_ends_when_the_client_hangs_up() -> None:
    async def hang_up() -> None:
        with pytest.raises(ClientDisconnect):
            await wait(being_received({"type": "http.request"}, {"type": "http.disconnect"}), 60)

    asyncio.run(asyncio.wait_for(hang_up(), 5))


def test_a_wait_takes_as_long_as_was_said() -> None:
    began = time.monotonic()
    asyncio.run(wait(being_received(), 0.2))
    assert 0.15 < time.monotonic() - began < 2
    asyncio.run(wait(being_received({"type": "http.disconnect"}), 0))


@pytest.mark.parametrize(
    ("length", "connection"), [(100, []), (LARGEST_DRAINED, []), (LARGEST_DRAINED + 1, [b"close"])]
)
def test_the_connection_ends_with_the_answer_if_the_body_is_too_large_to_be_read(
    length: int, connection: list[bytes]
) -> None:
    sent: list[Message] = []

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        await JSONResponse({}, 413)(scope, receive, send)

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "headers": [(b"content-length", str(length).encode())]}
    asyncio.run(DrainBodies(refuse)(scope, receive, send))
    assert [value for name, value in sent[0]["headers"] if name == b"connection"] == connection


# --- Redis -----------------------------------------------------------------------------------------------------------


class SlowCache(Cache):
    """Redis that answers when it is told to."""

    def __init__(self, client: Redis) -> None:
        super().__init__(client)
        self.answers = asyncio.Event()
        self.asked = 0

    async def ask(self, question: Any) -> Any:
        self.asked += 1
        await self.answers.wait()
        return True


def test_more_guesses_than_redis_can_count_in_time_are_counted_in_memory_and_more_strictly(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def ask() -> None:
        cache = SlowCache(open_client())
        limiter = LoginLimiter(cache)
        asked = [asyncio.create_task(limiter.admits(f"name-{number}", "x")) for number in range(MOST_QUESTIONS)]
        await asyncio.sleep(0)
        assert [await limiter.admits("admin", "x") for _ in range(6)] == [True] * 5 + [False]
        assert cache.asked == MOST_QUESTIONS
        cache.answers.set()
        assert await asyncio.gather(*asked) == [True] * MOST_QUESTIONS
        assert await limiter.admits("another", "x")
        assert cache.asked == MOST_QUESTIONS + 1

    asyncio.run(ask())
    assert caplog.messages == ["More logins at once than Redis can count: some are limited in this process alone"]


@pytest.mark.parametrize(
    "answers", [[None] * 5 + [True] * 20, [True] * 5 + [None] * 20 + [True] * 20, [None, True] * 20, [True] * 20]
)
def test_whenever_redis_goes_and_comes_no_more_guesses_are_looked_at(answers: list[bool | None]) -> None:
    class ComingAndGoing(Cache):
        async def ask(self, question: Any) -> Any:
            return answers.pop(0)

    async def guess() -> int:
        limiter = LoginLimiter(ComingAndGoing(open_client()))
        return sum([await limiter.admits("admin", "x") for _ in range(len(answers))])

    assert asyncio.run(guess()) == MOST_GUESSES


def open_client() -> Redis:
    from redis.asyncio import Redis

    return Redis()


# --- Connections -----------------------------------------------------------------------------------------------------


class Connection:
    """What a room knows of a connection."""

    def __init__(
        self, network: str, seconds: float = 0, *, served: int | None = None, is_awaited: bool = False
    ) -> None:
        self.network = network
        self.is_awaited = is_awaited or served is None
        self.since = time.monotonic() - seconds
        self.deadline = time.monotonic() + 60
        self.served = served or 0
        self.is_aborted = False
        self.transport = SimpleNamespace(abort=self._abort)

    def _abort(self) -> None:
        self.is_aborted = True


def enter(room: Room, *entering: Connection) -> None:
    async def run() -> None:
        for connection in entering:
            room.enter(cast("GuardedProtocol", connection))

    asyncio.run(run())


def test_a_full_room_ends_the_longest_idle_of_the_network_with_the_most() -> None:
    room = Room(4)
    lone = Connection("b", 100)
    greedy = [Connection("a", seconds) for seconds in (1, 3, 2)]
    newest = Connection("c")
    enter(room, lone, *greedy, newest)
    assert [each.is_aborted for each in (lone, *greedy, newest)] == [False, False, True, False, False]


def test_a_greedy_network_keeps_no_place_by_being_busy() -> None:
    room = Room(3)
    lone = Connection("b", 100)
    busy = [Connection("a", 1, served=served) for served in (5, 900)]
    newest = Connection("c")
    enter(room, lone, *busy, newest)
    assert [each.is_aborted for each in (lone, *busy, newest)] == [False, False, True, False]


def test_a_greedy_network_takes_its_newest_place_from_itself() -> None:
    room = Room(3)
    first, second, other, newest = Connection("a", 2), Connection("a", 1), Connection("b", 50), Connection("a")
    enter(room, first, second, other, newest)
    assert [each.is_aborted for each in (first, second, other, newest)] == [True, False, False, False]


def test_a_browser_with_some_connections_is_not_greedy() -> None:
    room = Room(64)
    browser = [Connection("browser", 0.01) for _ in range(4)]
    crowd = [Connection(str(number), 0.02) for number in range(60)]
    enter(room, *browser, *crowd, Connection("newest"))
    assert not any(each.is_aborted for each in browser)


def test_who_lets_the_server_wait_goes_first_then_who_was_served_most_then_the_newest() -> None:
    room = Room(4)
    answered_soon = Connection("a", 9, served=1)
    served_much = Connection("b", 1, served=900)
    waiting = Connection("c", 0.5, served=1, is_awaited=True)
    fresh = Connection("d", 0.1)
    in_order = [waiting, served_much, fresh, answered_soon]
    enter(room, answered_soon, served_much, waiting, fresh)
    for number, _ in enumerate(in_order):
        enter(room, Connection(f"new {number}", -1, served=1))
        assert [each.is_aborted for each in in_order] == [True] * (number + 1) + [False] * (3 - number)


def test_connections_that_are_late_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "SECONDS_BETWEEN_SWEEPS", 0.01)

    async def run() -> None:
        room, late, early = Room(), Connection("a"), Connection("b")
        late.deadline = time.monotonic() - 1
        for each in (late, early):
            room.enter(cast("GuardedProtocol", each))
        await asyncio.sleep(0.05)
        assert late.is_aborted
        assert not early.is_aborted

    asyncio.run(run())


@pytest.mark.parametrize(("files", "places"), [(4096, 512), (1024, 512), (256, 128), (64, 32), (0, 32)])
def test_connections_leave_open_files_for_the_rest(files: int, places: int) -> None:
    room = Room.for_files(files)
    entering = [Connection(str(number)) for number in range(places + 1)]
    enter(room, *entering[:-1])
    assert not any(each.is_aborted for each in entering)
    enter(room, entering[-1])
    assert sum(each.is_aborted for each in entering) == 1


# --- The log ---------------------------------------------------------------------------------------------------------


def record(name: str = "cctv", text: str = "text %s", *, with_traceback: bool = False) -> logging.LogRecord:
    error: Any = (ValueError, ValueError("x"), None) if with_traceback else None
    return logging.LogRecord(name, logging.ERROR, "", 0, text, ("100%",) if "%" in text else (), error)


def test_the_log_lets_a_burst_through_and_then_says_how_much_it_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    monkeypatch.setattr(log_limit, "monotonic", lambda: now)
    limit = LogLimit()
    assert sum(limit.filter(record()) for _ in range(1000)) == 100
    monkeypatch.setattr(log_limit, "monotonic", lambda: now + 10)
    first = record()
    assert limit.filter(first)
    assert first.getMessage() == "text 100% (before this, 900 more lines were left out)"
    assert sum(limit.filter(record()) for _ in range(1000)) == 19


@pytest.mark.parametrize("name", ["uvicorn.access", "uvicorn.error", "asyncio", "cctv.requests"])
def test_requests_cannot_silence_the_rest_of_the_log(name: str) -> None:
    limit = LogLimit()
    assert sum(limit.filter(record(name)) for _ in range(1000)) < 110
    assert limit.filter(record())


def test_long_lines_and_tracebacks_cost_more() -> None:
    assert sum(LogLimit().filter(record(text="x" * 2000)) for _ in range(1)) == 1
    long, tracebacks = LogLimit(), LogLimit()
    assert sum(long.filter(record(text="x" * 2000)) for _ in range(100)) < 12
    assert sum(tracebacks.filter(record(with_traceback=True)) for _ in range(100)) < 8
