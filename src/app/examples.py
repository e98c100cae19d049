"""Refuses to serve strangers with keys that are printed in a manual: anybody could sign in with them."""

from __future__ import annotations

import ipaddress
import logging
from typing import TYPE_CHECKING

from src.utils.secrets.command import manage
from src.utils.secrets.errors import InvalidSecretError
from src.utils.secrets.placeholders import is_example_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from src.utils.secrets import SecretsManager
    from src.utils.secrets.catalog import Catalog

    from .settings import AppSettings

# With one of these somebody is let in. With others, such as the key of data that exists, a start is safer than none.
LETS_IN = ("SECRET_KEY", "JWT_SECRET_KEY", "WEBHOOK_SECRET", "ADMIN_PASSWORD")
ALLOW_SETTING = "SECRETS_ALLOW_WEAK"

_log = logging.getLogger(__name__)


def check_for_examples(
    manager: SecretsManager, catalog: Catalog, settings: AppSettings, environ: Mapping[str, str]
) -> None:
    """Refuse published examples as keys, and warn of them where they may stay.

    They may in development, which is a server for this machine alone without a database, and with
    ``SECRETS_ALLOW_WEAK=1``.

    Args:
        manager: Has the values.
        catalog: Says which of them are generated; what people choose or providers issue is not judged.
        settings: Where the application listens, and whether it has a database.
        environ: The variables of the process.

    Raises:
        InvalidSecretError: One of them would let strangers in.
    """
    examples = [spec.name for spec in catalog.secrets if is_example_of(spec, manager.get_secret(spec.name))]
    letting_in = [name for name in examples if name in LETS_IN]
    is_development = settings.database_host is None and _is_loopback(settings.host)
    if letting_in and not is_development and environ.get(ALLOW_SETTING) != "1":
        are = "is a published example" if len(letting_in) == 1 else "are published examples"
        raise InvalidSecretError(
            f"The application does not start: {', '.join(letting_in)} {are}, with which anybody can sign in",
            hint=[
                manage("rotate", *letting_in, purpose="Make new values"),
                f"To start once all the same, on a network that you trust: {ALLOW_SETTING}=1",
            ],
        )
    for name in examples:
        _log.warning("%s is a published example that everybody can know: rotate it", name)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
