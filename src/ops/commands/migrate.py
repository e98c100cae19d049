"""``migrate``: move the secrets to another store."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from src.ops.setup.in_use import require_set_up
from src.ops.store_kinds import open_store
from src.ops.store_kinds.named_stores import names_environment, parse_store_name, reference_forms
from src.ops.terminal.ask import confirm_or_stop
from src.ops.terminal.report import DeclinedError
from src.ops.terminal.screen import Screen
from src.ops.terminal.usage import UsageError
from src.utils.secrets.command import manage
from src.utils.secrets.errors import ConfigurationError

from .shared.next_step import show_next
from .shared.options import deployment_options, json_option, yes_option

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment
    from src.ops.lifecycle.migrate import Migration
    from src.ops.store_kinds.named_stores import NamedStore
    from src.utils.secrets.snapshot import Snapshot


_WORD = "delete"


@click.command("migrate")
@click.option("--from", "source", metavar="STORE", help="Where the secrets are; the store in use when left out.")
@click.option("--to", "target", metavar="STORE", required=True, help=f"Where they go: {reference_forms()}.")
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

    require_set_up(deployment)
    if any(text and names_environment(text) for text in (source, target)):
        raise UsageError("Another environment's secrets are its own; use diff to compare, backup to copy")
    origin = parse_store_name(source or deployment.settings().backend.value, deployment, key_file=from_key_file)
    goal = parse_store_name(target, deployment, key_file=to_key_file)
    screen = Screen()
    try:
        migration = plan_migration(origin, goal)
    except SamePlaceError:
        if source is not None:
            raise
        _show_finished(screen, deployment, origin, target, is_applied=is_applied)
        return
    if delete_source:
        _refuse_losses(deployment, migration)
    _show_migration(screen, deployment, migration, as_json=as_json)
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
    _show_kept(screen, deployment, migration)
    if delete_source:
        empty_source(deployment, migration)
        screen.done(f"{migration.source_store.describe()} has been emptied.")
    else:
        screen.say(f"{migration.source_store.describe()} is unchanged.")
    show_next(screen, deployment, can_ask=not yes)


def _show_migration(screen: Screen, deployment: Deployment, migration: Migration, *, as_json: bool) -> None:
    source, target = migration.source_store.describe(), migration.target_store.describe()
    if as_json:
        click.echo(json.dumps({"from": source, "to": target, "secrets": migration.states}, indent=2))
        return
    screen.say(f"from: {source}", f"to:   {target}", "")
    screen.table(("Secret", "In the target"), list(migration.states.items()), last="left")
    if migration.key is not None and migration.key.new_file is not None:
        screen.say(f"A new master key is written to {deployment.shown(migration.key.new_file)}.")
    if migration.left_behind:
        names = ", ".join(migration.left_behind)
        screen.warn(f"{names}: earlier values are still accepted, and stay behind; the target keeps none.")
    settings, dotenv = (deployment.shown(path) for path in (deployment.settings_file, deployment.compose_file))
    if migration.target.kind.is_dotenv and settings != dotenv:
        screen.say(
            f"{settings} is kept as {settings}.before-migration; its lines that are not about a store go to {dotenv}."
        )
    else:
        screen.say(f"{settings} names the new store; its other lines stay.")


def _show_finished(
    screen: Screen, deployment: Deployment, origin: NamedStore, target: str, *, is_applied: bool
) -> None:
    """What an interrupted run finds that had come to its end; only the summary may be of before."""
    store = origin.open()
    screen.done(f"{store.describe()} is the store in use already.")
    if is_applied:
        _update_summary(screen, deployment, store.load())
    again = manage("migrate", "--from", "STORE", "--to", target, "--delete-source", "--apply")
    screen.commands("To empty the previous store:", [again])


def _refuse_losses(deployment: Deployment, migration: Migration) -> None:
    """Empty no source that has something which the target does not get.

    Raises:
        ConfigurationError: It has.
    """
    if migration.left_behind:
        raise ConfigurationError(
            f"{', '.join(migration.left_behind)}: earlier values are still accepted, and the target keeps none",
            hint="Leave --delete-source out, and keep the source for as long as old data may need them",
        )
    in_use = open_store(deployment).describe()
    if migration.differing and migration.target_store.describe() == in_use:
        raise ConfigurationError(
            f"{in_use} is in use, and has other values than the source: {', '.join(migration.differing)}. "
            "The source may be of before they were changed; nothing was written",
            hint="If the values in use are right, put the source away by hand",
        )


def _show_kept(screen: Screen, deployment: Deployment, migration: Migration) -> None:
    """What else is written, and what to keep."""
    _update_summary(screen, deployment, migration.source_snapshot)
    if migration.key is not None and migration.key.new_file is not None:
        screen.warn(
            f"The master key is in {deployment.shown(migration.key.new_file)}. "
            "Keep a copy of it away from this machine."
        )


def _update_summary(screen: Screen, deployment: Deployment, snapshot: Snapshot) -> None:
    from src.ops.setup.summary import update_summary

    fault = update_summary(deployment, [name for name, value in snapshot.values.items() if value])
    if fault:
        screen.warn(fault)


def _ask_for_the_word(migration: Migration) -> None:
    if not sys.stdin.isatty():
        given = sys.stdin.readline().strip()
    else:
        from src.ops.terminal.prompts import ask_text

        given = ask_text(f"To empty {migration.source_store.describe()} afterwards, type '{_WORD}':").strip()
    if given != _WORD:
        raise DeclinedError("The word was not typed; nothing was changed", hint=f"Type: {_WORD}")
