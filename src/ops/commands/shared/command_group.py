"""A command that has commands of its own."""

from __future__ import annotations

import click

from src.ops.terminal.usage import UsageError


class CommandGroup(click.Group):
    """Says which commands there are when it does not know one, and nothing that was typed."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that was typed.

        Raises:
            UsageError: There is none of that name.
        """
        if args and args[0] not in self.commands:
            raise UsageError(f"There is no such command. There is: {', '.join(self.commands)}", ctx)
        return super().resolve_command(ctx, args)
