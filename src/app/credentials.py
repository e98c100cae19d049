"""Gives the servers behind the application their present passwords: ``python -m src.app.credentials WHAT``.

Run inside the application's container, where they can be reached. Standard input is JSON: ``{"passwords": [...]}``, the
wanted one first, then those that the server may still have, and ``seconds``, how long a server may take to answer when
it is only asked. Standard output is one word: what was done. Every action
may be repeated, and leaves alone what is already as it should be.

``database``
    gives the role the wanted password, and ends its sessions over the network that were opened before. libpq makes
    the SCRAM verifier here, so the password itself reaches neither the server nor its log.
``redis-accept``
    lets a Redis without an operator accept the wanted password beside the ones it has.
``redis-only``
    lets it accept the wanted password only.
``database-check``, ``redis-check``
    only sign in with the wanted password.
``login``
    logs in to the application itself, with ``username`` from standard input.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

from src.utils.secrets.errors import SecretsError

from .database import ASKS_OTHERWISE, REQUIRED_AUTHENTICATION, WANTS_OTHERWISE
from .settings import AppSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psycopg
    import redis

    Connection = psycopg.Connection[tuple[object, ...]]

TIMEOUT_SECONDS = 10
LOGIN_ATTEMPTS = 30  # the account follows a moment after the start
SECONDS_TO_BECOME_IDLE = 5.0
SECONDS_BETWEEN_LOOKS = 0.1
_EARLIER = """
FROM pg_stat_activity AS other, pg_stat_activity AS own
WHERE own.pid = pg_backend_pid() AND other.pid <> own.pid
AND other.usesysid = own.usesysid AND other.backend_start < own.backend_start AND other.client_addr IS NOT NULL
"""
_COUNT_SESSIONS = f"SELECT count(*) {_EARLIER}"
_END_SESSIONS = f"SELECT pg_terminate_backend(other.pid) {_EARLIER} AND (%(is_late)s OR other.state = 'idle')"


class CredentialsError(Exception):
    """It cannot be done. The text says why, and holds no secret."""


def change_database_password(settings: AppSettings, passwords: Sequence[str]) -> str:
    """Give the role the first of ``passwords``, signing in with any of them, and end the sessions from before.

    Raises:
        CredentialsError: None of them is accepted, or the server does not answer.
    """
    connection, used = _database_connection(settings, passwords)
    with connection:
        if used != passwords[0]:
            _set_password(connection, settings.database_user, passwords[0])
    connection, _ = _database_connection(settings, passwords[:1])
    with connection:
        _end_earlier_sessions(connection)
    return "unchanged" if used == passwords[0] else "changed"


def _set_password(connection: Connection, role: str, password: str) -> None:
    from psycopg import sql

    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
    connection.execute(
        sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(verifier.decode()))
    )


def _end_earlier_sessions(connection: Connection) -> None:
    """End the role's other sessions over the network, which a password has opened.

    Those that are idle end at once, the others when they become so, or after a while.
    """
    deadline = time.monotonic() + SECONDS_TO_BECOME_IDLE
    while True:
        is_late = time.monotonic() > deadline
        connection.execute(_END_SESSIONS, {"is_late": is_late})
        [(left,)] = connection.execute(_COUNT_SESSIONS).fetchall()
        if is_late or not left:
            return
        time.sleep(SECONDS_BETWEEN_LOOKS)


def accept_redis_password(settings: AppSettings, passwords: Sequence[str]) -> str:
    """Add the first of ``passwords`` to those that Redis accepts, as its hash, which is all that Redis keeps.

    https://redis.io/docs/latest/commands/acl-setuser/

    Raises:
        CredentialsError: None of them is accepted, or the server does not answer.
    """
    client, used = _redis_client(settings, passwords)
    with client:
        if used == passwords[0]:
            return "unchanged"
        _change_default_user(client, hashed_passwords=[f"+{_redis_hash(passwords[0])}"])
    _redis_client(settings, passwords[:1])[0].close()
    return "changed"


def accept_only_redis_password(settings: AppSettings, passwords: Sequence[str]) -> str:
    """Let Redis accept the first of ``passwords`` and no other. Connections that are open stay so.

    Raises:
        CredentialsError: It is not accepted now, or the server does not answer.
    """
    client, _ = _redis_client(settings, passwords[:1])
    with client:
        _change_default_user(client, reset_passwords=True, hashed_passwords=[f"+{_redis_hash(passwords[0])}"])
    _redis_client(settings, passwords[:1])[0].close()
    return "changed"


def log_in(settings: AppSettings, username: str, password: str) -> str:
    """Log in to the application, as a person would.

    Raises:
        CredentialsError: It refuses, also after a while.
    """
    body = json.dumps({"username": username, "password": password}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{settings.port}/login", data=body, headers={"Content-Type": "application/json"}
    )
    status = 0
    for _ in range(LOGIN_ATTEMPTS):
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - its own address
                return "accepted" if answer.status == 200 else "refused"  # noqa: PLR2004
        except urllib.error.HTTPError as error:
            status = error.code
            if status == 429:  # noqa: PLR2004 - more tries would only make it longer
                break
        except OSError:
            status = 0
        time.sleep(1)
    raise CredentialsError(f"the application does not let {username} in (answer {status})")


def _database_connection(
    settings: AppSettings, passwords: Sequence[str], seconds: float = TIMEOUT_SECONDS
) -> tuple[Connection, str]:
    import psycopg

    for password in passwords:
        try:
            connection = psycopg.connect(
                host=settings.database_host,
                port=settings.database_port,
                dbname=settings.database_name,
                user=settings.database_user,
                password=password,
                require_auth=REQUIRED_AUTHENTICATION,
                connect_timeout=int(seconds),
                autocommit=True,
            )
        except psycopg.OperationalError as error:
            if WANTS_OTHERWISE in str(error):
                raise CredentialsError(ASKS_OTHERWISE) from None
            if "password authentication failed" not in str(error):
                reason = str(error).strip().splitlines()[0]
                raise CredentialsError(f"PostgreSQL cannot be reached: {reason}") from None
        else:
            return connection, password
    raise CredentialsError(f"PostgreSQL accepts none of the passwords that are known for {settings.database_user}")


def _redis_client(
    settings: AppSettings, passwords: Sequence[str], seconds: float = TIMEOUT_SECONDS
) -> tuple[redis.Redis, str]:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    for password in passwords:
        client = redis.Redis(
            host=settings.redis_host or "",
            port=settings.redis_port,
            password=password,
            socket_timeout=seconds,
            retry=Retry(NoBackoff(), 0),  # the default tries a refused password for four seconds
        )
        try:
            client.ping()
        except redis.AuthenticationError:
            client.close()
        except (redis.RedisError, OSError) as error:
            raise CredentialsError(f"Redis cannot be reached: {type(error).__name__}") from None
        else:
            return client, password
    raise CredentialsError("Redis accepts none of the passwords that are known")


def _change_default_user(client: redis.Redis, **rules: Any) -> None:
    from redis.exceptions import NoPermissionError

    try:
        client.acl_setuser("default", enabled=True, **rules)
    except NoPermissionError:
        raise CredentialsError(
            "In this Redis only an operator may change the password. These tools are older than the stack: update them"
        ) from None


def _redis_hash(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()


def main(arguments: Sequence[str]) -> int:
    """Do one of the actions; returns the exit code."""
    given = json.load(sys.stdin)
    try:
        passwords = [str(password) for password in given["passwords"]]
        done = _run(arguments[0], passwords, str(given.get("username")), float(given.get("seconds") or TIMEOUT_SECONDS))
    except (CredentialsError, SecretsError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    except Exception as error:  # noqa: BLE001 - its text may hold a password
        print(f"unexpected {type(error).__name__}", file=sys.stderr)  # noqa: T201
        return 1
    print(done)  # noqa: T201
    return 0


def _run(action: str, passwords: Sequence[str], username: str, seconds: float) -> str:
    settings = AppSettings.from_environment()
    if action == "database":
        return change_database_password(settings, passwords)
    if action == "redis-accept":
        return accept_redis_password(settings, passwords)
    if action == "redis-only":
        return accept_only_redis_password(settings, passwords)
    if action == "database-check":
        _database_connection(settings, passwords[:1], seconds)[0].close()
        return "accepted"
    if action == "redis-check":
        _redis_client(settings, passwords[:1], seconds)[0].close()
        return "accepted"
    if action == "login":
        return log_in(settings, username, passwords[0])
    raise CredentialsError("That is not something this program does")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
