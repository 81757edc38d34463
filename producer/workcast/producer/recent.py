"""Collections that remember recent keys, so that their memory does not grow with a run."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, Generic, TypeVar

REMEMBERED: Final = 10_000
"""Some 1 MB of ids. What an agent prints twice, it prints twice within a few lines."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class RecentMap(Generic[K, V]):
    """Keeps at least the last ``remembered`` keys that were set, and at most twice as many.

    Older keys are forgotten in one go: a lookup then behaves as if they had never been set.
    """

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._newer: dict[K, V] = {}
        self._older: dict[K, V] = {}

    def __contains__(self, key: K) -> bool:
        return key in self._newer or key in self._older

    def get(self, key: K) -> V | None:
        """Return the value of a key, or None."""
        value = self._newer.get(key)
        return self._older.get(key) if value is None else value

    def __setitem__(self, key: K, value: V) -> None:
        newer = self._newer
        newer[key] = value
        if len(newer) >= self._remembered:
            self._older, self._newer = newer, {}

    def pop(self, key: K) -> V | None:
        """Remove a key and return its value, or None."""
        older = self._older.pop(key, None)
        return self._newer.pop(key, older)


class RecentSet(Generic[K]):
    """Remembers at least the last ``remembered`` members that were added, and at most twice as many."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._newer: set[K] = set()
        self._older: set[K] = set()

    def __contains__(self, member: K) -> bool:
        return member in self._newer or member in self._older

    def add(self, member: K) -> None:
        """Remember a member."""
        newer = self._newer
        newer.add(member)
        if len(newer) >= self._remembered:
            self._older, self._newer = newer, set()
