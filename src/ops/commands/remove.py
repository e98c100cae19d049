"""``remove``: take an optional secret out of the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from src.ops.lifecycle.edit import (
    remove_secrets,
    removed_names,
)
from src.ops.setup.in_use import require_set_up
from src.ops.store_kinds import load_secrets, open_store_to_change
from src.ops.terminal.ask import confirm_or_stop
from src.ops.terminal.screen import Screen

from .shared.completion_code import complete_name
from .shared.next_step import show_next
from .shared.options import deployment_options, yes_option

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment


@click.command("remove")
@click.argument("name", shell_complete=complete_name)
@yes_option
@deployment_options
def remove_command(name: str, yes: bool, deployment: Deployment) -> None:
    """Take an optional secret out of the store. Together with those that it is set with.

    \b
    Examples:
      ./scripts/manage_secrets.py remove SMTP_PASSWORD
    """
    require_set_up(deployment)
    store = open_store_to_change(deployment)
    snapshot = load_secrets(deployment, store)
    names = removed_names(deployment, store, snapshot, name)
    confirm_or_stop(f"Remove {' and '.join(names)}, with all previous values, permanently?", yes=yes)
    remove_secrets(deployment, store, snapshot, names)
    screen = Screen()
    screen.done(f"{' and '.join(names)} removed from {store.describe()}.")
    show_next(screen, deployment, can_ask=not yes)
