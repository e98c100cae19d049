"""``status``: the state of each secret."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import click

from src.ops.containers.folder import find_extras, is_cloud_mode
from src.ops.containers.stack import SECONDS_FOR_DOCKER, Stack
from src.ops.lifecycle.apply import Drift, find_drift
from src.ops.lifecycle.at_rest import find_last_backup, find_plain_text
from src.ops.lifecycle.status import SecretState, misnamed_secrets, read_status
from src.ops.setup.in_use import require_set_up
from src.ops.setup.state import inspect_deployment
from src.ops.store_kinds import open_store
from src.ops.terminal.report import FAILED
from src.ops.terminal.screen import Screen
from src.utils.secrets.command import manage, set_up
from src.utils.secrets.errors import SecretNotFoundError, SecretsError

from .shared.options import deployment_options, json_option

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment
    from src.ops.lifecycle.at_rest import LastBackup, PlainText
    from src.ops.lifecycle.status import SecretStatus
    from src.ops.setup.state import Inspection
    from src.utils.secrets.snapshot import Snapshot

EXTRA_CHECK = "docker-files-extra"


@click.command("status")
@click.option("--strict", is_flag=True, help="Exit code 1 when something is missing, overdue, weak or out of step.")
@click.option("--audit", is_flag=True, help="Show the trail of changes, and check that nothing in it was altered.")
@json_option
@deployment_options
def status_command(strict: bool, audit: bool, as_json: bool, deployment: Deployment) -> int:
    """Show the status of each secret. Set or missing, age, strength, Docker file up to date; never a value.

    \b
    Examples:
      ./scripts/manage_secrets.py status
      ./scripts/manage_secrets.py status --strict --json   # for cron and CI
      ./scripts/manage_secrets.py status --audit
    """
    if audit:
        return _show_trail(deployment, as_json=as_json)
    require_set_up(deployment)
    inspection = inspect_deployment(deployment)
    snapshot = inspection.require_snapshot()
    store = open_store(deployment)
    rows = read_status(deployment, snapshot)
    found = find_extras(deployment, deployment.docker_directory, snapshot, cloud=is_cloud_mode(deployment))
    extras = [extra.name for extra in found]
    backup = find_last_backup(deployment, store.describe(), snapshot)
    plain_text = find_plain_text(deployment)
    drift = _look_at_containers(deployment, snapshot)
    misnamed = misnamed_secrets(deployment, snapshot.values)
    if as_json:
        content = {
            "store": store.describe(),
            "state": inspection.state.value,
            "lost": inspection.lost,
            "secrets": [dataclasses.asdict(row) | {"overdue": row.is_overdue} for row in rows],
            "misnamed": misnamed,
            "extra_files": extras,
            "containers": {
                "outdated": drift.outdated,
                "refused": [server.secret for server in drift.refused],
                "unknown": drift.unknown,
            },
            "last_backup": dataclasses.asdict(backup),
            "plain_text": [dataclasses.asdict(place) for place in plain_text],
        }
        click.echo(json.dumps(content, indent=2))
    else:
        screen = Screen()
        _show_status(screen, deployment, store.describe(), rows, extras, drift)
        for wrong, name in misnamed.items():
            look = manage("doctor", "--only", "misnamed")
            screen.warn(f"{wrong!r} in the store is not read; the name is {name}. Next:", look)
        _show_state(screen, inspection)
        _show_keeping(screen, deployment, backup, plain_text)
    is_apart = drift.outdated or drift.refused
    return FAILED if strict and (is_apart or any(row.needs_attention for row in rows)) else 0


def _show_status(
    screen: Screen, deployment: Deployment, place: str, rows: list[SecretStatus], extras: list[str], drift: Drift
) -> None:
    screen.say(f"{deployment.catalog.application} ({deployment.environment}): {place}", "")
    cells = [
        (
            row.name,
            row.state,
            _age(row),
            row.fault or ("-" if row.state is not SecretState.SET else "strong"),
            row.docker,
            _grace(row),
        )
        for row in rows
    ]
    screen.table(("Secret", "State", "Age", "Strength", "Docker file", "In grace"), cells)
    missing = [row.name for row in rows if row.state is SecretState.MISSING]
    due = [row.name for row in rows if row.is_overdue]
    stale = [row.name for row in rows if row.is_file_outdated]
    screen.say("")
    if missing:
        screen.warn(f"Missing: {', '.join(missing)}")
    if due:
        screen.warn(f"Due for rotation: {', '.join(due)}. Next:", manage("rotate", "--due"))
    if stale:
        screen.warn(f"Docker files not up to date: {', '.join(stale)}. Next:", manage("apply"))
    weak = [row for row in rows if row.fault]
    for row in weak:
        screen.warn(f"{row.name} {(row.reason or '').rstrip('.')}. Next:", manage("rotate", row.name))
    _show_drift(screen, drift)
    if extras:
        folder = deployment.shown(deployment.docker_directory)
        count = f"{len(extras)} file{'s' if len(extras) > 1 else ''}"
        screen.warn(f"{folder} has {count} that Compose does not use. Next:", manage("doctor", "--only", EXTRA_CHECK))
    if not (missing or due or stale or weak or drift.outdated or drift.refused):
        screen.done("Everything that is required is there, and nothing is due.")


def _show_drift(screen: Screen, drift: Drift) -> None:
    """What runs, and has something else than the store."""
    for service, names in drift.outdated.items():
        screen.warn(f"The container of {service} runs with an older {', '.join(names)}. Next:", manage("apply"))
    for server in drift.refused:
        screen.warn(f"{server.title} refuses the {server.secret} in the store. Next:", manage("apply"))
    for line in drift.unknown:
        screen.warn(line)


def _look_at_containers(deployment: Deployment, snapshot: Snapshot) -> Drift:
    """How what runs differs from the store; what Docker does not say is no failure."""
    try:
        return find_drift(deployment, snapshot, Stack(deployment, seconds=SECONDS_FOR_DOCKER))
    except SecretNotFoundError:
        return Drift()  # that one is missing is said, and comes first
    except SecretsError as error:
        return Drift(unknown=(f"What the containers run with is not known: {error}",))


def _show_state(screen: Screen, inspection: Inspection) -> None:
    """What stands in the way of using the store as it is."""
    if inspection.interrupted:
        screen.warn(f"{inspection.interrupted} was interrupted. Next:", manage(*inspection.interrupted.split()))
    if inspection.error is not None:
        screen.warn(str(inspection.error), *inspection.error.hints)
    elif inspection.missing:
        screen.warn("A required secret never had a value here. Next:", set_up())


def _show_keeping(screen: Screen, deployment: Deployment, backup: LastBackup, plain_text: list[PlainText]) -> None:
    """What a thief of the disk could read, and what a dead disk would take away."""
    for place in plain_text:
        where = "on this disk" if place.is_on_disk else "in memory"
        held = "1 secret" if place.count == 1 else f"{place.count} secrets"
        screen.say(f"In plain text {where}: {deployment.shown(place.path)} ({held})")
    if backup.made_at is None:
        screen.warn("Last backup: never. Next:", manage("backup"))
    elif backup.changed_since:
        screen.warn(
            f"Last backup: {backup.made_at}, before {', '.join(backup.changed_since)} changed. Next:", manage("backup")
        )
    else:
        screen.say(f"Last backup: {backup.made_at}")


def _show_trail(deployment: Deployment, *, as_json: bool) -> int:
    from src.ops.deployment.audit import read_trail

    trail = read_trail(deployment)
    if as_json:
        click.echo(json.dumps({"path": trail.path, "entries": trail.entries, "faults": trail.faults}, indent=2))
        return FAILED if trail.faults else 0
    screen = Screen()
    screen.say(trail.path, "")
    headings = ("Time", "Person", "Command", "Secrets", "Result")
    cells = [
        (
            str(entry.get("time")),
            f"{entry.get('person')}@{entry.get('host')}",
            str(entry.get("command")),
            ", ".join(map(str, entry.get("names", []))),
            str(entry.get("result")),
        )
        for entry in trail.entries
    ]
    screen.table(headings, cells, last="left")
    for fault in trail.faults:
        screen.warn(fault)
    if not trail.faults:
        screen.done(
            "Each line follows the previous one. (Anyone who can write the file could have rewritten all of it.)"
        )
    return FAILED if trail.faults else 0


def _age(row: SecretStatus) -> str:
    if row.state is not SecretState.SET:
        return "-"
    if row.age_days is None:
        return "unknown"
    of = f" of {row.rotation_days}" if row.rotation_days is not None else ""
    return f"{row.age_days}{of} days{', due' if row.is_overdue else ''}"


def _grace(row: SecretStatus) -> str:
    return str(row.in_grace) if row.in_grace else "-"
