"""Where the application's database and cache are, and whom it believes. Nothing secret is in here."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from src.utils.secrets.errors import ConfigurationError
from src.utils.secrets.settings import PRODUCTION, is_environment_name

if TYPE_CHECKING:
    from collections.abc import Mapping

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


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
        environment: The deployment that this is, for the commands that are named.
        trusted_proxies: Whose forwarded headers are believed.
        webhooks_without_timestamp: Whether a webhook that is signed without a timestamp is accepted.
    """

    host: str
    port: int
    database_host: str | None
    database_port: int
    database_name: str
    database_user: str
    redis_host: str | None
    redis_port: int
    environment: str = PRODUCTION
    trusted_proxies: tuple[Network, ...] = ()
    webhooks_without_timestamp: bool = False

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> AppSettings:
        """The settings in ``environ``.

        Raises:
            ConfigurationError: One of them cannot be used.
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
            environment=_environment(environ, "SECRETS_ENVIRONMENT"),
            trusted_proxies=_networks(environ, "APP_TRUSTED_PROXIES"),
            webhooks_without_timestamp=_switch(environ, "APP_WEBHOOKS_WITHOUT_TIMESTAMP"),
        )


def _port(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not text.isdecimal() or not 0 < int(text) < 65536:  # noqa: PLR2004
        raise ConfigurationError(f"{name} is not a port", hint=f"Use 1 to 65535, for example {name}={default}")
    return int(text)


def _environment(environ: Mapping[str, str], name: str) -> str:
    text = environ.get(name) or PRODUCTION
    if not is_environment_name(text):
        raise ConfigurationError(f"{name} is not the name of an environment", hint=f"For example {name}=staging")
    return text


def _networks(environ: Mapping[str, str], name: str) -> tuple[Network, ...]:
    texts = [text.strip() for text in environ.get(name, "").split(",")]
    example = f"Name the proxy's address or network, for example {name}=172.18.0.1"
    try:
        networks = tuple(ipaddress.ip_network(text, strict=False) for text in texts if text)
    except ValueError:
        raise ConfigurationError(f"{name} is not a list of addresses, separated by commas", hint=example) from None
    if any(network.prefixlen == 0 for network in networks):
        raise ConfigurationError(f"{name} would let everybody choose their own address", hint=example)
    return networks


def _switch(environ: Mapping[str, str], name: str) -> bool:
    text = environ.get(name, "").strip().lower()
    if text not in ("", "0", "1", "true", "false", "yes", "no"):
        raise ConfigurationError(f"{name} is neither 1 nor 0", hint=f"For example {name}=1")
    return text in ("1", "true", "yes")
