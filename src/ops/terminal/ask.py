"""One confirmation before something is done."""

from __future__ import annotations

import sys

from .report import DeclinedError, WrongUsageError


def confirm_or_stop(question: str, *, yes: bool, default: bool = True) -> None:
    """Go on when the person agrees, or ``--yes`` was given.

    Raises:
        DeclinedError: The person said no.
        WrongUsageError: There is no terminal to ask on.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise WrongUsageError("This asks for confirmation and needs a terminal", hint="Without one, add --yes")
    from .prompts import confirm

    if not confirm(question, default=default):
        raise DeclinedError("Stopped; nothing was changed", hint="Run the same command again at any time")
