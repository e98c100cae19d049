"""``apply``: bring Docker files, containers and servers up to date with the store."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import click

from src.ops.setup.in_use import require_set_up
from src.ops.terminal.ask import confirm_or_stop
from src.ops.terminal.screen import Screen
from src.utils.secrets.command import make, manage
from src.utils.secrets.errors import ConfigurationError

from .shared.options import deployment_options, json_option, yes_option

if TYPE_CHECKING:
    from src.ops.containers.stack import Stack
    from src.ops.deployment.deployment import Deployment
    from src.ops.lifecycle.apply import Drift
    from src.utils.secrets.snapshot import Snapshot

ROTATE = "rotate"


@click.command("apply")
@click.option("--dry-run", is_flag=True, help="Show the plan; change nothing.")
@json_option
@yes_option
@deployment_options
def apply_command(dry_run: bool, as_json: bool, yes: bool, deployment: Deployment) -> None:
    """Bring the containers up to date with the store. Docker files, restarts, and the servers' own passwords.

    Run it after every change of the store. It does what is needed and no more, and can be run again at any time.

    \b
    Examples:
      ./scripts/manage_secrets.py apply
      ./scripts/manage_secrets.py apply --dry-run
    """
    require_set_up(deployment)
    screen = Screen()
    stack, snapshot, drift = _look(screen, deployment)
    if as_json:
        click.echo(json.dumps(_document(drift), indent=2))
    else:
        _show(screen, deployment, drift)
    if not drift.needs:
        return
    if dry_run or as_json:
        if not as_json:
            screen.say("Dry run: nothing was changed.")
        return
    confirm_or_stop("Do that now?", yes=yes)
    _carry_out(screen, deployment, stack, snapshot, drift)


def apply_now(screen: Screen, deployment: Deployment) -> None:
    """Do it for a person who has just agreed.

    Raises:
        SecretsError: It failed.
    """
    stack, snapshot, drift = _look(screen, deployment)
    _show(screen, deployment, drift)
    if drift.needs:
        _carry_out(screen, deployment, stack, snapshot, drift)


def _look(screen: Screen, deployment: Deployment) -> tuple[Stack, Snapshot, Drift]:
    from src.ops.containers.stack import Stack
    from src.ops.lifecycle.apply import find_drift
    from src.ops.setup.state import inspect_deployment

    inspection = inspect_deployment(deployment)
    snapshot = inspection.require_snapshot()
    if inspection.error is not None:
        raise inspection.error
    if inspection.interrupted == ROTATE:
        raise ConfigurationError(
            "A rotation was interrupted, and comes first", hint=manage(ROTATE, purpose="Finish it")
        )
    stack = Stack(deployment)
    with screen.working("Looking at what runs"):
        drift = find_drift(deployment, snapshot, stack)
    return stack, snapshot, drift


def _show(screen: Screen, deployment: Deployment, drift: Drift) -> None:
    for line in drift.unknown:
        screen.warn(line)
    if not drift.uses_files:
        screen.say("No Docker files of this deployment are in use: what reads the store itself reads the new values.")
        screen.say("It reads them within SECRETS_CACHE_TTL seconds, or when it starts.")
        screen.commands("If it is to run in containers:", [make("up")])
        return
    if drift.needs:
        screen.table(("What", "Why"), _rows(deployment, drift), last="left")
    elif drift.is_running:
        screen.done("Everything that runs has what the store holds.")
    else:
        screen.done("The Docker files are up to date.")
        screen.commands("No container runs. To start them:", [make("up")])


def _rows(deployment: Deployment, drift: Drift) -> list[tuple[str, str]]:
    needs = drift.needs
    rows = []
    if needs.files:
        rows.append((f"write {deployment.shown(deployment.docker_directory)}/", f"differs: {', '.join(drift.files)}"))
    for server in drift.refused:
        rows.append((f"tell {server.title}", f"it refuses the {server.secret} in the store"))
    for service in needs.restarts:
        names = drift.outdated.get(service)
        rows.append((f"restart {service}", f"has an older {', '.join(names)}" if names else "to read its file again"))
    for service in needs.reloads:
        names = drift.outdated.get(service)
        rows.append((f"reload {service}", f"has an older {', '.join(names)}" if names else "it reads the store itself"))
    return rows


def _document(drift: Drift) -> dict[str, object]:
    needs = {name: value for name, value in dataclasses.asdict(drift.needs).items() if name != "passwords"}
    return {
        "files": drift.files,
        "outdated": drift.outdated,
        "refused": [server.secret for server in drift.refused],
        "unknown": drift.unknown,
        "needs": needs,
        "up_to_date": not drift.needs,
    }


def _carry_out(screen: Screen, deployment: Deployment, stack: Stack, snapshot: Snapshot, drift: Drift) -> None:
    from src.ops.deployment.interrupts import deferred_interrupts
    from src.ops.lifecycle.apply import Applier, find_drift, require_servers

    if drift.needs.restarts:
        require_servers(stack.services())
    with deferred_interrupts() as check:
        check()
        Applier(deployment, stack, screen.done, screen.begin).run(drift.needs, snapshot)
    left = find_drift(deployment, snapshot, stack)
    if left.outdated or left.refused or left.files:
        _show(screen, deployment, left)
        screen.commands("Not everything is up to date yet. Next:", [manage("doctor")])
    elif left.is_running:
        screen.done("Looked again: everything that runs has what the store holds.")
    else:
        screen.commands("No container runs. To start them:", [make("up")])
