"""``restore``: a backup's secrets back into the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from src.ops.setup.in_use import require_set_up
from src.ops.store_kinds import open_store_to_change
from src.ops.terminal.ask import confirm_or_stop
from src.ops.terminal.screen import Screen
from src.utils.secrets.changes import load_if_any

from .shared.backup_lock import read_lock
from .shared.next_step import show_next
from .shared.options import deployment_options, yes_option

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment


@click.command("restore")
@click.argument("path", metavar="FILE")
@click.option("--passphrase-file", metavar="PATH|-", help="Read the passphrase from a file.")
@click.option("--key-file", metavar="PATH|-", help="The key file that it was made with.")
@click.option("--keep", is_flag=True, help="Leave values alone that are there and differ.")
@click.option("--dry-run", is_flag=True, help="Open it and compare; write nothing.")
@yes_option
@deployment_options
def restore_command(
    path: str,
    passphrase_file: str | None,
    key_file: str | None,
    keep: bool,
    dry_run: bool,
    yes: bool,
    deployment: Deployment,
) -> None:
    """Restore a backup's secrets into the store in use.

    On a new machine run `make secrets` first: it makes the store that they go to.

    \b
    Examples:
      ./scripts/manage_secrets.py restore secrets.backup --dry-run
      ./scripts/manage_secrets.py restore secrets.backup
    """
    from src.ops.lifecycle.backup import read_backup
    from src.ops.lifecycle.restore import plan_restore, restore_backup
    from src.ops.setup.summary import update_summary

    require_set_up(deployment)
    lock = read_lock(passphrase_file, key_file, deployment, is_new=False)
    screen = Screen()
    with screen.working("Opening the backup"):
        backup = read_backup(path, lock)
    store = open_store_to_change(deployment)
    screen.say(f"{path}: {backup.application}, {backup.environment}, made {backup.created_at}")
    if (backup.application, backup.environment) != (deployment.catalog.slug, deployment.environment):
        screen.warn(f"It is not a backup of this deployment ({deployment.catalog.slug}, {deployment.environment}).")
    states = plan_restore(backup, load_if_any(store))
    screen.table(("Secret", "In the store"), list(states.items()), last="left")
    if dry_run:
        screen.say("Dry run: nothing was written.")
        return
    confirm_or_stop(f"Write them to {store.describe()}?", yes=yes)
    names = restore_backup(deployment, store, backup, keep_present=keep)
    if not names:
        screen.say("Every value is there already; nothing was written.")
        return
    screen.done(f"Written and read back: {', '.join(names)}")
    fault = update_summary(deployment, backup.snapshot.values)
    if fault:
        screen.warn(fault)
    show_next(screen, deployment, can_ask=not yes)
