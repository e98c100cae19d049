"""``migrate``, ``diff``, ``backup`` and ``restore``: all the secrets at once."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import click

from src.ops.deployment.stores import load_if_any, open_writable_store
from src.ops.store_kinds.references import parse_reference
from src.ops.terminal.ask import confirm_or_stop
from src.ops.terminal.report import FAILED, DeclinedError
from src.ops.terminal.screen import Screen
from src.ops.terminal.usage import UsageError
from src.utils.secrets.errors import ConfigurationError
from src.utils.secrets.masterkey import read_master_key_file
from src.utils.secrets.settings import read_value_file

from .options import deployment_options, json_option, yes_option

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment
    from src.ops.lifecycle.backup import Lock
    from src.ops.lifecycle.migrate import Migration

STORES = "file, file:PATH, aws, aws:REGION/ID, vault, vault:MOUNT/PATH, azure, azure:URL, env"
_WORD = "delete"


@click.command("migrate")
@click.option("--from", "source", metavar="STORE", help="Where the secrets are; the store in use when left out.")
@click.option("--to", "target", metavar="STORE", required=True, help=f"Where they go: {STORES}.")
@click.option("--from-key-file", metavar="PATH", help="Master key of the source, if it is another encrypted file.")
@click.option("--to-key-file", metavar="PATH", help="Master key of the target; read if it is there, else written.")
@click.option("--apply", "is_applied", is_flag=True, help="Do it; without this, only show what would be done.")
@click.option("--delete-source", is_flag=True, help="Empty the source at the end; asks for the word.")
@json_option
@yes_option
@deployment_options
def migrate_command(
    source: str | None,
    target: str,
    from_key_file: str | None,
    to_key_file: str | None,
    is_applied: bool,
    delete_source: bool,
    as_json: bool,
    yes: bool,
    deployment: Deployment,
) -> None:
    """Move the secrets from one store to another. That one is used from then on.

    Shows what it would do; --apply does it. The old store keeps everything unless --delete-source is given. After an
    interruption, the same command goes on.

    \b
    Examples:
      ./scripts/manage_secrets.py migrate --to aws
      ./scripts/manage_secrets.py migrate --to vault:secret/cctv --apply
      ./scripts/manage_secrets.py migrate --from file:old.enc --from-key-file old.key --to file --apply
    """
    from src.ops.lifecycle.migrate import SamePlaceError, migrate, plan_migration
    from src.ops.lifecycle.migrate import delete_source as empty_source

    deployment.require_set_up()
    if any(text and text.startswith("environment:") for text in (source, target)):
        raise UsageError("Another environment's secrets are its own; use diff to compare, backup to copy")
    origin = parse_reference(source or deployment.settings().backend.value, deployment, key_file=from_key_file)
    goal = parse_reference(target, deployment, key_file=to_key_file)
    screen = Screen()
    try:
        migration = plan_migration(origin, goal)
    except SamePlaceError:
        if source is not None:
            raise
        # What an interrupted run finds that had come to its end.
        screen.done(f"{origin.open().describe()} is the store in use already.")
        screen.say("To empty the one before: --from STORE --delete-source --apply")
        return
    _show_migration(screen, migration, as_json=as_json)
    if not is_applied:
        if not as_json:
            screen.say("Dry run: nothing was written. Add --apply to do it.")
        return
    question = "Move them, and use the new store from now on?"
    if migration.differing:
        question = f"{len(migration.differing)} values that are there now will be replaced. Move them?"
    confirm_or_stop(question, yes=yes, default=not migration.differing)
    if delete_source:
        _ask_for_the_word(migration)
    with screen.progress("Copying", len(migration.written)) as progress:
        migrate(deployment, migration, progress)
    screen.done(f"{migration.target_store.describe()} has every secret, read back and compared, and is in use now.")
    if delete_source:
        empty_source(deployment, migration)
        screen.done(f"{migration.source_store.describe()} has been emptied.")
    else:
        screen.say(f"{migration.source_store.describe()} is as it was.")
    screen.commands("Next:", [f"./scripts/generate_docker_secrets.sh{deployment.command_flag} --check"])


@click.command("diff")
@click.option("--from", "source", metavar="STORE", help="The one; the store in use when left out.")
@click.option("--to", "target", metavar="STORE", required=True, help=f"The other: {STORES}, environment:NAME.")
@click.option("--from-key-file", metavar="PATH", help="Master key of the one, if it is another encrypted file.")
@click.option("--to-key-file", metavar="PATH", help="Master key of the other, if it is another encrypted file.")
@json_option
@deployment_options
def diff_command(
    source: str | None,
    target: str,
    from_key_file: str | None,
    to_key_file: str | None,
    as_json: bool,
    deployment: Deployment,
) -> int:
    """Compare two stores by name. No value is shown. Exit code 1 when they differ.

    \b
    Examples:
      ./scripts/manage_secrets.py diff --to vault
      ./scripts/manage_secrets.py diff --to environment:staging
    """
    from src.ops.values.fingerprint import compare, fingerprint

    deployment.require_set_up()
    left = parse_reference(source or deployment.settings().backend.value, deployment, key_file=from_key_file).open()
    right = parse_reference(target, deployment, key_file=to_key_file).open()
    mine, theirs = load_if_any(left).values, load_if_any(right).values
    states = compare(mine, theirs)
    if as_json:
        click.echo(json.dumps(states, indent=2))
    else:
        screen = Screen()
        screen.say(f"left:  {left.describe()}", f"right: {right.describe()}", "")
        rows = [
            (name, *(fingerprint(value) if (value := side.get(name)) else "-" for side in (mine, theirs)), state)
            for name, state in states.items()
        ]
        screen.table(("Secret", "Left", "Right", "State"), rows, last="left")
        screen.say(
            "", "Equal marks mean equal values. The marks are made with a key of this run and are of no other use."
        )
    return FAILED if any(state != "same" for state in states.values()) else 0


@click.command("backup")
@click.option("--output", metavar="FILE", help="A new file, or a folder; left out: a folder of your own.")
@click.option("--passphrase-file", metavar="PATH", help="Read the passphrase from a file.")
@click.option("--key-file", metavar="PATH", help="Encrypt with the Fernet key in a file, in place of a passphrase.")
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

    deployment.require_set_up()
    path = default_backup_path(deployment)
    if output:
        given = os.path.abspath(os.path.expanduser(output))
        path = os.path.join(given, os.path.basename(path)) if os.path.isdir(given) else given
    if os.path.lexists(path):
        raise ConfigurationError(
            f"{path} exists already", hint="Give another name: --output PATH\nOr move that file away first"
        )
    store = open_writable_store(deployment)
    store.load()
    lock = _read_lock(passphrase_file, key_file, deployment, is_new=True)
    screen = Screen()
    with screen.working("Encrypting"):  # scrypt takes its time, which is its purpose
        count = make_backup(deployment, store, lock, path)
    screen.done(f"{count} secrets in {deployment.shown(path)}, read back and compared.")
    screen.say("Keep it, and what opens it, away from this machine and away from each other.")
    screen.commands("To bring it back:", [f"./scripts/manage_secrets.py restore {path}{deployment.command_flag}"])


@click.command("restore")
@click.argument("path", metavar="FILE")
@click.option("--passphrase-file", metavar="PATH", help="Read the passphrase from a file.")
@click.option("--key-file", metavar="PATH", help="The key file that it was made with.")
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
    """Bring a backup's secrets into the store in use.

    On a new machine run `make secrets` first: it makes the store that they go to.

    \b
    Examples:
      ./scripts/manage_secrets.py restore secrets.backup --dry-run
      ./scripts/manage_secrets.py restore secrets.backup
    """
    from src.ops.lifecycle.backup import read_backup
    from src.ops.lifecycle.restore import plan_restore, restore_backup

    deployment.require_set_up()
    lock = _read_lock(passphrase_file, key_file, deployment, is_new=False)
    screen = Screen()
    with screen.working("Opening the backup"):
        backup = read_backup(path, lock)
    store = open_writable_store(deployment)
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
    screen.commands("Next:", [f"./scripts/generate_docker_secrets.sh{deployment.command_flag}"])


def _show_migration(screen: Screen, migration: Migration, *, as_json: bool) -> None:
    source, target = migration.source_store.describe(), migration.target_store.describe()
    if as_json:
        click.echo(json.dumps({"from": source, "to": target, "secrets": migration.states}, indent=2))
        return
    screen.say(f"from: {source}", f"to:   {target}", "")
    screen.table(("Secret", "In the target"), list(migration.states.items()), last="left")


def _ask_for_the_word(migration: Migration) -> None:
    if not sys.stdin.isatty():
        given = sys.stdin.readline().strip()
    else:
        from src.ops.terminal.prompts import ask_text

        given = ask_text(f"To empty {migration.source_store.describe()} afterwards, type '{_WORD}':").strip()
    if given != _WORD:
        raise DeclinedError("The word was not given; nothing was changed", hint=f"Type: {_WORD}")


def _read_lock(passphrase_file: str | None, key_file: str | None, deployment: Deployment, *, is_new: bool) -> Lock:
    from src.ops.lifecycle.backup import Lock

    if passphrase_file and key_file:
        raise UsageError("--passphrase-file or --key-file, not both")
    if key_file:
        return Lock(key=read_master_key_file(os.path.expanduser(key_file), "--key-file"))
    if passphrase_file:
        return Lock(passphrase=read_value_file(os.path.expanduser(passphrase_file), "--passphrase-file"))
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("Without a terminal, give --passphrase-file or --key-file")
    from src.ops.terminal.prompts import ask_secret, ask_secret_twice
    from src.ops.values.strength import weakness

    if not is_new:
        return Lock(passphrase=ask_secret("Passphrase of the backup:"))
    known = [deployment.catalog.application, deployment.catalog.slug]
    return Lock(passphrase=ask_secret_twice("A passphrase for the backup:", check=lambda text: weakness(text, known)))
