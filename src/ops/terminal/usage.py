"""What is wrong with a command line, said without repeating any of it: somebody may have typed a password there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from src.utils.secrets.errors import several

if TYPE_CHECKING:
    from collections.abc import Sequence

    from src.utils.secrets.command import Hint

HISTORY_HINT = "A secret's value is never an argument; if one was typed, it may be in the shell's history now"


class UsageError(click.UsageError):
    """Wrong usage in words of this project, which hold nothing that was typed.

    Args:
        message: What is wrong.
        ctx: The command that it was said to.
        hint: See :class:`SecretsError`.
    """

    def __init__(self, message: str, ctx: click.Context | None = None, *, hint: Hint | Sequence[Hint] = ()) -> None:
        super().__init__(message, ctx)
        self.hints = several(hint)


def usage_message(error: click.UsageError) -> tuple[str, tuple[Hint, ...]]:
    """What click found wrong, without what was typed, and what to do about it, if anything."""
    if isinstance(error, UsageError):
        return error.format_message(), error.hints
    if isinstance(error, (click.MissingParameter, click.BadOptionUsage)):
        return error.format_message(), ()
    if isinstance(error, click.NoSuchOption):
        if error.possibilities:
            return f"No such option. Did you mean {error.possibilities[0]}?", ()
        return "No such option", (HISTORY_HINT,)
    if isinstance(error, click.BadParameter):
        return _bad_value(error), ()
    return "There are more words than this command takes", (HISTORY_HINT,)


def argument_message(message: str) -> str:
    """What :mod:`argparse` found wrong, without what was typed."""
    if message.startswith("unrecognized arguments"):
        return "There are more words than this command takes, or an option that it does not know"
    return re.sub(r"(ignored explicit argument|invalid \w+ value|invalid choice).*", r"\1", message, flags=re.DOTALL)


def _bad_value(error: click.BadParameter) -> str:
    parameter = error.param
    if parameter is None:
        return "Invalid value"
    name = max(parameter.opts, key=len) if isinstance(parameter, click.Option) else parameter.human_readable_name
    if isinstance(parameter.type, click.Choice):
        return f"Invalid value for {name}; use one of: {', '.join(map(str, parameter.type.choices))}"
    return f"Invalid value for {name}"
