"""``doctor``: what is wrong, and what fixes it."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from typing import TYPE_CHECKING

import click

from src.ops.terminal.report import FAILED
from src.ops.terminal.screen import Screen
from src.ops.terminal.usage import UsageError
from src.utils.secrets.command import Command, typed
from src.utils.secrets.errors import SecretsError

from .shared.options import deployment_options, json_option

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment
    from src.ops.doctor import Examination, Finding


@click.command("doctor")
@click.option("--fix", is_flag=True, help="Fix what can be fixed safely.")
@click.option("--offline", is_flag=True, help="Leave out what needs a server or Docker.")
@click.option("--only", multiple=True, metavar="ID", help="Only this check; may be given again.")
@click.option("--list", "is_list", is_flag=True, help="List the checks.")
@json_option
@deployment_options
def doctor_command(
    fix: bool, offline: bool, only: tuple[str, ...], is_list: bool, as_json: bool, deployment: Deployment
) -> int:
    """Diagnose problems, and say how to fix them. Exit code 1 when something was found.

    \b
    Examples:
      ./scripts/manage_secrets.py doctor
      ./scripts/manage_secrets.py doctor --offline --fix
      ./scripts/manage_secrets.py doctor --only git-history --only gitignore
    """
    from src.ops.doctor import CHECKS, Harm, examine

    screen = Screen()
    unknown = [name for name in only if name not in CHECKS]
    if unknown:
        alike = difflib.get_close_matches(unknown[0], CHECKS, n=1)
        more = f"did you mean {alike[0]}?" if alike else "see doctor --list"
        raise UsageError(f"--only: no check has such a name; {more}")
    if is_list:
        checks = sorted(CHECKS.values(), key=lambda check: list(Harm).index(check.harm))
        lines = [(check.id, check.harm, check.needs or "-", check.why) for check in checks]
        screen.table(("Check", "Harm", "Needs", "Why"), lines, last="left")
        return 0
    screen.is_silent = as_json
    with screen.working("Running the checks"):
        examination = examine(deployment, offline=offline, only=only)
    findings = examination.findings
    not_fixed = {index: _fix(finding) if fix else "" for index, finding in enumerate(findings)}
    fixed = [finding for index, finding in enumerate(findings) if not_fixed[index] is None]
    if as_json:
        rows = [_row(finding, is_fixed=not_fixed[index] is None) for index, finding in enumerate(findings)]
        click.echo(json.dumps(rows, indent=2))
        return FAILED if len(fixed) < len(findings) else 0
    for finding in fixed:
        screen.done(f"fixed: {finding.message}")
    for index, finding in enumerate(findings):
        reason = not_fixed[index]
        if reason is not None:
            _show(screen, finding, reason)
    _show_end(screen, examination, len(findings) - len(fixed))
    return FAILED if len(fixed) < len(findings) else 0


def _fix(finding: Finding) -> str | None:
    """Fix it; returns why it could not be fixed, empty where nothing can, and ``None`` when it is fixed."""
    if finding.fix is None:
        return ""
    try:
        finding.fix()
    except (OSError, SecretsError) as error:
        return str(error)
    return None


def _show(screen: Screen, finding: Finding, reason: str) -> None:
    assert finding.check is not None
    screen.warn(f"{finding.check.id}: {finding.message}")
    screen.say(f"    {finding.check.why}")
    if reason:
        screen.say(f"    It could not be fixed: {reason}")
    for hint in finding.hints:
        if isinstance(hint, Command) and hint.purpose:
            screen.say(f"    {hint.purpose}:")
        screen.command(typed(hint))


def _show_end(screen: Screen, examination: Examination, left: int) -> None:
    """How many checks were made. What was not looked at is never passed over."""
    count = len(examination.not_made)
    not_made = ""
    if count:
        reasons = Counter(examination.not_made.values())
        why = ", ".join(f"{reason} ({number})" if len(reasons) > 1 else reason for reason, number in reasons.items())
        not_made = f"{count} {'was' if count == 1 else 'were'} not made: {why}."
    made = f"{examination.made} check{'' if examination.made == 1 else 's'}"
    if left:
        if not_made:
            screen.warn(f"{made}; {not_made}")
    elif not examination.made:
        screen.warn(f"No check was made; {not_made}")
    elif not_made:
        screen.done(f"{made}, nothing wrong; {not_made}")
    else:
        screen.done(f"{made}, nothing wrong.")


def _row(finding: Finding, *, is_fixed: bool) -> dict[str, object]:
    assert finding.check is not None
    commands = [typed(hint) for hint in finding.hints]
    row: dict[str, object] = {"check": finding.check.id, "harm": finding.check.harm, "finding": finding.message}
    row |= {"command": commands[0], "commands": commands}
    return row | {"fixed": is_fixed, "mended": is_fixed}  # the second is the earlier name of the first
