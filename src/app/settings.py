"""Where the application's database and cache are. Nothing secret is in here."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from src.utils.secrets.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class AppSettings:
    """Read once at the start.

    Attributes:
        host: Address to listen on.
        port: Port to listen on.
        database_host: PostgreSQL's address; ``None`` means that there is none (development).
        database_port: Its port.
        database_name: Its database.
        database_user: The role to log in as.
        redis_host: Redis' address; ``None`` means that there is none (development).
        redis_port: Its port.
    """

    host: str
    port: int
    database_host: str | None
    database_port: int
    database_name: str
    database_user: str
    redis_host: str | None
    redis_port: int

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> AppSettings:
        """The settings in ``environ``.

        Raises:
            ConfigurationError: A port is not a number.
        """
        return cls(
            host=environ.get("APP_HOST") or "127.0.0.1",
            port=_port(environ, "APP_PORT", 8000),
            database_host=environ.get("DATABASE_HOST") or None,
            database_port=_port(environ, "DATABASE_PORT", 5432),
            database_name=environ.get("DATABASE_NAME") or "cctv",
            database_user=environ.get("DATABASE_USER") or "cctv",
            redis_host=environ.get("REDIS_HOST") or None,
            redis_port=_port(environ, "REDIS_PORT", 6379),
        )


def _port(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not text.isdecimal() or not 0 < int(text) < 65536:  # noqa: PLR2004
        raise ConfigurationError(f"{name} is not a port", hint=f"Use 1 to 65535, for example {name}={default}")
    return int(text)
