"""A server between a client and the real server: records requests, and can answer instead of the real server."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

from .serving import serving

_OF_THE_CONNECTION = ("transfer-encoding", "content-length", "connection")
Answer = tuple[int, dict[str, str], bytes]
"""Status, headers and body."""


@dataclass
class Faulty:
    """A running server.

    Attributes:
        url: Its address.
        requests: Method, path and headers of every request.
        fault: Returns the answer to a request, or ``None`` to pass it on. Gets method, path and headers.
        dropped: The headers, in lower case, that are not passed on.
        added: More headers that are.
        interfere: Changes the bytes of an answer; after a changed answer the connection is closed.
    """

    url: str = ""
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    fault: Callable[[str, str, dict[str, str]], Answer | None] | None = None
    interfere: Callable[[bytes], bytes] | None = None
    dropped: set[str] = field(default_factory=set)
    added: dict[str, str] = field(default_factory=dict)


def whole_answer(status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    """Return the bytes of an answer."""
    lines = [f"{name}: {text}" for name, text in {**headers, "Content-Length": str(len(body))}.items()]
    return "\r\n".join([f"HTTP/1.1 {status} -", *lines, "", ""]).encode() + body


@contextmanager
def running_faulty(upstream: str) -> Iterator[Faulty]:
    """Start a server in front of ``upstream``."""
    faulty = Faulty()
    host = urlsplit(upstream).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Nothing."""

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = dict(self.headers.items())
            faulty.requests.append((self.command, self.path, headers))
            answer = faulty.fault(self.command, self.path, headers) if faulty.fault else None
            status, received, data = answer or self._pass_on(body, headers)
            kept = {name: text for name, text in received.items() if name.lower() not in _OF_THE_CONNECTION}
            right = whole_answer(status, kept, data)
            sent = faulty.interfere(right) if faulty.interfere else right
            self.close_connection = sent != right
            self.wfile.write(sent)

        def _pass_on(self, body: bytes, headers: dict[str, str]) -> Answer:
            connection = http.client.HTTPConnection(host, timeout=30)
            try:
                passed = {name: text for name, text in headers.items() if name.lower() not in faulty.dropped}
                connection.request(self.command, self.path, body, passed | faulty.added)
                answer = connection.getresponse()
                return answer.status, dict(answer.getheaders()), answer.read()
            finally:
                connection.close()

        do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = do_LIST = answer  # noqa: N815

    with serving(Handler) as port:
        faulty.url = f"http://127.0.0.1:{port}"
        yield faulty
