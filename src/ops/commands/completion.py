"""``completion``: comfort in the shell."""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion_command(context: click.Context, shell: str) -> None:
    """Print the code for Tab completion. It completes commands, options and names of secrets.

    \b
    Examples:
      eval "$(./scripts/manage_secrets.py completion bash)"                                    # now
      ./scripts/manage_secrets.py completion bash >> ~/.bashrc                                 # always
      ./scripts/manage_secrets.py completion fish > ~/.config/fish/conf.d/manage_secrets.fish
    """
    from .shared.completion_code import completion_code

    click.echo(completion_code(shell, context.find_root().command))
