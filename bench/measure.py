"""Measuring two programs alternately, so that other load on the machine affects both."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
import timeit
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """One row of the table.

    Attributes:
        what: What was measured.
        peer: What it is compared with.
        ours: Seconds, or bytes.
        theirs: The same for the peer.
        target: The largest acceptable ratio; None if there is no target.
        unit: ``s`` or ``B``.
    """

    what: str
    peer: str
    ours: float
    theirs: float
    target: float | None = None
    unit: str = "s"

    @property
    def ratio(self) -> float:
        """Ours divided by theirs: below 1 is faster."""
        return self.ours / self.theirs


def expressions(ours: str, theirs: str, names: Mapping[str, object], number: int = 500_000) -> tuple[float, float]:
    """Return the seconds for one evaluation of each expression."""
    best = [float("inf"), float("inf")]
    for _ in range(15):
        for index, text in enumerate((ours, theirs)):
            seconds = timeit.timeit(text, globals=dict(names), number=number) / number
            best[index] = min(best[index], seconds)
    return best[0], best[1]


def processes(
    ours: Sequence[str], theirs: Sequence[str], environ: Mapping[str, str], runs: int = 25
) -> tuple[float, float]:
    """Return the seconds for one whole process of each; the median of several runs."""

    def run(command: Sequence[str]) -> float:
        start = time.perf_counter()
        done = subprocess.run(command, env=dict(environ), capture_output=True, check=False)
        seconds = time.perf_counter() - start
        if done.returncode:
            sys.exit(f"{command} failed: {done.stderr.decode()}")
        return seconds

    return turns(run, ours, theirs, runs)


def turns(
    measure: Callable[[Sequence[str]], float], ours: Sequence[str], theirs: Sequence[str], runs: int = 25
) -> tuple[float, float]:
    """Return the median of ``measure`` for each command, measured alternately."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(runs + 1):
        for index, command in enumerate((ours, theirs)):
            seconds = measure(command)
            if turn:  # the first run fills the caches
                times[index].append(seconds)
    return statistics.median(times[0]), statistics.median(times[1])
