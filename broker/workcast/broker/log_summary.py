"""The summary of a workcell, read from its log, where no gateway and no stream is at hand."""

from __future__ import annotations

from typing import Final

from workcast.broker.log import LogReader
from workcast.broker.log_facts import epoch_of
from workcast.broker.root import Root
from workcast.broker.run_lock import writer_signs
from workcast.events.wire import inspect
from workcast.ledger.lost import as_lost, is_lost
from workcast.ledger.prices import PriceTable
from workcast.ledger.summary import Fold, Summary
from workcast.ledger.tally import Tally

_LINES: Final = 4096
_BYTES: Final = 4 << 20


def read_summary(root: Root, workcell: str, prices: PriceTable) -> Summary:
    """Fold a log into its summary, which takes the longer the longer the log is.

    Raises:
        OSError: the log cannot be read.
    """
    reader = LogReader(root.log(workcell))
    signs = writer_signs(root.workcell(workcell))  # before the log is read: then all that a lost writer wrote is read
    reader.refresh()
    fold = Fold(offset=reader.base, tally=Tally(prices))
    while fold.offset < reader.end:
        lines = reader.read(fold.offset, _LINES, _BYTES).lines
        if not lines:
            break  # the log was replaced meanwhile
        for line in lines:
            fold.add(inspect(line)[1])
    summary = fold.summary(workcell, epoch_of(root, workcell, reader), reader.base, "")
    if reader.inode < 0:
        return summary.model_copy(update={"activity": root.oddity(workcell)})
    return as_lost(summary) if fold.offset > reader.base and is_lost(fold.status, signs) else summary
