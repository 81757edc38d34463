"""How long calls took: their sum and the longest are exact, percentiles are within 2 %."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

_EXACT: Final = 64
"""Shorter times have a class of their own; each octave from there on has 32 classes."""


@dataclass(slots=True)
class CallTimes:
    """The distribution of times in whole milliseconds, in bounded memory: at most about 1,500 classes."""

    sum_ms: int = 0
    max_ms: int | None = None
    classes: dict[int, int] = field(default_factory=dict[int, int])
    """How many times fall into each class."""

    def add(self, ms: int) -> None:
        """Count a time, 0 or more."""
        self.sum_ms += ms
        self.max_ms = ms if self.max_ms is None or ms > self.max_ms else self.max_ms
        index = _class_of(ms)
        self.classes[index] = self.classes.get(index, 0) + 1

    def remove(self, ms: int) -> None:
        """Take back a time that was counted; ``max_ms`` stays."""
        self.sum_ms -= ms
        index = _class_of(ms)
        left = self.classes.get(index, 0) - 1
        if left > 0:
            self.classes[index] = left
        else:
            self.classes.pop(index, None)

    def merge(self, other: CallTimes) -> None:
        """Count all times of another distribution."""
        self.sum_ms += other.sum_ms
        if other.max_ms is not None and (self.max_ms is None or other.max_ms > self.max_ms):
            self.max_ms = other.max_ms
        classes = self.classes
        for index, count in other.classes.items():
            classes[index] = classes.get(index, 0) + count

    def percentile(self, percent: int) -> int | None:
        """Return the time that so many of a hundred calls did not exceed; None without calls."""
        rank = -(-sum(self.classes.values()) * percent // 100)
        for index in sorted(self.classes):
            rank -= self.classes[index]
            if rank <= 0:
                return min(_middle_of(index), self.max_ms or 0)
        return None


def _class_of(ms: int) -> int:
    shift = max(0, ms.bit_length() - 6)
    return (shift << 5) + (ms >> shift)


def _middle_of(index: int) -> int:
    if index < _EXACT:
        return index
    shift = (index >> 5) - 1
    return (((index & 31) + 32) << shift) + (1 << shift >> 1)
