"""The search of many logs for what answers a question: in turns, newest log first."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, TypeVar

from workcast.broker.errors import EpochError
from workcast.broker.history import History
from workcast.events.wire import read_event
from workcast.index.hit import Hit
from workcast.index.log_scan import LogScan, SearchedLog
from workcast.index.place import Place
from workcast.ledger.event_fields import moment
from workcast.ledger.summary import Summary
from workcast.question.matcher import Matcher
from workcast.question.question import Question
from workcast.question.run_filter import RunFilter

_MAX_KEPT: Final = 10_000
Result = TypeVar("Result")


class Starts:
    """The times at which logs begin, kept for the next search; for one thread at a time."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._kept: dict[tuple[str, int, int], int] = {}

    def started(self, log: SearchedLog) -> int:
        """Return the time of a log's first event, in milliseconds since 1970; 0 if it has none.

        Raises:
            EpochError: the log was replaced.
            OSError: the log cannot be read.
        """
        key = (log.workcell, log.epoch, log.base)
        if key not in self._kept:
            lines = self._history.read_lines(log.workcell, log.epoch, log.base, 1)
            if not lines:
                return 0
            if len(self._kept) >= _MAX_KEPT:
                self._kept.clear()
            self._kept[key] = max(0, moment(read_event(lines[0]).get("timestamp")) or 0)
        return self._kept[key]


class Search:
    """One search, continued by :meth:`advance`; for one thread at a time.

    Args:
        question: what is asked.
        logs: where, and how far each may be shown.
        history: reads the logs.
        starts: of the logs.
        summary: returns the summary of a workcell; called only if the question is about runs, and may read the log.
        after: where an earlier search stopped; None to begin.
    """

    def __init__(
        self,
        question: Question,
        logs: Iterable[SearchedLog],
        history: History,
        starts: Starts,
        summary: Callable[[str], Summary],
        after: Place | None = None,
    ) -> None:
        self._question = question
        self._matcher = Matcher(question)
        self._runs = RunFilter(question)
        self._history = history
        self._starts = starts
        self._summary = summary
        self._after = after
        self._unsorted = [
            log for log in logs if log.head > log.base and self._runs.admits_place(log.workcell, log.root)
        ]
        self._sorted: list[tuple[tuple[int, str], SearchedLog]] = []
        self._is_sorted = False
        self._scan: LogScan | None = None
        self.place = after
        """What has been searched, and answered."""
        self.scanned = 0
        """Events read."""
        self.skipped = 0
        """Logs that could not be read, or were replaced meanwhile."""
        self.is_done = False

    @property
    def has_progressed(self) -> bool:
        """Whether another search that goes on from ``place`` has less to do; before, it would begin as this one did."""
        return self.is_done or self.place != self._after

    def advance(self, seconds: float, limit: int) -> list[Hit]:
        """Go on for about so many seconds, or until so many hits are found; return them.

        Fewer hits than ``limit`` are not the last ones unless ``is_done``.
        """
        until = time.monotonic() + seconds
        hits: list[Hit] = []
        while not self.is_done and len(hits) < limit:
            if not self._is_sorted:
                self._sort_some(until)
            elif self._scan is not None:
                hits += self._scan_on(self._scan, until, limit - len(hits))
            elif self._sorted:
                self._begin_next()
            else:
                self.is_done = True
            if time.monotonic() >= until:
                break
        if self._is_sorted and not self._sorted and self._scan is None:
            self.is_done = True
        return hits

    def _sort_some(self, until: float) -> None:
        """Find out when logs began, until it is time; then put them in order, the first to be searched last."""
        while self._unsorted:
            log = self._unsorted.pop()
            started = self._try(partial(self._starts.started, log))
            if started is not None:
                self._sorted.append(((-started, log.workcell), log))
            if time.monotonic() >= until:
                return
        after = self._after
        self._sorted = [found for found in self._sorted if after is None or found[0] >= after.rank]
        self._sorted.sort(key=lambda found: found[0], reverse=True)
        self._is_sorted = True

    def _begin_next(self) -> None:
        rank, log = self._sorted.pop()
        if self._runs.needs_summary and self._try(lambda: self._runs.admits(self._summary(log.workcell))) is not True:
            return
        after = self._after
        is_same = after is not None and after.rank == rank and after.epoch == log.epoch
        self._scan = LogScan(
            self._history, log, -rank[0], self._question, self._matcher, after if is_same else None
        )  # fmt: skip

    def _scan_on(self, scan: LogScan, until: float, limit: int) -> list[Hit]:
        before = scan.scanned
        if self._try(partial(scan.advance, until, limit)) is None:
            scan.is_read = True  # it cannot be
        self.scanned += scan.scanned - before
        hits, place = scan.take(limit)
        self.place = place or self.place
        if not scan.has_found:
            self.place = scan.place
            if scan.is_read:
                self._scan = None
        return hits

    def _try(self, read: Callable[[], Result]) -> Result | None:
        """Return what is read; None if the log cannot be read or was replaced, which is counted."""
        try:
            return read()
        except (EpochError, OSError):
            self.skipped += 1
            return None
