"""What ``make up`` says when Compose did not start the stack."""

from __future__ import annotations

import sys

from src.ops.terminal.report import report_error
from src.utils.secrets.command import compose, spell_for

from .options import spelling_of


def main() -> int:
    """Say where to look; returns the exit code."""
    spell_for(spelling_of(sys.argv[1:]))
    return report_error("The stack did not start", compose("logs", purpose="See what each service logs"))


if __name__ == "__main__":
    sys.exit(main())
