"""Finds what is wrong, or will go wrong, and says how to fix it. See :mod:`.check` for how a check is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import files, repository, stack, values
from .check import CHECKS, Check, Context, Finding, examine_check

if TYPE_CHECKING:
    from collections.abc import Sequence

    from src.ops.deployment.deployment import Deployment

__all__ = ["CHECKS", "Check", "Context", "Finding", "examine", "files", "repository", "stack", "values"]


def examine(deployment: Deployment, *, offline: bool = False, only: Sequence[str] = ()) -> list[Finding]:
    """Run the checks.

    Args:
        deployment: What is examined.
        offline: Leave out those that need the store or the running stack.
        only: The ids of the checks to run; all when left out.
    """
    context = Context(deployment, offline=offline)
    findings: list[Finding] = []
    for check in CHECKS.values():
        if (only and check.id not in only) or (offline and check.needs is not None):
            continue
        findings += examine_check(check, context)
    return findings
