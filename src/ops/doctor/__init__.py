"""Finds what is wrong, or will go wrong, and says how to fix it. See :mod:`.check` for how a check is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import files, repository, stack, values
from .check import CHECKS, Check, Context, Finding, Harm, examine_check

if TYPE_CHECKING:
    from collections.abc import Sequence

    from src.ops.deployment.deployment import Deployment

__all__ = [
    "CHECKS",
    "Check",
    "Context",
    "Examination",
    "Finding",
    "Harm",
    "examine",
    "files",
    "repository",
    "stack",
    "values",
]


@dataclass(frozen=True)
class Examination:
    """What the checks found.

    Attributes:
        findings: What is wrong, the worst first.
        made: How many of the checks were made.
        not_made: Why the others were not, or only in part, by their id.
    """

    findings: list[Finding]
    made: int
    not_made: dict[str, str]


def examine(deployment: Deployment, *, offline: bool = False, only: Sequence[str] = ()) -> Examination:
    """Run the checks.

    One cause is one finding. What a check found is left out when a check that it follows found the same: something
    about the same secrets or paths, or, where a finding names none, anything. So is an error that stops several checks,
    after the first. When something stops a check, the check that says more of it is made, too.

    Args:
        deployment: What is examined.
        offline: Leave out what needs a server or Docker.
        only: The ids of the checks to run; all when left out.
    """
    context = Context(deployment, offline=offline)
    waiting = [check for check in CHECKS.values() if not only or check.id in only]
    asked = len(waiting)
    findings: list[Finding] = []
    not_made: dict[str, str] = {}
    for check in waiting:  # which grows
        for one in examine_check(check, context):
            if isinstance(one, Finding):
                findings.append(one)
                continue
            not_made[check.id] = one.reason
            if one.cause and CHECKS[one.cause] not in waiting:
                waiting.append(CHECKS[one.cause])
                asked += 1
    order = list(Harm)
    findings.sort(key=lambda finding: order.index(_check_of(finding).harm))
    left = _leave_out_repetitions(_leave_out_consequences(findings))
    for finding in findings:
        if finding.could_not_run and finding not in left:
            not_made[_check_of(finding).id] = "see above"
    return Examination(left, asked - len(not_made), not_made)


def _leave_out_consequences(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if not _is_explained(finding, findings)]


def _is_explained(finding: Finding, findings: list[Finding]) -> bool:
    causes = [one for one in findings if _check_of(one).id in _check_of(finding).follows]
    if not causes:
        return False
    covered = frozenset().union(*(cause.about for cause in causes))
    return finding.could_not_run or finding.about <= covered


def _leave_out_repetitions(findings: list[Finding]) -> list[Finding]:
    """Of the checks that the same error stops, the one that is about it, or the first."""
    known = {finding.cause for finding in findings if not finding.could_not_run}
    left = []
    for finding in findings:
        if finding.could_not_run and finding.cause in known:
            continue
        known.add(finding.cause)
        left.append(finding)
    return left


def _check_of(finding: Finding) -> Check:
    assert finding.check is not None
    return finding.check
