"""Which values a command hands out, and where to."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from src.ops.store_kinds import load_secrets, open_store
from src.ops.terminal.usage import UsageError
from src.utils.secrets.command import manage

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment


def chosen_values(deployment: Deployment, only: tuple[str, ...]) -> dict[str, str]:
    values = load_secrets(deployment, open_store(deployment)).values
    names = [deployment.find_secret(name).name for name in only] or deployment.catalog.names
    chosen = {name: value for name in names if (value := values.get(name)) is not None}
    missing = [name for name in only if name not in chosen]
    if missing:
        from src.utils.secrets.errors import SecretNotFoundError

        raise SecretNotFoundError(
            f"{', '.join(missing)} is not set", hint=[manage("set", name) for name in missing], names=missing
        )
    return chosen


def refuse_screen(what: str, show: bool) -> None:
    if sys.stdout.isatty() and not show:
        raise UsageError(f"{what} is not printed to a terminal; add --show to allow it")
