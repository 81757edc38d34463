"""How far the index is behind the logs that a gateway shows."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing

from workcast.broker.roots import Roots
from workcast.index.view import View
from workcast.ledger.prices import PriceTable
from workcast.ledger.summary import Summary


class IndexLag:
    """Compares the index of some roots with the heads of their logs.

    Args:
        roots: whose index.
        prices: of the index.
        summaries: returns those of the fleet.
    """

    def __init__(self, roots: Roots, prices: PriceTable, summaries: Callable[[], Iterable[Summary]]) -> None:
        self._roots = roots
        self._prices = prices
        self._summaries = summaries
        self._last: int | None = None

    def last(self) -> int | None:
        """Return what the last :meth:`measure` found."""
        return self._last

    def measure(self) -> int | None:
        """Return how many events of logs here are not indexed; None if there is no index. Reads files."""
        known: dict[str, tuple[int, int]] = {}
        here: set[str] = set()
        has_index = False
        for root in self._roots.each:
            here.update(root.ids())
            try:
                with closing(View(root, self._prices)) as view:
                    has_index |= view.has_index
                    known |= view.heads()
            except sqlite3.Error:
                continue
        self._last = None
        if has_index:
            behind = 0
            for summary in list(self._summaries()):
                if summary.id in here:
                    epoch, head = known.get(summary.id, (0, 0))
                    start = head if epoch == summary.epoch else summary.base
                    behind += max(0, summary.head - max(start, summary.base))
            self._last = behind
        return self._last
