"""``rotate-master-key``: a new key for the encrypted file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from src.ops.setup.in_use import require_set_up
from src.ops.terminal.ask import confirm_or_stop
from src.ops.terminal.screen import Screen
from src.utils.secrets.command import manage

from .shared.options import deployment_options, yes_option

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment


@click.command("rotate-master-key")
@click.option("--forget", is_flag=True, help="Remove the old keys that earlier rotations kept.")
@yes_option
@deployment_options
def rotate_master_key_command(forget: bool, yes: bool, deployment: Deployment) -> None:
    """Encrypt the file under a new master key. There is no moment at which a reader cannot open it.

    The old key is kept beside the new one until --forget, for backups of the old file.

    \b
    Examples:
      ./scripts/manage_secrets.py rotate-master-key
      ./scripts/manage_secrets.py rotate-master-key --forget    # later: remove the old key
    """
    from src.ops.lifecycle.rotate_master_key import (
        forget_old_keys,
        forgotten_files,
        plan_master_key_rotation,
        rotate_master_key,
    )

    require_set_up(deployment)
    rotation = plan_master_key_rotation(deployment)
    screen = Screen()
    if forget:
        files = forgotten_files(rotation) if rotation.key_file else []
        if not files:
            screen.done("No old key is kept.")
            return
        screen.say(
            "To be removed, the old keys and what only they open:", *(f"  {deployment.shown(path)}" for path in files)
        )
        confirm_or_stop("Remove them permanently?", yes=yes, default=False)
        for path in forget_old_keys(deployment, rotation):
            screen.done(f"Removed {deployment.shown(path)}")
        return
    screen.say(f"Secrets:    {deployment.shown(rotation.path)}")
    if rotation.key_file:
        screen.say(f"Master key: {deployment.shown(rotation.key_file)}")
    if rotation.is_resumed:
        screen.warn("The key file holds two keys: an earlier run was interrupted. This one finishes it.")
    confirm_or_stop("Encrypt it under the new key now?", yes=yes)
    old_file = rotate_master_key(deployment, rotation)
    screen.done("Encrypted under the new key, and read back with that key alone.")
    if old_file is None:
        screen.say("Now put the new key alone where the master key comes from.")
        return
    screen.say(f"The old key is kept in {deployment.shown(old_file)}, for copies of the old file.")
    screen.commands("When you no longer need it:", [manage("rotate-master-key", "--forget")])
    screen.say("", "Keep a copy of the new master key away from this machine.")
