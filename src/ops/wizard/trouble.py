"""Showing an error between two questions."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from src.ops.terminal.screen import Screen
    from src.utils.secrets.errors import SecretsError


def show_error(screen: Screen, error: SecretsError) -> None:
    """What happened, and what to do about it, a line for each step."""
    screen.warn(str(error))
    for line in error.hint.splitlines():
        screen.say(f"  {line}")
