"""The group of all commands: which there are, and where each one is."""

from __future__ import annotations

import difflib
import importlib

import click

from src.ops.terminal.usage import UsageError

from .shared.options import version_option

# In the order of the help. Each is a module of this package, with the function ``<name>_command``.
COMMANDS = (
    "status",
    "doctor",
    "get",
    "set",
    "history",
    "rollback",
    "remove",
    "export",
    "run",
    "apply",
    "rotate",
    "rotate-master-key",
    "migrate",
    "environment",
    "diff",
    "backup",
    "restore",
    "rescue",
    "key",
    "policy",
    "completion",
)


class CommandGroup(click.Group):
    """Imports a command's module when the command is called, so that no command pays for another."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """In the order of the table above."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command called ``cmd_name``."""
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        module = importlib.import_module(f".{name}", __package__)
        command: click.Command = getattr(module, f"{name}_command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest a command that is written alike."""
        if args and args[0] not in COMMANDS:
            alike = difflib.get_close_matches(args[0], COMMANDS, n=1)
            raise UsageError("There is no such command." + (f" Did you mean {alike[0]}?" if alike else ""), ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=CommandGroup, context_settings={"max_content_width": 100})
@version_option
def main() -> None:
    """Look after the secrets once they are set up."""
