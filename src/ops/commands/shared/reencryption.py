"""``rotate ENCRYPTION_KEY --reencrypt``: the plan, the question, and the result."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from src.ops.lifecycle.reencrypt import DISCARD, NAME, Reencryptor
from src.ops.terminal.ask import confirm_or_stop
from src.ops.terminal.report import DeclinedError, WrongUsageError
from src.utils.secrets.command import manage

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment
    from src.ops.lifecycle.reencrypt import ReencryptionPlan
    from src.ops.terminal.screen import Screen


def reencrypt(
    screen: Screen, deployment: Deployment, *, discards: bool, confirm: str | None, dry_run: bool, yes: bool
) -> None:
    """Show the plan, ask, and carry it out.

    Raises:
        SecretsError: It failed.
        WrongUsageError: There is a question, and nobody to answer it.
    """
    reencryptor = Reencryptor(deployment, screen.done, screen.begin, discards=discards)
    plan = reencryptor.plan(is_dry_run=dry_run)
    if plan.is_resumed:
        screen.warn("An earlier re-encryption was interrupted. This one finishes it.")
    screen.table(("Step", "What happens"), _steps(plan, discards=discards), last="left")
    if dry_run:
        screen.say("Nothing was changed.")
        return
    if discards and confirm is None:
        _ask_for_the_word()
    elif not discards:
        confirm_or_stop("Do it now?", yes=yes)
    reencryptor.run(plan)
    screen.done(f"{NAME}: the data is encrypted with the current value, and no earlier value is left.")


def _steps(plan: ReencryptionPlan, *, discards: bool) -> list[tuple[str, str]]:
    rows = []
    if plan.rotation is not None:
        rows.append("The store and the app get a new value; the present one stays as the earlier one")
    else:
        rows.append("The key keeps its value")
    rows.append(f"The data in the database is encrypted with the current value{_numbers(plan)}")
    if discards:
        unreadable = str(plan.counts.unreadable) if plan.counts else "their number is not known"
        rows.append(f"Values that no key opens are REMOVED permanently: {unreadable}")
    rows.append("Everything is read with the current value alone")
    kept = plan.earlier + (plan.rotation is not None)
    values = "1 earlier value is" if kept == 1 else f"{kept} earlier values are"
    rows.append(f"{values} removed from the store and the Docker files, and the app is told")
    return [(str(number), row) for number, row in enumerate(rows, 1)]


def _numbers(plan: ReencryptionPlan) -> str:
    if plan.counts is None:
        return ""
    counts = plan.counts
    # A new value opens nothing yet.
    to_do = counts.rewritten + (counts.current if plan.rotation is not None else 0)
    return f": {to_do} to rewrite, {counts.unreadable} that no key opens"


def _ask_for_the_word() -> None:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise WrongUsageError(
            "This removes data, asks for a word and needs a terminal",
            hint=manage(*DISCARD, "--confirm", NAME, purpose="Without one"),
        )
    from src.ops.terminal.prompts import ask_text

    if ask_text(f"To remove the data that no key opens, type {NAME}:").strip() != NAME:
        raise DeclinedError("The word was not typed; nothing was changed", hint=f"Type: {NAME}")
