"""Refuses to serve strangers with keys that are printed in a manual: anybody could sign in with them.

Everything else that is wrong with a secret is said, at the start and in ``GET /ready``, with the command that changes
it: a deployment that runs goes on running.
"""

from __future__ import annotations

import ipaddress
import logging
from typing import TYPE_CHECKING

from src.utils.secrets.command import manage, spell
from src.utils.secrets.errors import InvalidSecretError
from src.utils.secrets.judge import Origin, all_names, judge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from src.utils.secrets import SecretsManager
    from src.utils.secrets.catalog import Catalog
    from src.utils.secrets.judge import Objection

    from .settings import AppSettings

# With one of these somebody is let in. With others, such as the key of data that exists, a start is safer than none.
LETS_IN = ("SECRET_KEY", "JWT_SECRET_KEY", "WEBHOOK_SECRET", "ADMIN_PASSWORD")
ALLOW_SETTING = "SECRETS_ALLOW_WEAK"

_log = logging.getLogger(__name__)


def check_for_examples(
    manager: SecretsManager, catalog: Catalog, settings: AppSettings, environ: Mapping[str, str]
) -> None:
    """Refuse published examples as keys, and warn of everything else that is wrong with a secret.

    Examples may stay in development, which is a server for this machine alone without a database, and with
    ``SECRETS_ALLOW_WEAK=1``.

    Args:
        manager: Has the values.
        catalog: Says what each of them is.
        settings: Where the application listens, and whether it has a database.
        environ: The variables of the process.

    Raises:
        InvalidSecretError: One of them would let strangers in.
    """
    found = find_faults(manager, catalog)
    letting_in = [name for name in LETS_IN if any(one.is_example for one in found.get(name, ()))]
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
    warn_of_faults(found)


def find_faults(manager: SecretsManager, catalog: Catalog) -> dict[str, list[Objection]]:
    """What is wrong with the secrets, the gravest first, by name."""
    values = {name: value for name in catalog.names if (value := manager.get_secret(name))}
    names = all_names(catalog.secrets)
    found = {}
    for spec in catalog.secrets:
        if spec.name in values:
            objections = judge(spec, values[spec.name], Origin.STORE, names=names, others=values)
            if objections:
                found[spec.name] = objections
    return found


def describe_faults(found: Mapping[str, Sequence[Objection]]) -> list[str]:
    """What is wrong with each secret, and the command that changes it."""
    return [f"{name} {said[0].text}. Change it: {spell(manage('rotate', name))}" for name, said in found.items()]


def warn_of_faults(found: Mapping[str, Sequence[Objection]]) -> None:
    """Write them to the log."""
    for line in describe_faults(found):
        _log.warning("%s", line)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
