"""Ctrl-C while files are being written: wait for the step to end, then undo."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

_DEFERRED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def deferred_interrupts() -> Iterator[Callable[[], None]]:
    """Hold back interrupts; yields a check that raises ``KeyboardInterrupt`` if one came.

    Call the check between two steps. Undoing, which that sets off, is not interrupted either. An interrupt after the
    last check changes nothing any more.
    """
    received: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        received.append(number)

    def check() -> None:
        if received:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, remember) for number in _DEFERRED}
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
