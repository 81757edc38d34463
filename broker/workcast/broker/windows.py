"""The windows of all workcells: kept within a budget, which is lowered for a while when the server is full."""

from __future__ import annotations

import logging
from typing import Final

from workcast.broker.publisher import Publisher
from workcast.broker.warn_once import WarnOnce

_MEASURE_EVERY: Final = 12
"""Sweeps: windows that expired or were removed by hand are counted until then."""
_GROWTH: Final = 1 / 64
"""Of the budget, by which a lowered one rises at each sweep: it is whole again after some minutes."""

logger = logging.getLogger("workcast.relay")


class Windows:
    """Keeps the windows of all workcells within a budget, on behalf of one relay.

    Nothing is lost with a window: its events are in their log, and gateways request what they need.

    Args:
        publisher: to the broker.
        warnings: where to say that the server is full.
        sets_budget: whether the publisher's budget becomes that of all relays.
    """

    def __init__(self, publisher: Publisher, warnings: WarnOnce, *, sets_budget: bool) -> None:
        self._publisher = publisher
        self._warnings = warnings
        self._sets_budget = sets_budget
        self._budget = publisher.budgets.window_bytes
        self._sweeps = 0

    def sweep(self) -> None:
        """Cut windows until they fit the budget.

        Raises:
            BrokerError: Redis is away.
        """
        most = self._publisher.budgets.window_bytes
        self._budget = min(most, self._budget + int(most * _GROWTH))
        budget = self._budget if self._sets_budget else None
        self._publisher.keep_window_budget(budget, measure=self._sweeps % _MEASURE_EVERY == 0)
        self._sweeps += 1
        if self._budget == most:
            self._warnings.passed("full")

    def make_room(self, problem: str) -> None:
        """Halve the windows, because the server is full; sweeps raise the budget again.

        Args:
            problem: the server's answer.

        Raises:
            BrokerError: Redis is away.
        """
        self._warnings.warn("full", f"{problem}. Relaying goes on; windows are cut to make room")
        self._budget = self._publisher.keep_window_budget(None).after // 2
        self._publisher.keep_window_budget(self._budget, goal=self._budget)
