"""Servers that send any response, at any request of reading, writing, removing and restoring."""

from __future__ import annotations

import gc
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from src.utils.secrets.backends.base import Backend
from src.utils.secrets.changes import Change
from src.utils.secrets.errors import SecretsError
from tests import figures
from tests.contract.contract import Store
from tests.contract.stores import AwsStore, AzureStore, VaultStore, VaultVersion1Store
from tests.leaks import leaked
from tests.servers.aws import Aws
from tests.servers.faulty import Faulty, running_faulty, whole_answer
from tests.servers.keyvault import KeyVault
from tests.servers.vault import Vault
from tests.support.forms import IN_FULL

pytestmark = pytest.mark.timeout(3600)
LONGEST_SECONDS = 30
KEPT, CHANGED, REMOVED, NEW = "KEPT_ONE", "CHANGED_ONE", "REMOVED_ONE", "NEW_ONE"
BEFORE = {KEPT: "kept-canary-0815", CHANGED: "old-canary-0815", REMOVED: "removed-canary-0815"}
AFTER = {KEPT: BEFORE[KEPT], CHANGED: "new-canary-4711", NEW: "another-canary-4711"}
CHANGES = {CHANGED: Change(AFTER[CHANGED]), NEW: Change(AFTER[NEW]), REMOVED: Change(None)}


def in_http(body: bytes, kind: str = "application/json", status: int = 200) -> bytes:
    return whole_answer(status, {"Content-Type": kind, "Connection": "close"}, body)


ANSWERS = {
    "nothing at all": b"",
    "no HTTP": b"220 mail.example.org ESMTP\r\n\r\n",
    "a header without end": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2_000_000,
    "ten thousand headers": b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(10_000)) + b"\r\n",
    "less than it promised": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{",
    "a redirect to another host": (
        b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.2:1/stolen\r\nContent-Length: 0\r\n\r\n"
    ),
    "a page": in_http(b"<html>Welcome</html>", "text/html"),
    "deep nesting": in_http(b'{"SecretString": ' + b"[" * 200_000),
    "a list": in_http(b"[1, 2, 3]"),
    "null": in_http(b"null"),
    "an empty object": in_http(b"{}"),
    "no content": in_http(b"", status=204),
    "an error that says nothing": in_http(b"{}", status=400),
    "an error of another form": in_http(b'{"errors": {"a": [null]}, "error": [], "__type": 5}', status=403),
    "not text": in_http(b"\xff\xfe\x00"),
    "ten megabytes of JSON of no use": in_http(b'{"a": "' + b"x" * 10_000_000 + b'"}'),
}
"""The responses to all requests, from some request on."""


def check_loaded(backend: Backend) -> None:
    snapshot = backend.load()
    for name in (*BEFORE, NEW):
        value = snapshot.values.get(name)
        assert value is None or isinstance(value, str)
        assert all(isinstance(version, str) for version in snapshot.versions(name, "2026-01-01T00:00:00Z"))


Operation = Callable[[Any], object]
OPERATIONS: dict[str, Operation] = {
    "load": check_loaded,
    "save": lambda backend: backend.save(CHANGES),
    "restore": lambda backend: backend.restore([KEPT]),
    "check access": lambda backend: backend.check_access([KEPT]),
}


@dataclass
class Place:
    """A store behind a server that can change responses.

    Attributes:
        make: A new store in it, empty.
        server: The server that changes responses.
        address: The settings to reach it.
        is_atomic: Whether several secrets are written together or not at all.
    """

    make: Callable[[], Store]
    server: Faulty | KeyVault
    address: dict[str, str]
    is_atomic: bool = True

    def open(self, store: Store) -> Backend:
        """The store, reached through the server."""
        return store.open(**self.address)


@pytest.fixture
def place(store: str, request: pytest.FixtureRequest) -> Iterator[Place]:
    """The place of the store that the test names."""
    if store == "azure":
        keyvault: KeyVault = request.getfixturevalue("keyvault")
        yield Place(lambda: AzureStore(keyvault), keyvault, {}, is_atomic=False)
    elif store == "aws":
        aws: Aws = request.getfixturevalue("aws")
        with running_faulty(aws.url) as faulty:
            yield Place(lambda: AwsStore(aws), faulty, {"AWS_ENDPOINT_URL": faulty.url})
    else:
        vault: Vault = request.getfixturevalue("vault")
        made = VaultStore if store == "vault" else VaultVersion1Store
        with running_faulty(vault.url) as faulty:
            yield Place(lambda: made(vault), faulty, {"VAULT_ADDR": faulty.url})


@dataclass
class Outcome:
    """The result of an operation.

    Attributes:
        requests: The number of requests.
        answers: The right responses.
        error: The exception that it raised.
    """

    requests: int
    answers: list[bytes]
    error: BaseException | None = None


