"""Asks the server in this container whether it is ready; its exit code is the container's health."""

from __future__ import annotations

import http
import http.client
import sys

PORT = 8000
TIMEOUT_SECONDS = 7


def main() -> int:
    """0 when ``/ready`` answers 200; else 1, and what it answers, which holds names and states only."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=TIMEOUT_SECONDS)
        connection.request("GET", "/ready")
        answer = connection.getresponse()
        body = answer.read().decode(errors="replace")
    except OSError as error:
        print(f"no answer: {error}")  # noqa: T201
        return 1
    if answer.status != http.HTTPStatus.OK:
        print(body)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
