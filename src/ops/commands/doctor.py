"""``doctor``: what is wrong, and what fixes it."""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING

import click

from src.ops.terminal.report import FAILED
from src.ops.terminal.screen import Screen
from src.ops.terminal.usage import UsageError
from src.utils.secrets.command import spell

from .shared.options import deployment_options, json_option

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment
    from src.ops.doctor import Finding


@click.command("doctor")
@click.option("--fix", is_flag=True, help="Fix what can be fixed safely.")
@click.option("--offline", is_flag=True, help="Only what needs neither the store nor the running stack.")
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
    from src.ops.doctor import CHECKS, examine

    screen = Screen()
    unknown = [name for name in only if name not in CHECKS]
    if unknown:
        alike = difflib.get_close_matches(unknown[0], CHECKS, n=1)
        more = f"did you mean {alike[0]}?" if alike else "see doctor --list"
        raise UsageError(f"--only: no check has such a name; {more}")
    if is_list:
        rows = [(check.id, check.why, check.needs or "-") for check in CHECKS.values()]
        screen.table(("Check", "Why", "Needs"), rows, last="left")
        return 0
    screen.is_silent = as_json
    with screen.working("Running the checks"):
        findings = examine(deployment, offline=offline, only=only)
    fixed = [finding for finding in findings if fix and _fix(finding)]
    left = [finding for finding in findings if finding not in fixed]
    if as_json:
        click.echo(json.dumps([_row(finding, is_fixed=finding in fixed) for finding in findings], indent=2))
        return FAILED if left else 0
    for finding in fixed:
        screen.done(f"fixed: {finding.message}")
    for finding in left:
        assert finding.check is not None
        screen.warn(f"{finding.check.id}: {finding.message}")
        screen.say(f"    {finding.check.why}")
        for hint in finding.hints:
            screen.command(hint)
    if not left:
        count = sum(1 for check in CHECKS.values() if not (offline and check.needs) and (not only or check.id in only))
        screen.done(f"{count} checks, nothing wrong.")
    return FAILED if left else 0


def _fix(finding: Finding) -> bool:
    """Whether it could be fixed."""
    if finding.fix is None:
        return False
    try:
        finding.fix()
    except OSError:
        return False
    return True


def _row(finding: Finding, *, is_fixed: bool) -> dict[str, object]:
    commands = [spell(hint) for hint in finding.hints]
    check = finding.check.id if finding.check else ""
    row = {"check": check, "finding": finding.message, "command": commands[0], "commands": commands}
    return row | {"fixed": is_fixed, "mended": is_fixed}  # the second is the earlier name of the first
