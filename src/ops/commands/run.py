"""``run``: a program with the secrets in its environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from src.ops.setup.in_use import require_set_up

from .shared.chosen import chosen_values
from .shared.options import deployment_options

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment


@click.command("run", context_settings={"ignore_unknown_options": True})
@click.option("--only", multiple=True, metavar="NAME", help="Only this one; may be given again.")
@click.option("--files", is_flag=True, help="Give NAME_FILE paths to memory, in place of values in the environment.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@deployment_options
def run_command(only: tuple[str, ...], files: bool, command: tuple[str, ...], deployment: Deployment) -> int:
    """Run a program with the secrets in its environment. Its exit code is the program's; 125 is our own failure.

    \b
    Examples:
      ./scripts/manage_secrets.py run -- ./backup-database.sh
      ./scripts/manage_secrets.py run --only DATABASE_PASSWORD --files -- psql-wrapper
    """
    from src.ops.lifecycle.run import OWN_FAILURE, replace_process
    from src.ops.setup.state import explain
    from src.ops.terminal.report import report_error
    from src.utils.secrets.errors import SecretsError

    try:
        require_set_up(deployment)
        replace_process(list(command), chosen_values(deployment, only), as_files=files)
    except SecretsError as error:
        told = explain(deployment, error)
        report_error(str(told), *told.hints)
        return OWN_FAILURE
