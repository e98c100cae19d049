"""A fixed number of places for expensive work. No sender gets all of them."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class BusyError(Exception):
    """There is no place now. Try again a little later."""


class GreedyError(BusyError):
    """This sender has all the places that one gets."""


class Admission:
    """Places for one kind of work.

    Args:
        places: How much of it goes on at once, waiting work included.
        places_of_a_network: How much of it one sender has at once.
    """

    def __init__(self, places: int, places_of_a_network: int) -> None:
        self._places = places
        self._places_of_a_network = places_of_a_network
        self._taken: Counter[str] = Counter()
        self._total = 0

    def require_place(self, network: str) -> None:
        """Raise :class:`BusyError` if ``network`` would get no place now."""
        if self._taken.get(network, 0) >= self._places_of_a_network:
            raise GreedyError
        if self._total >= self._places:
            raise BusyError

    @contextmanager
    def place(self, network: str) -> Iterator[None]:
        """A place for as long as the block runs.

        Raises:
            GreedyError: ``network`` has all that one gets.
            BusyError: There is none.
        """
        self.require_place(network)
        self._taken[network] += 1
        self._total += 1
        try:
            yield
        finally:
            self._total -= 1
            self._taken[network] -= 1
            if not self._taken[network]:
                del self._taken[network]
