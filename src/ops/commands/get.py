"""``get``: one value."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from src.ops.setup.in_use import require_set_up
from src.ops.store_kinds import kind_in_use
from src.ops.terminal.screen import can_show
from src.ops.terminal.usage import UsageError
from src.utils.secrets import SecretsManager

from .shared.chosen import refuse_screen
from .shared.completion_code import complete_name
from .shared.options import deployment_options
from .shared.values_out import mask_in_log, write_values

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment


@click.command("get")
@click.argument("name", shell_complete=complete_name)
@click.option("--show", is_flag=True, help="Allow the value on a terminal.")
@deployment_options
def get_command(name: str, show: bool, deployment: Deployment) -> None:
    """Print one secret's value. To a pipe or file; to a terminal only with --show.

    \b
    Examples:
      ./scripts/manage_secrets.py get ADMIN_PASSWORD --show
      ./scripts/manage_secrets.py get DATABASE_PASSWORD > password.txt
    """
    refuse_screen("The value", show)
    require_set_up(deployment)
    kind_in_use(deployment).export_settings(deployment)
    manager = SecretsManager(settings=deployment.settings())
    if manager.get_secret(name) is None:
        deployment.find_secret(name)
    value = manager.require_secret(name)
    if sys.stdout.isatty() and not can_show(value):
        raise UsageError("This terminal cannot show some characters of the value; write it to a file: > FILE")
    mask_in_log([value], deployment.environ)
    write_values(value + "\n" if sys.stdout.isatty() else value)
