"""``backup``: all secrets in one encrypted file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from src.ops.setup.in_use import require_set_up
from src.ops.store_kinds import load_secrets, open_store
from src.ops.terminal.screen import Screen
from src.utils.secrets.atomicfile import keeps_modes
from src.utils.secrets.command import manage
from src.utils.secrets.errors import ConfigurationError

from .shared.backup_lock import read_lock
from .shared.options import deployment_options

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment


@click.command("backup")
@click.option("--output", metavar="FILE", help="A new file, or a folder; left out: a folder of your own.")
@click.option("--passphrase-file", metavar="PATH|-", help="Read the passphrase from a file.")
@click.option("--key-file", metavar="PATH|-", help="Encrypt with the Fernet key in a file, in place of a passphrase.")
@deployment_options
def backup_command(
    output: str | None, passphrase_file: str | None, key_file: str | None, deployment: Deployment
) -> None:
    """Write all secrets into one encrypted file. It needs neither this machine nor the store to be read again.

    \b
    Examples:
      ./scripts/manage_secrets.py backup
      ./scripts/manage_secrets.py backup --output /mnt/usb/secrets.backup
    """
    from src.ops.lifecycle.backup import default_backup_path, make_backup

    require_set_up(deployment)
    path = default_backup_path(deployment)
    if output:
        given = os.path.abspath(os.path.expanduser(output))
        path = os.path.join(given, os.path.basename(path)) if os.path.isdir(given) else given
    if os.path.lexists(path):
        raise ConfigurationError(
            f"{path} exists already", hint=["Give another name: --output PATH", "Or move that file away first"]
        )
    store = open_store(deployment)
    load_secrets(deployment, store)
    lock = read_lock(passphrase_file, key_file, deployment, is_new=True)
    screen = Screen()
    with screen.working("Encrypting"):  # scrypt takes its time, which is its purpose
        count = make_backup(deployment, store, lock, path)
    screen.done(f"{count} secrets in {deployment.shown(path)}, read back and compared.")
    if not keeps_modes(path):
        screen.warn("That disk keeps no modes: anyone who can use it can copy the file. What is in it stays encrypted.")
    screen.say("Keep it, and what opens it, away from this machine and away from each other.")
    named = {"--passphrase-file": passphrase_file, "--key-file": key_file}
    options = [word for option, file in named.items() if file and file != "-" for word in (option, _absolute(file))]
    screen.commands("To restore it:", [manage("restore", path, *options)])


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))
