"""The servers of the stack that keep a password for themselves, and what the application's container tells them.

A changed file is not enough for these: the server has to be told, or it refuses the application.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .stack import StackError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from .stack import Stack

APP = "app"
ANSWER_SECONDS = 5
_REFUSED = "accepts none of the passwords"  # what src/app/credentials.py says


@dataclass(frozen=True)
class Server:
    """One of them.

    Attributes:
        title: What people call it.
        service: Its Compose service.
        secret: The secret with its password.
        check: What ``src.app.credentials`` calls signing in to it.
    """

    title: str
    service: str
    secret: str
    check: str


DATABASE = Server("PostgreSQL", "postgres", "DATABASE_PASSWORD", "database-check")
REDIS = Server("Redis", "redis", "REDIS_PASSWORD", "redis-check")
SERVERS = (DATABASE, REDIS)


class RefusedError(StackError):
    """A server does not accept a password."""


def reachable_servers(running: Collection[str]) -> list[Server]:
    """The servers that run beside the application, from whose container they are asked."""
    return [server for server in SERVERS if {APP, server.service} <= {*running}]


def sign_in(stack: Stack, server: Server, password: str) -> None:
    """Sign in to a server, as the application does.

    Raises:
        RefusedError: It does not accept the password.
        StackError: It does not answer.
    """
    try:
        tell_app(stack, server.check, [password])
    except StackError as error:
        if _REFUSED in str(error):
            raise RefusedError(f"{server.title} refuses it", hint=error.hints) from None
        raise


def find_accepted(stack: Stack, server: Server, passwords: Iterable[str]) -> str | None:
    """The first of some passwords that a server accepts; ``None`` when it accepts none.

    Raises:
        StackError: It does not answer.
    """
    for password in passwords:
        try:
            sign_in(stack, server, password)
        except RefusedError:
            continue
        return password
    return None


def tell_app(stack: Stack, action: str, passwords: Sequence[str], username: str | None = None) -> None:
    """Run one of the actions of ``src.app.credentials`` in the application's container.

    Args:
        stack: The containers.
        action: Which one.
        passwords: The wanted one, then those that the server may still have.
        username: Who logs in, where somebody does.

    Raises:
        StackError: It failed.
    """
    content = {"passwords": list(dict.fromkeys(passwords)), "username": username, "seconds": ANSWER_SECONDS}
    stack.execute(APP, ["python", "-m", "src.app.credentials", action], json.dumps(content))


def reset_database_password(stack: Stack, password: str) -> None:
    """Give the database's role a password through the socket in its own container, which asks for none.

    psql hashes it before it sends it, so it reaches neither the server nor its log.

    Raises:
        StackError: It failed.
    """
    script = 'exec psql --quiet -U "$POSTGRES_USER" -d "$POSTGRES_DB" -c "\\password"'
    stack.execute(DATABASE.service, ["sh", "-euc", script], f"{password}\n{password}\n")
