"""``export``: the secrets in plain text, for another tool."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from src.ops.setup.in_use import require_set_up
from src.ops.terminal.screen import Screen

from .shared.chosen import chosen_values, refuse_screen
from .shared.options import deployment_options
from .shared.values_out import mask_in_log, write_values

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment


@click.command("export")
@click.option(
    "--format",
    "form",
    type=click.Choice(["dotenv", "json", "shell", "kubernetes"]),
    default="dotenv",
    show_default=True,
    help="How it is written.",
)
@click.option("--only", multiple=True, metavar="NAME", help="Only this one; may be given again.")
@click.option("--output", metavar="FILE", help="Write this file (0600) in place of standard output.")
@click.option("--show", is_flag=True, help="Allow the values on a terminal.")
@deployment_options
def export_command(form: str, only: tuple[str, ...], output: str | None, show: bool, deployment: Deployment) -> None:
    """Write the secrets in plain text, for another tool.

    \b
    Examples:
      ./scripts/manage_secrets.py export --format json | jq keys
      ./scripts/manage_secrets.py export --format kubernetes | kubectl apply -f -
    """
    from src.ops.lifecycle.export import render
    from src.utils.secrets.atomicfile import replace_file

    if output is None:
        refuse_screen("The values", show)
    require_set_up(deployment)
    values = chosen_values(deployment, only)
    text = render(form, values, deployment)
    if output is None:
        mask_in_log(values.values(), deployment.environ)
        write_values(text)
        return
    replace_file(output, text.encode(), mode=0o600)
    Screen().warn(f"{output} holds the secrets in plain text; remove it when you no longer need it.")
