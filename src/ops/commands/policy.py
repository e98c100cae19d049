"""``policy``: what has to be allowed in a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from src.ops.store_kinds import all_kinds
from src.ops.store_kinds.base import Role
from src.ops.terminal.usage import UsageError

from .shared.options import deployment_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from src.ops.deployment.deployment import Deployment

KINDS = {kind.short_name: kind for kind in all_kinds() if kind.has_policy}


def _options_of_kinds(command: Callable[..., object]) -> Callable[..., object]:
    """The options that only one store has."""
    for kind in KINDS.values():
        for option in kind.policy_options:
            default = f", {option.default} when left out" if option.default else ""
            command = click.option(
                f"--{option.name}",
                type=click.Choice(option.choices) if option.choices else click.STRING,
                metavar=None if option.choices else option.metavar,
                help=f"{kind.title}: {option.help}{default}.",
            )(command)
    return command


@click.command("policy")
@click.argument("store", type=click.Choice(list(KINDS)))
@click.option("--role", type=click.Choice([role.value for role in Role]), default="app", help="Whom it is for.")
@_options_of_kinds
@deployment_options
def policy_command(store: str, role: str, deployment: Deployment, **options: str | None) -> None:
    """Print the least-privilege policy. For the app, for the deployer, or for the rotation.

    \b
    Examples:
      ./scripts/manage_secrets.py policy aws > app-policy.json
      ./scripts/manage_secrets.py policy vault --role deployer | vault policy write cctv-deployer -
    """
    kind = KINDS[store]
    given = {name.replace("_", "-"): value for name, value in options.items() if value is not None}
    known = {option.name: option.default for option in kind.policy_options}
    for name in given:
        if name not in known:
            raise UsageError(f"--{name} is not an option of {kind.title}")
    click.echo(kind.policy(deployment, Role(role), known | given))
