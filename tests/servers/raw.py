"""A server that answers every request with bytes of the test's choice, and as slowly as it wants."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Answer = Callable[[socket.socket], None]


@contextmanager
def running_raw(answer: Answer, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Start it.

    Args:
        answer: Sends the answer; the connection is closed afterwards.
        context: For TLS.

    Yields:
        Its port on 127.0.0.1.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        accepting = threading.Thread(target=_accept, args=(server, answer, context), daemon=True)
        accepting.start()
        try:
            yield server.getsockname()[1]
        finally:
            # Closing alone would leave the thread waiting, and the port in use.
            server.shutdown(socket.SHUT_RDWR)
            accepting.join()


def _accept(server: socket.socket, answer: Answer, context: ssl.SSLContext | None) -> None:
    while True:
        try:
            connection, _address = server.accept()
        except OSError:
            return
        threading.Thread(target=_serve, args=(connection, answer, context), daemon=True).start()


def _serve(connection: socket.socket, answer: Answer, context: ssl.SSLContext | None) -> None:
    with contextlib.suppress(OSError), connection:
        if context is not None:
            with context.wrap_socket(connection, server_side=True) as secured:
                _read_and_answer(secured, answer)
        else:
            _read_and_answer(connection, answer)


def _read_and_answer(connection: socket.socket, answer: Answer) -> None:
    received = b""
    while b"\r\n\r\n" not in received:
        part = connection.recv(65536)
        if not part:
            return
        received += part
    answer(connection)
