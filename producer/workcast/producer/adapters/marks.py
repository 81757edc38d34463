"""What was told already, so that it is not told again: in memory that does not grow with the run."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

REMEMBERED: Final = 20_000
"""Some 2 MB of ids. What agents tell again, they tell again at once or a few lines later."""


class Marks:
    """Remembers at least the last ``remembered`` marks, and at most twice as many."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._newer: set[Hashable] = set()
        self._older: set[Hashable] | frozenset[Hashable] = frozenset()

    def __contains__(self, mark: Hashable) -> bool:
        return mark in self._newer or mark in self._older

    def add(self, mark: Hashable) -> None:
        """Remember a mark; the older half of all is forgotten once there are too many."""
        self._newer.add(mark)
        if len(self._newer) >= self._remembered:
            self._older, self._newer = self._newer, set()
