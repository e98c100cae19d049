"""What comes after a change of the store, in every command: ``apply``, which is offered where a person answers."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from src.ops.containers.stack import SECONDS_FOR_DOCKER, Stack
from src.utils.secrets.command import manage

if TYPE_CHECKING:
    from src.ops.deployment.deployment import Deployment
    from src.ops.terminal.screen import Screen


def show_next(screen: Screen, deployment: Deployment, *, can_ask: bool = True) -> None:
    """Name ``apply``, or do it at once when the person at the terminal agrees.

    Args:
        screen: Where it is shown.
        deployment: Whose store has changed.
        can_ask: Whether the person may be asked.

    Raises:
        SecretsError: It was tried, and failed.
    """
    if (
        can_ask
        and sys.stdin.isatty()
        and sys.stdout.isatty()
        and Stack(deployment, seconds=SECONDS_FOR_DOCKER).is_running()
    ):
        from src.ops.commands.apply import apply_now
        from src.ops.terminal.prompts import confirm

        screen.say("")
        if confirm("The containers still have the old value. Apply the change to them now?", default=True):
            apply_now(screen, deployment)
            return
    screen.commands("Next:", [manage("apply")])
