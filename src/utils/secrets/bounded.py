"""Every exchange with a store's server ends: a whole operation after some seconds, an answer after some bytes.

The SDKs' time limits are for one receive each, so that a server which sends a byte now and then keeps them waiting for
ever; and none of them limits the size of an answer. All three are built on urllib3, whose connections are replaced here
by ones that look at the clock, and at what has come so far, before each receive.
"""

from __future__ import annotations

import http.client
import io
from contextlib import contextmanager
from time import monotonic

from .errors import StoreUnavailableError
from .settings import DEFAULT_LOAD_TIMEOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from typing import Any

MOST_BYTES = 4 * 1024 * 1024
TIMES_TO_WRITE = 3
"""How many times as long as reading may writing take: it reads before and after, too."""
_SHORTEST_WAIT = 0.001
_OTHER_SERVER = "Check the address: a proxy, a sign-in page or another program may answer there"


class BudgetError(StoreUnavailableError):
    """A server takes too long, or sends too much."""


class Budget:
    """What one operation on a store may take.

    Args:
        where: The store, for the error.
        seconds: How long reading it may take.
    """

    def __init__(self, where: str, seconds: float = DEFAULT_LOAD_TIMEOUT) -> None:
        self._where = where
        self.seconds = seconds
        self._allowed = seconds
        self._deadline: float | None = None

    @contextmanager
    def spent(self, times: float = 1) -> Iterator[None]:
        """Limit what is done inside. One inside of another ends with that at the latest.

        Args:
            times: How many times as long as reading it may take.
        """
        before = self._allowed, self._deadline
        deadline = monotonic() + self.seconds * times
        if self._deadline is None or deadline < self._deadline:
            self._allowed, self._deadline = self.seconds * times, deadline
        try:
            yield
        finally:
            self._allowed, self._deadline = before

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What a person needs to answer is not counted."""
        start = monotonic()
        try:
            yield
        finally:
            if self._deadline is not None:
                self._deadline += monotonic() - start

    def left(self) -> float | None:
        """How many seconds are left; ``None`` outside of an operation.

        Raises:
            BudgetError: None are.
        """
        if self._deadline is None:
            return None
        left = self._deadline - monotonic()
        if left <= 0:
            raise self.too_slow()
        return max(left, _SHORTEST_WAIT)

    def too_slow(self) -> BudgetError:
        """What is said when the time is over."""
        return BudgetError(
            f"{self._where} has not answered in full within {self._allowed:g} s",
            hint=["Check the network and the server", "A slow one gets more time with SECRETS_LOAD_TIMEOUT=60"],
        )

    def too_large(self) -> BudgetError:
        """What is said when an answer is too long."""
        return BudgetError(f"{self._where} sends more than {MOST_BYTES // 1024**2} MiB", hint=_OTHER_SERVER)

    def encoded(self) -> BudgetError:
        """What is said when an answer is compressed: nobody can know how large it becomes."""
        return BudgetError(f"{self._where} sends compressed data, which was not asked for", hint=_OTHER_SERVER)


class _Receiver(io.RawIOBase):
    """The bytes of one answer, in time and not too many."""

    def __init__(self, raw: io.RawIOBase, connection: socket.socket, budget: Budget) -> None:
        super().__init__()
        self._raw = raw
        self._connection = connection
        self._budget = budget
        self._received = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left, timeout = self._budget.left(), self._connection.gettimeout()
        is_shorter = left is not None and (timeout is None or left < timeout)
        if is_shorter:
            self._connection.settimeout(left)
        try:
            count = self._raw.readinto(buffer)
        except TimeoutError:
            if is_shorter:
                raise self._budget.too_slow() from None
            raise
        finally:
            if is_shorter:
                self._connection.settimeout(timeout)
        self._received += count or 0
        if self._received > MOST_BYTES:
            raise self._budget.too_large()
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def pool_classes(budget: Budget, http_pool: Any, https_pool: Any) -> dict[str, Any]:
    """Connection pools like the given ones, whose connections keep to a budget.

    Args:
        budget: What the operations may take.
        http_pool: The class of pool for ``http``.
        https_pool: The class of pool for ``https``.

    Returns:
        For urllib3's ``PoolManager.pool_classes_by_scheme``.
    """

    class Response(http.client.HTTPResponse):
        def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
            super().__init__(sock, *arguments, **options)
            self.fp = io.BufferedReader(_Receiver(self.fp.detach(), sock, budget))

        def begin(self) -> None:
            super().begin()
            if self.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise budget.encoded()

    def bounded(pool: Any) -> Any:
        class Connection(pool.ConnectionCls):  # type: ignore[misc]
            response_class = Response
            timeout: Any

            def connect(self) -> None:
                left = budget.left()
                if left is not None and isinstance(self.timeout, int | float):
                    self.timeout = min(self.timeout, left)
                super().connect()

            def putheader(self, header: str | bytes, *values: Any) -> None:
                name = header.decode("latin-1") if isinstance(header, bytes) else header
                super().putheader(header, *(("identity",) if name.lower() == "accept-encoding" else values))

        return type(pool.__name__, (pool,), {"ConnectionCls": Connection})

    return {"http": bounded(http_pool), "https": bounded(https_pool)}


def bound_session(session: Any, budget: Budget, **options: Any) -> Any:
    """Let a session of requests keep to a budget.

    Args:
        session: The session.
        budget: What the operations may take.
        options: For its adapters, such as ``max_retries``.

    Returns:
        The session.
    """
    from requests.adapters import HTTPAdapter
    from urllib3 import HTTPConnectionPool, HTTPSConnectionPool

    classes = pool_classes(budget, HTTPConnectionPool, HTTPSConnectionPool)

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
            super().init_poolmanager(*arguments, **named)
            self.poolmanager.pool_classes_by_scheme = classes

        def proxy_manager_for(self, *arguments: Any, **named: Any) -> Any:
            manager = super().proxy_manager_for(*arguments, **named)
            manager.pool_classes_by_scheme = classes
            return manager

    for scheme in ("https://", "http://"):
        session.mount(scheme, Adapter(**options))
    return session
