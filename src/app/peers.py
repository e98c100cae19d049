"""Who sends a request: what the connection says, and what a proxy says that was named as trusted."""

from __future__ import annotations

import ipaddress
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.requests import Request

    from .settings import Network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_LOG = logging.getLogger("cctv")
_IPV6_CUSTOMER = 64  # an IPv6 customer has a network of at least this many free bits, RFC 6177
# A request with one of these came through something else, also if nobody here believes it.
_FORWARDED = frozenset(
    {
        "cf-connecting-ip",
        "client-ip",
        "fastly-client-ip",
        "fly-client-ip",
        "forwarded",
        "true-client-ip",
        "via",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-forwarded-server",
        "x-original-forwarded-for",
        "x-real-ip",
    }
)
_BELIEVED = ("x-forwarded-for", "x-forwarded-proto")
_MOST_NAMED = 8


@dataclass(frozen=True)
class Peer:
    """Who sends a request.

    Attributes:
        address: The address, as text.
        network: What limits count: the address, of IPv6 the first 64 bits.
        is_secure: Whether it came over TLS.
        is_local: Whether somebody on this machine sent it, and no proxy for somebody else.
    """

    address: str
    network: str
    is_secure: bool
    is_local: bool


class Peers:
    """Finds out who sends a request.

    Args:
        trusted: Proxies that are believed. Anybody else's forwarded headers are ignored. If that may be a proxy of this
            deployment, the log names its address, once.
    """

    def __init__(self, trusted: tuple[Network, ...]) -> None:
        self._trusted = trusted
        self._named: set[Address] = set()

    def identify(self, request: Request) -> Peer:
        """Who sends this request."""
        sender = _parse(request.client.host if request.client else "")
        is_proxy = sender is not None and self._is_trusted(sender)
        if not is_proxy:
            self._warn_of_ignored(request, sender)
        address = self._client_of(request, sender) if is_proxy else sender
        scheme = _last(request, "x-forwarded-proto") if is_proxy else ""
        return Peer(
            address=str(address) if address else "unknown",
            network=_network(address),
            is_secure=(scheme or request.url.scheme) == "https",
            is_local=sender is not None and sender.is_loopback and _was_sent_directly(request),
        )

    def _client_of(self, request: Request, proxy: Address | None) -> Address | None:
        """The last address before the trusted proxies. What stands further left, the client itself may have written."""
        address = proxy
        for text in reversed(_all(request, "x-forwarded-for")):
            found = _parse(text)
            if found is None:
                return address
            address = found
            if not self._is_trusted(found):
                return address
        return address

    def _is_trusted(self, address: Address) -> bool:
        return any(address.version == network.version and address in network for network in self._trusted)

    def _warn_of_ignored(self, request: Request, sender: Address | None) -> None:
        # Not for public addresses: everybody can send these headers, and the advice would be to believe them.
        if sender is None or not sender.is_private or not any(name in request.headers for name in _BELIEVED):
            return
        if sender in self._named or len(self._named) >= _MOST_NAMED:
            return
        self._named.add(sender)
        _LOG.warning(
            "X-Forwarded headers from %s are ignored. If it is your proxy, set APP_TRUSTED_PROXIES=%s (docs/https.md)",
            sender,
            sender,
        )


def network_of(address: str) -> str:
    """What counts as one sender: an IPv4 address, the /64 of an IPv6 address, or unknown."""
    return _network(_parse(address))


def _network(address: Address | None) -> str:
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, _IPV6_CUSTOMER), strict=False))
    return str(address) if address else "unknown"


def _was_sent_directly(request: Request) -> bool:
    if any(name in _FORWARDED or name.startswith("x-forwarded-") for name in request.headers):
        return False
    # A foreign page may have a name that leads here (DNS rebinding); the browser then says that name.
    return request.url.hostname == "localhost" or getattr(_parse(request.url.hostname or ""), "is_loopback", False)


def _all(request: Request, name: str) -> list[str]:
    return [part.strip() for line in request.headers.getlist(name) for part in line.split(",") if part.strip()]


def _last(request: Request, name: str) -> str:
    return (_all(request, name) or [""])[-1].lower()


def _parse(text: str) -> Address | None:
    """An address as proxies write it: with a port, in brackets, IPv4 inside IPv6, with a zone."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
