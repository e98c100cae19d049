"""One look at what the application depends on, for all who ask at the same time."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Checks = dict[str, dict[str, object]]

SECONDS_VALID = 1.0
SECONDS_USABLE = 5.0
SECONDS_WORTH_WAITING = 0.3


class Readiness:
    """Keeps the latest result for a moment, and never has two looks going on.

    Args:
        look: Looks; its result is shared, so nobody may change it.
    """

    def __init__(self, look: Callable[[], Awaitable[Checks]]) -> None:
        self._look = look
        self._task: asyncio.Task[Checks] | None = None
        self._checks: Checks = {}
        self._valid_until = self._usable_until = 0.0
        self._generation = 0

    async def checks(self) -> Checks:
        """What was found, at most a second ago; at most five seconds ago while looking takes long."""
        if monotonic() < self._valid_until:
            return self._checks
        if self._task is None:
            self._task = asyncio.create_task(self._look_and_keep(self._generation))
        looking = self._task
        if monotonic() < self._usable_until:
            # A busy application looks slowly. That is no reason to call it unhealthy, and restart it.
            done, _ = await asyncio.wait({looking}, timeout=SECONDS_WORTH_WAITING)
            if not done:
                return self._checks
        # One who hangs up must not end the look of the others.
        return await asyncio.shield(looking)

    def forget(self) -> None:
        """Something has changed: the next to ask gets a new look, and a look that is going on is not kept."""
        self._valid_until = self._usable_until = 0.0
        self._generation += 1
        self._task = None

    async def _look_and_keep(self, generation: int) -> Checks:
        this_task = asyncio.current_task()
        try:
            checks = await self._look()
        finally:
            if self._task is this_task:
                self._task = None
        if generation == self._generation:
            self._checks = checks
            self._valid_until = monotonic() + SECONDS_VALID
            self._usable_until = monotonic() + SECONDS_USABLE
        return checks


def is_ready(checks: Checks) -> bool:
    """Whether requests can be served."""
    return all(check["state"] in ("ok", "not configured") for check in checks.values())
