"""What strangers can make the application write to its log has a limit."""

from __future__ import annotations

import logging
from time import monotonic

BURST = 100.0
LINES_PER_SECOND = 2.0
_CHARACTERS_PER_LINE = 200
_LINES_OF_A_TRACEBACK = 20
# What these say, anybody can make them say.
_OF_REQUESTS = frozenset({"uvicorn.access", "uvicorn.error", "asyncio", "cctv.requests"})


class LogLimit(logging.Filter):
    """Lets through a burst, then a few lines a second, and says how many it left out.

    What comes from requests has a budget of its own, so that it cannot silence the rest: what comes from a state, and
    says what somebody has to do.
    """

    def __init__(self) -> None:
        super().__init__()
        self._budgets: dict[bool, _Budget] = {True: _Budget(), False: _Budget()}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this record is written. The first after a gap says how large the gap was."""
        budget = self._budgets[record.name in _OF_REQUESTS]
        left_out = budget.take(_cost(record))
        if left_out is None:
            return False
        if left_out:
            record.msg = f"{record.getMessage()} (before this, {left_out} more lines were left out)"
            record.args = None
        return True


class _Budget:
    def __init__(self) -> None:
        self._lines = BURST
        self._at = monotonic()
        self._left_out = 0

    def take(self, cost: float) -> int | None:
        """How many records were left out since the last; ``None`` if this one is, too."""
        now = monotonic()
        self._lines = min(BURST, self._lines + (now - self._at) * LINES_PER_SECOND)
        self._at = now
        if self._lines < 1:
            self._left_out += 1
            return None
        self._lines -= cost
        left_out, self._left_out = self._left_out, 0
        return left_out


def _cost(record: logging.LogRecord) -> float:
    size = 1 + len(record.getMessage()) // _CHARACTERS_PER_LINE
    return size + (_LINES_OF_A_TRACEBACK if record.exc_info else 0)
