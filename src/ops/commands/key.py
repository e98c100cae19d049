"""``key``: whether a copy of the master key is right, giving one back, and where the one in use is."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from src.ops.setup.in_use import kind_expected
from src.ops.setup.near_keys import key_in_use, opens
from src.ops.setup.traces import copies_of
from src.ops.terminal.ask import confirm_or_stop
from src.ops.terminal.report import DONE
from src.ops.terminal.screen import Screen
from src.ops.terminal.usage import UsageError
from src.utils.secrets.command import manage
from src.utils.secrets.errors import ConfigurationError, StoreError
from src.utils.secrets.masterkey import load_master_key
from src.utils.secrets.settings import SecretsBackend

from .shared.command_group import CommandGroup
from .shared.given_keys import ask_for_key, read_key
from .shared.options import deployment_options, yes_option

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment
    from src.utils.secrets.masterkey import MasterKey

key_file_option = click.option(
    "--key-file", metavar="PATH|-", help="Read the key from a file; asked for when left out."
)


@click.group("key", cls=CommandGroup)
def key_command() -> None:
    """Check the master key, or give it back.

    \b
    Examples:
      ./scripts/manage_secrets.py key verify     # is my copy right?
      ./scripts/manage_secrets.py key paste      # the key file is lost, and I have a copy
      ./scripts/manage_secrets.py key path
    """


@key_command.command("verify")
@key_file_option
@deployment_options
def verify_command(key_file: str | None, deployment: Deployment) -> int:
    """Check that a copy of the master key is right. Nothing is written.

    \b
    Example:
      ./scripts/manage_secrets.py key verify
    """
    path = _encrypted_file(deployment)
    key = _given_key(key_file)
    screen = Screen()
    if opens(key, path):
        screen.done(f"This key (id {key.ids[0]}) opens {deployment.shown(path)}. Your copy is right.")
        return DONE
    raise _wrong_key(deployment, path, key)


@key_command.command("paste")
@key_file_option
@yes_option
@deployment_options
def paste_command(key_file: str | None, yes: bool, deployment: Deployment) -> int:
    """Give the master key back: checked against the encrypted file, and written to its own file.

    \b
    Example:
      ./scripts/manage_secrets.py key paste
    """
    from src.ops.lifecycle.rescue import FILE, plan_rescue, search
    from src.ops.setup.apply import apply_setup

    path = _encrypted_file(deployment)
    screen = Screen()
    in_use = key_in_use(deployment)
    if in_use is not None and opens(in_use, path):
        screen.done(f"The key in {deployment.shown(in_use.source)} opens {deployment.shown(path)}; nothing is missing.")
        return DONE
    key = _given_key(key_file)
    if not opens(key, path):
        raise _wrong_key(deployment, path, key)
    found = search(deployment, [key])
    source = next(source for source in found.sources if source.name == FILE)
    rescue = plan_rescue(deployment, found.inspection, source)
    assert rescue.found.key is not None
    assert rescue.found.key.file is not None
    shown = deployment.shown(rescue.found.key.file)
    screen.say(f"This key (id {key.ids[0]}) opens {deployment.shown(path)}.")
    if rescue.found.key.is_new:
        confirm_or_stop(f"Write it to {shown}?", yes=yes)
    apply_setup(deployment, rescue.found, rescue.plan, action="key paste")
    screen.done(f"{shown} has the key, and {deployment.shown(deployment.settings_file)} names it.")
    screen.warn("Keep a copy of the master key away from this machine.")
    screen.commands("Next:", [manage("status")])
    return DONE


@key_command.command("path")
@deployment_options
def path_command(deployment: Deployment) -> int:
    """Show where the master key comes from, its id, and whether it opens the encrypted file. Never the key.

    \b
    Example:
      ./scripts/manage_secrets.py key path
    """
    path = _encrypted_file(deployment)
    key = load_master_key(deployment.settings(SecretsBackend.FILE).environ)
    screen = Screen()
    where = deployment.shown(key.source) if os.path.isabs(key.source) else key.source
    screen.say(f"Master key: {where} (id {', '.join(key.ids)})")
    if not opens(key, path):
        raise _wrong_key(deployment, path, key)
    screen.done(f"It opens {deployment.shown(path)}.")
    return DONE


def _encrypted_file(deployment: Deployment) -> str:
    """The path of the encrypted file.

    Raises:
        ConfigurationError: The store in use is another one.
        StoreError: It is not there.
    """
    settings = deployment.settings(SecretsBackend.FILE)
    kind = kind_expected(deployment)
    if not kind.has_master_key:
        raise ConfigurationError(
            f"{kind.title} has no master key; only the encrypted file has one", hint=manage("status")
        )
    if not os.path.isfile(settings.file_path):
        raise StoreError(
            f"There is no encrypted file to try a key on: {deployment.shown(settings.file_path)}",
            hint=manage("rescue", purpose="See what can be restored"),
        )
    return settings.file_path


def _given_key(key_file: str | None) -> MasterKey:
    if key_file is not None:
        return read_key(key_file)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("Without a terminal, give --key-file PATH, or --key-file - and the key on standard input")
    return ask_for_key()


def _wrong_key(deployment: Deployment, path: str, key: MasterKey) -> StoreError:
    shown = deployment.shown(path)
    expected = deployment.variables().get("SECRETS_MASTER_KEY_ID")
    if expected in key.ids:
        return StoreError(
            f"This key (id {expected}) is the one of {shown}, but the file is damaged. Keep your copy",
            hint=manage("rescue", purpose="See what can be restored"),
        )
    written = f"; it was written with key {expected}" if expected and expected not in key.ids else ""
    older = [deployment.shown(copy) for copy in copies_of(path) if opens(key, copy)]
    also = f". It opens {', '.join(older)}" if older else ""
    return StoreError(
        f"This key (id {key.ids[0]}) does not open {shown}{written}{also}",
        hint=manage("rescue", purpose="See what can be restored, and with which key"),
    )
