#!/usr/bin/env python3
"""Looks after the secrets once they are set up."""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from src.utils.interpreter import use_project_interpreter

use_project_interpreter("click", "cryptography", "dotenv")

import click

from src.ops.deployment import Deployment
from src.ops.policy import Role, aws_policy, azure_policy, vault_policy
from src.ops.terminal.click_command import deployment_options, run_click
from src.utils.secrets import SecretsManager


@click.group(context_settings={"max_content_width": 100})
def main() -> None:
    """Look after the secrets once they are set up."""


@main.command("get")
@click.argument("name")
@click.option("--show", is_flag=True, help="Allow the value on a terminal.")
@deployment_options
def get(name: str, show: bool, deployment: Deployment) -> None:
    """Print one secret's value to a pipe or file; to a terminal only with --show.

    \b
    Examples:
      ./scripts/manage_secrets.py get ADMIN_PASSWORD --show
      ./scripts/manage_secrets.py get DATABASE_PASSWORD > password.txt
    """
    if sys.stdout.isatty() and not show:
        raise click.UsageError("The value would stand on the screen; add --show if that is what you want")
    deployment.require_set_up()
    deployment.export_sdk_settings()
    value = SecretsManager(settings=deployment.settings()).require_secret(name)
    sys.stdout.write(value + "\n" if sys.stdout.isatty() else value)


@main.command("policy")
@click.argument("store", type=click.Choice(["aws", "vault", "azure"]))
@click.option("--role", type=click.Choice([role.value for role in Role]), default="app", help="Whom it is for.")
@click.option("--kms-key", metavar="ARN", help="AWS: the customer key that the secret is encrypted with.")
@click.option("--kv-version", type=click.IntRange(1, 2), default=2, help="Vault: version of the key-value engine.")
@deployment_options
def policy(store: str, role: str, kms_key: str | None, kv_version: int, deployment: Deployment) -> None:
    """Print what has to be allowed in a store: to the application, or to the person who deploys.

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


if __name__ == "__main__":
    sys.exit(run_click(main))
