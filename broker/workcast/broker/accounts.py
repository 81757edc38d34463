"""The accounts of many logs, each continued from where it was when it was last asked for."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Final

from workcast.broker.history import History
from workcast.broker.row_file import RowFile
from workcast.events.wire import inspect
from workcast.ledger.account import Account
from workcast.ledger.prices import PriceTable, shipped_prices

_MAX_KEPT: Final = 8
"""Accounts that are kept, those used last; another one is folded from scratch. Each takes a few megabytes."""
_READ_LINES: Final = 4096


class Accounts:
    """Folds logs up to their published heads; not safe for several threads at once."""

    def __init__(self, history: History, prices: PriceTable | None = None) -> None:
        self._prices = prices or shipped_prices()
        self._history = history
        self._kept: OrderedDict[str, tuple[int, Account]] = OrderedDict()

    def advance(self, workcell: str, epoch: int, base: int, head: int, seconds: float) -> Account | None:
        """Continue an account up to ``head``, for about ``seconds``.

        Args:
            workcell: the workcell's id.
            epoch: the epoch of its log; an account of another epoch is dropped.
            base: the offset at which the log begins.
            head: the offset after the last event to count.
            seconds: the time after which to return, so that other accounts have their turn.

        Returns:
            The account, once it has reached the head or the log's end; None if there is more to do: call again.

        Raises:
            EpochError: the log has another epoch.
            OSError: the log cannot be read.
        """
        kept_epoch, account = self._kept.pop(workcell, (None, None))
        if account is None or kept_epoch != epoch or account.offset < base:
            account = Account(base, self._prices, RowFile)
        until = time.monotonic() + seconds
        done = account.offset >= head
        while not done and time.monotonic() < until:
            count = min(_READ_LINES, head - account.offset)
            lines = self._history.read_lines(workcell, epoch, account.offset, count)
            for line in lines:
                account.add(inspect(line)[1])
            done = not lines or account.offset >= head
        # Kept only after the reads: if one failed, the log may be another one.
        self._kept[workcell] = (epoch, account)
        if len(self._kept) > _MAX_KEPT:
            self._kept.popitem(last=False)
        return account if done else None
