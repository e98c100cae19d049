"""``environment``: the deployments beside each other: which there are, and removing one with all that belongs to it."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from src.ops.terminal.report import DeclinedError, WrongUsageError
from src.ops.terminal.screen import Screen
from src.ops.terminal.usage import UsageError
from src.utils.secrets.command import manage, spell, spell_for
from src.utils.secrets.settings import PRODUCTION, is_environment_name

from .shared.command_group import CommandGroup
from .shared.options import deployment_options, json_option

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment
    from src.ops.lifecycle.belongings import Belonging
    from src.ops.lifecycle.environment import Removal


@click.group("environment", cls=CommandGroup)
def environment_command() -> None:
    """List the environments, or remove one. With its files, key, containers, volumes and remote secret.

    \b
    Examples:
      ./scripts/manage_secrets.py environment list
      ./scripts/manage_secrets.py environment remove staging --dry-run
      ./scripts/manage_secrets.py environment remove staging
    """


@environment_command.command("list")
@json_option
@deployment_options
def list_command(as_json: bool, deployment: Deployment) -> None:
    """List the environments of this project.

    \b
    Examples:
      ./scripts/manage_secrets.py environment list
    """
    from src.ops.lifecycle.belongings import at, find_environments

    found = [at(deployment, name) for name in find_environments(deployment)]
    rows = [(one.environment, _store_of(one), one.shown(one.settings_file)) for one in found]
    if as_json:
        names = ("environment", "store", "settings")
        click.echo(json.dumps([dict(zip(names, row, strict=True)) for row in rows], indent=2))
        return
    screen = Screen()
    if not rows:
        screen.say("No environment is set up here.")
        return
    screen.table(("Environment", "Store", "Settings"), rows, last="left")


@environment_command.command("remove")
@click.argument("name")
@click.option("--confirm", metavar="NAME", help="The environment's name once more, in place of typing it.")
@click.option("--dry-run", is_flag=True, help="Only show what belongs to it.")
@click.option("--local", "is_local", is_flag=True, help="Leave containers, volumes and the remote secret alone.")
@click.option("--keep-key", "keeps_key", is_flag=True, help="Keep the master key, for copies that it opens.")
@click.option("-y", "--yes", is_flag=True, help="Answers nothing here: the name is always asked for.")
@json_option
@deployment_options
def remove_command(
    name: str,
    confirm: str | None,
    dry_run: bool,
    is_local: bool,
    keeps_key: bool,
    yes: bool,  # noqa: ARG001 - it answers no typed word
    as_json: bool,
    deployment: Deployment,
) -> None:
    """Remove an environment. Shows all that belongs to it, asks for its name, and removes or names each thing.

    Backups, and what another environment uses too, are kept. After an interruption, the same command goes on.

    \b
    Examples:
      ./scripts/manage_secrets.py environment remove staging
      ./scripts/manage_secrets.py environment remove staging --confirm staging
    """
    from src.ops.lifecycle.environment import plan_removal, removal_command, remove_environment

    own = _named(deployment, name)
    removal = plan_removal(own, is_local=is_local, keeps_key=keeps_key)
    spell_for(own.spelling)  # only now it is known to be the name of an environment
    if confirm is not None and confirm != name:
        raise WrongUsageError(
            "--confirm does not repeat the name of the environment",
            hint=removal_command(own, "--confirm", name, purpose="Repeat it"),
        )
    screen = Screen()
    screen.is_silent = as_json
    _show(screen, removal)
    if dry_run or confirm is None:
        _print_json(removal, as_json=as_json, is_done=False)
    if dry_run:
        screen.say("", "Dry run: nothing was removed.")
        return
    if removal.troubles:
        raise removal.troubles[0]
    if not removal.removed:
        screen.say("", "Nothing is left to remove.")
        return
    if confirm is None:
        _ask_for_the_name(own, is_silent=as_json)
    remove_environment(removal, screen.done)
    screen.done(f"The environment {own.environment} is removed.")
    _print_json(removal, as_json=as_json, is_done=True)
    _show_what_is_left(screen, removal)


def _named(deployment: Deployment, name: str) -> Deployment:
    """The deployment called ``name``."""
    from src.ops.lifecycle.belongings import at

    if not is_environment_name(name):
        raise UsageError(
            "The name cannot be the one of an environment", hint=manage("environment", "list", purpose="See which are")
        )
    if deployment.environment not in (name, PRODUCTION):
        raise UsageError("NAME and --environment name two environments; give one of them")
    named = at(deployment, name)
    if deployment.settings_file == deployment.usual_settings_file:
        return named
    return replace(named, settings_file=deployment.settings_file)  # what --env-file has named


def _ask_for_the_name(own: Deployment, *, is_silent: bool) -> None:
    from src.ops.lifecycle.environment import removal_command

    if is_silent or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise WrongUsageError(
            "This asks for the name of the environment and needs a terminal",
            hint=removal_command(own, "--confirm", own.environment, purpose="Without one"),
        )
    from src.ops.terminal.prompts import ask_text

    if ask_text(f"To remove it, type the name of the environment ({own.environment}):").strip() != own.environment:
        raise DeclinedError("The name was not typed; nothing was removed", hint=f"Type: {own.environment}")


def _show(screen: Screen, removal: Removal) -> None:
    own = removal.deployment
    screen.say(f"{own.catalog.application} ({own.environment}): {own.project_directory}")
    for heading, rows in (("To remove:", removal.removed), ("To keep:", removal.kept)):
        if rows:
            screen.say("", heading)
        for row in rows:
            screen.say(f"  {row.kind}: {row.place}{f' ({row.why})' if row.why else ''}")


def _show_what_is_left(screen: Screen, removal: Removal) -> None:
    hints = [*(hint for row in removal.kept for hint in row.hints), *removal.hints_afterwards]
    if removal.kept:
        screen.say("", "Kept:", *(f"  {row.kind}: {row.place}" for row in removal.kept))
    if hints:
        screen.commands("If you do not need it any more:", hints)


def _print_json(removal: Removal, *, as_json: bool, is_done: bool) -> None:
    if as_json:
        rows = [_row(row) for row in removal.rows]
        afterwards = [spell(hint) for hint in removal.hints_afterwards]
        content = {"environment": removal.deployment.environment, "removed": is_done, "rows": rows}
        click.echo(json.dumps(content | {"afterwards": afterwards}, indent=2))


def _row(row: Belonging) -> dict[str, object]:
    commands = [spell(hint) for hint in row.hints]
    action = "keep" if row.is_kept else "remove"
    return {"kind": row.kind, "place": row.place, "action": action, "why": row.why, "commands": commands}


def _store_of(deployment: Deployment) -> str:
    from src.ops.lifecycle.belongings import isolated
    from src.ops.setup.in_use import kind_expected
    from src.utils.secrets.errors import SecretsError

    try:
        return kind_expected(isolated(deployment)).title
    except SecretsError:
        return "unknown"
