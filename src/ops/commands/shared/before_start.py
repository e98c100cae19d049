"""What ``make up`` looks at before it starts anything."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from src.ops.containers.preflight import find_problems
from src.ops.containers.stack import Stack
from src.ops.terminal.report import report_error

from .options import deployment_options, run_click

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment


@click.command("up")
@deployment_options
def before_start(deployment: Deployment) -> int:
    """Say what is missing for the stack; the exit code is 1 then."""
    problems = find_problems(deployment)
    codes = [report_error(f"{problem.message}; nothing was started", *problem.hints) for problem in problems]
    if not problems:
        Stack(deployment).require_own()
    return max(codes, default=0)


if __name__ == "__main__":
    sys.exit(run_click(before_start))
