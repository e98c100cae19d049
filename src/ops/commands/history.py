"""``history``: when a secret changed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from src.ops.setup.in_use import require_set_up
from src.ops.store_kinds import load_secrets, open_store
from src.ops.terminal.screen import Screen
from src.utils.secrets.snapshot import utc_now

from .shared.completion_code import complete_name
from .shared.options import deployment_options, json_option

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment


@click.command("history")
@click.argument("name", shell_complete=complete_name)
@json_option
@deployment_options
def history_command(name: str, as_json: bool, deployment: Deployment) -> None:
    """Show when a secret changed. And which earlier values are still accepted; no value is shown.

    \b
    Examples:
      ./scripts/manage_secrets.py history JWT_SECRET_KEY
    """
    require_set_up(deployment)
    spec = deployment.find_secret(name)
    snapshot = load_secrets(deployment, open_store(deployment))
    metadata = snapshot.metadata.get(spec.name)
    current = {"state": "current" if name in snapshot.values else "not set", "since": None, "until": None}
    current["since"] = metadata.updated_at if metadata else None
    rows = [current]
    for entry in metadata.previous if metadata else ():
        state = "accepted" if entry.is_valid(utc_now()) else "kept for rollback"
        rows.append({"state": state, "since": None, "until": entry.valid_until, "replaced": entry.replaced_at})
    if as_json:
        click.echo(json.dumps({"name": name, "versions": rows}, indent=2))
        return
    cells = [
        (row["state"] or "", row["since"] or "-", row.get("replaced") or "-", _until(row["state"], row["until"]))
        for row in rows
    ]
    Screen().table(("Value", "Since", "Replaced", "Accepted until"), cells, last="left")


def _until(state: str | None, until: str | None) -> str:
    if state == "accepted":
        return until or "removed by hand"
    return "-"
