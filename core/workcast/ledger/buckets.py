"""Counts along an axis, in a bounded number of buckets of one width."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, get_args

BucketFigure = Literal["events", "prompts", "answers", "calls", "failed", "changes", "errors", "tokens"]
FIGURES: Final[tuple[BucketFigure, ...]] = get_args(BucketFigure)
EVENTS, PROMPTS, ANSWERS, CALLS, FAILED, CHANGES, ERRORS, TOKENS = range(len(FIGURES))
MAX_BUCKETS: Final = 1024


class Spread(NamedTuple):
    """Consecutive buckets of one width from ``start`` on; each has a count for each of ``FIGURES``."""

    start: int
    width: int
    rows: list[list[int]]


@dataclass(slots=True)
class Buckets:
    """The counts of buckets ``i``, which reach from ``i * width`` to below ``(i + 1) * width``.

    Where there would be more than 1,024 from the first to the last, the width doubles: so the sums stay exact and the
    size stays bounded, however long the axis is.
    """

    width: int = 1
    rows: dict[int, list[int]] = field(default_factory=dict[int, list[int]])
    first: int = 0
    last: int = -1

    def at(self, place: int) -> list[int]:
        """Return the counts at a place, to be added to; valid until the next call."""
        return self.rows.get(place // self.width) or self._open(place)

    def _open(self, place: int) -> list[int]:
        index = place // self.width
        if not self.rows:
            self.first = self.last = index
        first, last = min(self.first, index), max(self.last, index)
        while last - first >= MAX_BUCKETS:
            self._double()
            index = place // self.width
            first, last = min(self.first, index), max(self.last, index)
        self.first, self.last = first, last
        return self.rows.setdefault(index, [0] * len(FIGURES))

    def _double(self) -> None:
        self.width *= 2
        self.first //= 2
        self.last //= 2
        rows, self.rows = self.rows, {}
        for index, counts in rows.items():
            merged = self.rows.get(index // 2)
            self.rows[index // 2] = (
                counts if merged is None else [one + two for one, two in zip(merged, counts, strict=True)]
            )

    def spread(self, most: int) -> Spread:
        """Return all counts in at most ``most`` buckets, which begin at a multiple of their width."""
        if not self.rows:
            return Spread(0, self.width, [])
        group = -(-(self.last - self.first + 1) // most)
        while self.last // group - self.first // group >= most:
            group += 1
        first = self.first // group
        rows = [[0] * len(FIGURES) for _ in range(self.last // group - first + 1)]
        for index, counts in self.rows.items():
            row = rows[index // group - first]
            for figure, count in enumerate(counts):
                row[figure] += count
        return Spread(first * group * self.width, group * self.width, rows)
