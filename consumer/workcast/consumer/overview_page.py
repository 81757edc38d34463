"""The overview of a log: what happened where in it."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import UTC, datetime
from typing import Final, Literal

from workcast.broker.errors import EpochError
from workcast.broker.root import Root
from workcast.consumer.protocol import Bucket, Overview
from workcast.events.timestamp import format_timestamp
from workcast.index.view import View
from workcast.ledger.buckets import FIGURES
from workcast.ledger.prices import PriceTable

MAX_BUCKETS: Final = 1000


def overview_page(
    root: Root, workcell: str, prices: PriceTable, buckets: int, by: Literal["offset", "time"], seconds: float
) -> Overview:
    """Return an overview in at most ``buckets`` buckets, reading what is not indexed for about so many seconds.

    Raises:
        EpochError: the log is not the one that was published; its relay will give it an epoch.
        OSError: the log cannot be read.
    """
    with closing(View(root, prices)) as view:
        log, _ = view.follow(workcell, time.monotonic() + seconds)
    if not log.epoch and not log.is_empty:
        raise EpochError(f"the log of {workcell} is being replaced; ask again")
    spread = log.figures.spread(buckets, by_time=by == "time")
    begin, end = spread.start, spread.start + spread.width * len(spread.rows)
    is_timed = by == "time"
    return Overview(
        epoch=log.epoch, base=log.base, head=log.figures.offset, by=by,
        from_=_time(begin) if is_timed else begin, to=_time(end) if is_timed else end, width=spread.width,
        buckets=[Bucket.model_validate(dict(zip(FIGURES, row, strict=True))) for row in spread.rows],
        complete=not log.missing,
    )  # fmt: skip


def _time(seconds: int) -> str | None:
    """Return a time; None if it is not one of the calendar."""
    try:
        return format_timestamp(datetime.fromtimestamp(seconds, UTC))
    except (ValueError, OverflowError, OSError):
        return None
