"""The servers of the stack that keep a password for themselves, and what the application's container tells them.

A changed file is not enough for these: the server has to be told, or it refuses the application.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from src.utils.secrets.command import compose

from .stack import StackError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from .stack import Stack

APP = "app"
ANSWER_SECONDS = 5
REDIS_USER = "default"
_REFUSED = "accepts none of the passwords"  # what src/app/credentials.py says
_NO_OPERATOR = "no operator"
_AS_OPERATOR = (
    f"[ -r /run/redis/operator ] || {{ echo '{_NO_OPERATOR}'; exit 0; }}; "
    "REDISCLI_AUTH=$(cat /run/redis/operator) exec redis-cli -e --no-auth-warning --user operator"
)


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


def accept_redis_password(stack: Stack, passwords: Sequence[str]) -> None:
    """Let Redis accept a password for the application's user, beside those that it accepts.

    Args:
        stack: The containers.
        passwords: The wanted one, then those that Redis may still have.

    Raises:
        StackError: It failed.
    """
    if not _tell_redis(stack, "redis-accept", f"ACL SETUSER {REDIS_USER} #{_redis_hash(passwords[0])}"):
        tell_app(stack, "redis-accept", passwords)
    sign_in(stack, REDIS, passwords[0])


def accept_only_redis_password(stack: Stack, passwords: Sequence[str]) -> None:
    """Let Redis accept one password for the application's user, and end the connections that were made before.

    Args:
        stack: The containers.
        passwords: As for :func:`accept_redis_password`.

    Raises:
        StackError: It does not accept it yet, or it failed.
    """
    sign_in(stack, REDIS, passwords[0])
    only = f"ACL SETUSER {REDIS_USER} resetpass #{_redis_hash(passwords[0])}"
    if not _tell_redis(stack, "redis-only", only, f"CLIENT KILL USER {REDIS_USER}"):
        tell_app(stack, "redis-only", passwords)
    sign_in(stack, REDIS, passwords[0])


def _tell_redis(stack: Stack, name: str, *commands: str) -> bool:
    """Give commands to Redis as its operator, who can sign in only from inside its container.

    Args:
        stack: The containers.
        name: What the step is called when it fails.
        commands: The commands.

    Returns:
        Whether there is one: a container that was made with the Compose file of an earlier release has none.
    """
    answer = stack.execute(REDIS.service, ["sh", "-euc", _AS_OPERATOR, name], "\n".join(commands) + "\n")
    lines = [line for line in answer.splitlines() if line]
    if lines == [_NO_OPERATOR]:
        return False
    # It answers OK to the first, and with the number of closed connections to the second.
    if len(lines) != len(commands) or lines[0] != "OK" or not all(line.isdigit() for line in lines[1:]):
        raise StackError("Redis does not change the password", hint=compose("logs", REDIS.service, purpose="See why"))
    return True


def _redis_hash(password: str) -> str:
    """What Redis keeps of a password: https://redis.io/docs/latest/commands/acl-setuser/."""
    return hashlib.sha256(password.encode()).hexdigest()


def reset_database_password(stack: Stack, password: str) -> None:
    """Give the database's role a password through the socket in its own container, which asks for none.

    psql hashes it before it sends it, so it reaches neither the server nor its log.

    Raises:
        StackError: It failed.
    """
    script = 'exec psql --quiet -U "$POSTGRES_USER" -d "$POSTGRES_DB" -c "\\password"'
    stack.execute(DATABASE.service, ["sh", "-euc", script], f"{password}\n{password}\n")
