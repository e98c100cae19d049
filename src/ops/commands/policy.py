"""``policy``: what has to be allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from src.ops.store_kinds.policy import Role, aws_policy, azure_policy, vault_policy

from .shared.options import deployment_options

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment


@click.command("policy")
@click.argument("store", type=click.Choice(["aws", "vault", "azure"]))
@click.option("--role", type=click.Choice([role.value for role in Role]), default="app", help="Whom it is for.")
@click.option("--kms-key", metavar="ARN", help="AWS: the customer key that the secret is encrypted with.")
@click.option("--kv-version", type=click.IntRange(1, 2), default=2, help="Vault: version of the key-value engine.")
@deployment_options
def policy_command(store: str, role: str, kms_key: str | None, kv_version: int, deployment: Deployment) -> None:
    """Print what has to be allowed in a store. To the application, or to the person who deploys.

    \b
    Examples:
      ./scripts/manage_secrets.py policy aws > app-policy.json
      ./scripts/manage_secrets.py policy vault --role deployer | vault policy write cctv-deployer -
    """
    for_role = Role(role)
    if store == "aws":
        click.echo(aws_policy(deployment, for_role, kms_key=kms_key))
    elif store == "vault":
        click.echo(vault_policy(deployment, for_role, engine_version=kv_version))
    else:
        click.echo(azure_policy(deployment, for_role))
