"""``diff``: compare two stores."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from src.ops.setup.in_use import require_set_up
from src.ops.store_kinds.named_stores import parse_store_name, reference_forms
from src.ops.terminal.report import FAILED
from src.ops.terminal.screen import Screen
from src.utils.secrets.changes import load_if_any

from .shared.options import deployment_options, json_option

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment


@click.command("diff")
@click.option("--from", "source", metavar="STORE", help="The one; the store in use when left out.")
@click.option(
    "--to", "target", metavar="STORE", required=True, help=f"The other: {reference_forms()}, environment:NAME."
)
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
    from src.ops.values.fingerprint import Difference, compare, fingerprint

    require_set_up(deployment)
    origin = parse_store_name(source or deployment.settings().backend.value, deployment, key_file=from_key_file)
    other = parse_store_name(target, deployment, key_file=to_key_file)
    for named in (origin, other):
        require_set_up(named.deployment)
    left, right = origin.open(), other.open()
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
        screen.say("", "Equal fingerprints mean equal values; they are valid for this run only.")
    return FAILED if any(state is not Difference.SAME for state in states.values()) else 0
