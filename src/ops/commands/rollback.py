"""``rollback``: the previous value again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from src.ops.lifecycle.edit import (
    earlier_value,
    save_values,
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


@click.command("rollback")
@click.argument("name", shell_complete=complete_name)
@yes_option
@deployment_options
def rollback_command(name: str, yes: bool, deployment: Deployment) -> None:
    """Restore the previous value of a secret. Running it again undoes that.

    \b
    Examples:
      ./scripts/manage_secrets.py rollback JWT_SECRET_KEY
    """
    require_set_up(deployment)
    spec = deployment.find_secret(name)
    store = open_store_to_change(deployment)
    snapshot = load_secrets(deployment, store)
    value = earlier_value(store, snapshot, name)
    screen = Screen()
    if spec.change_note:
        screen.warn(f"{name}: {spec.change_note}")
    confirm_or_stop(f"Restore the previous value of {name}?", yes=yes)
    save_values(deployment, store, {name: value}, command="rollback", expected_revision=snapshot.revision)
    screen.done(f"{name} in {store.describe()} has its previous value again.")
    show_next(screen, deployment, can_ask=not yes)
