"""The accounts of many logs, each carried on from where it was when it was asked for last."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Final

from workcast.broker.history import History
from workcast.events.wire import inspect
from workcast.ledger.account import Account
from workcast.ledger.prices import PriceTable, shipped_prices

_MAX_KEPT: Final = 8
"""Accounts kept; the least recently used one is made anew when it is needed again. Each takes some megabytes."""
_READ_LINES: Final = 4096


class Accounts:
    """Folds logs up to where they are published; not safe for several threads at once."""

    def __init__(self, history: History, prices: PriceTable | None = None) -> None:
        self.prices = prices or shipped_prices()
        self._history = history
        self._kept: OrderedDict[str, tuple[int, Account]] = OrderedDict()

    def advance(self, workcell: str, epoch: int, base: int, head: int, seconds: float) -> Account | None:
        """Carry an account on until ``head``, for about so many seconds.

        Args:
            workcell: whose log.
            epoch: its epoch; an account of another one is forgotten.
            base: where the log begins.
            head: the offset after the last event to be counted.
            seconds: after which there is a pause, for others to have their turn.

        Returns:
            The account, if it is at the head, or the log ends before; None if there is more to do: ask again.

        Raises:
            EpochError: the log has another epoch.
            OSError: it cannot be read.
        """
        kept_epoch, account = self._kept.pop(workcell, (None, None))
        if account is None or kept_epoch != epoch or account.offset < base:
            account = Account(base, self.prices)
        until = time.monotonic() + seconds
        done = account.offset >= head
        while not done and time.monotonic() < until:
            count = min(_READ_LINES, head - account.offset)
            lines = self._history.read_lines(workcell, epoch, account.offset, count)
            for line in lines:
                account.add(inspect(line)[1])
            done = not lines or account.offset >= head
        # Kept only now: where reading failed, the log may be another one.
        self._kept[workcell] = (epoch, account)
        if len(self._kept) > _MAX_KEPT:
            self._kept.popitem(last=False)
        return account if done else None