class Attempt:
    """One operation on a new store.

    Args:
        where: The server.
        operation: The name of the operation.
        environment: Sets the variables that SDKs read.
    """

    def __init__(self, where: Place, operation: str, environment: pytest.MonkeyPatch) -> None:
        self._where = where
        self._operation = operation
        self._environment = environment

    def run(self, first: int, answer: Callable[[bytes], bytes], *, only_one: bool = False) -> Outcome:
        """Run it, with other responses from the request ``first`` on.

        If only one response is changed, the server can also lie about the stored values, so success proves nothing.

        Raises:
            AssertionError: The stored values are neither old nor new, or the error is not a good one.
        """
        self._where.server.interfere = None
        store = self._where.make()
        store.put(BEFORE)
        if self._operation == "restore":
            delete(store)
        for name, value in (store.environ | self._where.address | {"AWS_MAX_ATTEMPTS": "1"}).items():
            self._environment.setenv(name, value)
        outcome = Outcome(0, [])
        lock = threading.Lock()

        def interfere(right: bytes) -> bytes:
            with lock:
                outcome.requests += 1
                outcome.answers.append(right)
                is_hit = outcome.requests == first if only_one else outcome.requests >= first
            return answer(right) if is_hit else right

        start = time.monotonic()
        self._where.server.interfere = interfere
        gc.disable()  # deeply nested JSON ends at the limit of recursion; finalizers of other tests would fail there
        try:
            OPERATIONS[self._operation](self._where.open(store))
        except SecretsError as error:
            outcome.error = error
            assert_good(error, store)
        finally:
            gc.enable()
            self._where.server.interfere = None
        assert time.monotonic() - start < LONGEST_SECONDS
        if not (only_one and outcome.error is None):
            self._assert_old_or_new(store, outcome.error)
        return outcome

    def _assert_old_or_new(self, store: Store, error: BaseException | None) -> None:
        if self._operation == "restore" and error is not None:
            return
        now = store.raw()
        expected = AFTER if self._operation == "save" else BEFORE
        if error is None:
            assert now == expected, "it raised nothing, and has not done it"
        elif self._where.is_atomic:
            assert now in (BEFORE, expected)
        for name in (*BEFORE, *expected):
            assert now.get(name) in (BEFORE.get(name), expected.get(name)), name


def assert_good(error: SecretsError, store: Store) -> None:
    """Check that the error has a hint, is short, and repeats no value and no credential."""
    assert error.hint
    said = f"{error} {error.hint} {error.__cause__!r}"
    assert len(said) < 3000
    credentials = {name: value for name, value in store.environ.items() if name.endswith(("TOKEN", "KEY", "HEADER"))}
    assert leaked(BEFORE | AFTER | credentials, said.encode()) == []


def delete(store: Store) -> None:
    """Delete the secrets so that they can be restored."""
    if isinstance(store, AwsStore):
        store.server.client().delete_secret(SecretId=store.secret_id, RecoveryWindowInDays=7)
    elif isinstance(store, VaultStore):
        store.server.client().secrets.kv.v2.delete_latest_version_of_secret(store.path, mount_point=store.mount)
    elif isinstance(store, AzureStore):
        store.server.answer("DELETE", "/secrets/kept-one", {}, {})


CASES = [(store, operation) for store in ("aws", "vault", "azure") for operation in OPERATIONS]
CASES += [("vault version 1", operation) for operation in ("load", "save", "check access")]


IDS = ["-".join(case).replace(" ", "-") for case in CASES]
Trial = tuple[str, Callable[[bytes], bytes], int]
"""A name, the response, and the number of the request."""


def check_each(attempt: Attempt, trials: Iterator[Trial], *, only_one: bool = False) -> None:
    """Run every trial, and fail with all problems."""
    wrong = []
    for what, answer, first in trials:
        figures.add("hostile answers", 1, "answers")
        try:
            attempt.run(first, answer, only_one=only_one)
        except Exception as error:  # noqa: BLE001 - any error that is not the project's own
            wrong.append(f"{what}, request {first}: {type(error).__name__}: {str(error)[:300]}")
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


@pytest.mark.parametrize(("store", "operation"), CASES, ids=IDS)
def test_any_wrong_response_gives_one_clear_error_in_time(
    place: Place, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = Attempt(place, operation, monkeypatch)
    right = attempt.run(10**6, bytes)
    assert right.error is None, right.error
    assert right.requests > 0

    def trials() -> Iterator[Trial]:
        for number, (kind, answer) in enumerate(ANSWERS.items()):
            # In the short form, each kind at one request only.
            for first in range(1, right.requests + 1) if IN_FULL else [1 + number % right.requests]:
                yield kind, (lambda _, found=answer: found), first  # type: ignore[misc]

    check_each(attempt, trials())


def with_another_type(right: bytes, number: int) -> bytes | None:
    """Return a response in which one value has another type; ``None`` if there are no more values."""
    head, _, body = right.partition(b"\r\n\r\n")
    try:
        document = json.loads(body)
    except ValueError:
        return None
    places = list(values_in(document))
    if number >= len(places) * len(OTHERS):
        return None
    node, key = places[number % len(places)]
    node[key] = OTHERS[(number // len(places) + number) % len(OTHERS)]
    status = int(head.split()[1])
    return whole_answer(status, {"Content-Type": "application/json"}, json.dumps(document).encode())


OTHERS: tuple[Any, ...] = (None, 5, [], {}, "x", True, [[]], {"x": None})


def values_in(document: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each value of a document, as its container and its key."""
    for key, value in list(document.items() if isinstance(document, dict) else enumerate(document)):
        yield document, key
        if isinstance(value, dict | list):
            yield from values_in(value)


@pytest.mark.parametrize(("store", "operation"), CASES, ids=IDS)
def test_a_response_with_a_value_of_another_type_works_or_gives_one_clear_error(
    place: Place, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = Attempt(place, operation, monkeypatch)
    right = attempt.run(10**6, bytes)

    def trials() -> Iterator[Trial]:
        for first, answer in enumerate(right.answers, 1):
            for number in range(10_000 if IN_FULL else 8):
                if with_another_type(answer, number) is None:
                    break
                yield f"value {number}", (lambda found, n=number: with_another_type(found, n) or found), first  # type: ignore[misc]

    check_each(attempt, trials(), only_one=True)
