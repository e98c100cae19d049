"""Becoming another command, which shows its own plan and asks before it changes anything."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

from src.utils.secrets.settings import PROJECT_DIRECTORY

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment


def leave_for(deployment: Deployment, *arguments: str) -> NoReturn:
    """Go on as ``manage_secrets.py`` with these arguments, for the same deployment.

    Args:
        deployment: What it works on.
        arguments: The command and its options.
    """
    script = os.path.join(PROJECT_DIRECTORY, "scripts", "manage_secrets.py")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, script, *arguments, *deployment.spelling.flags()])  # noqa: S606
