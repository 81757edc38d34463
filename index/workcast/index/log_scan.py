"""The search of one log by reading it: what an index has to agree with, and what works without one."""

from __future__ import annotations

import operator
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from workcast.broker.history import History
from workcast.events.wire import read_event
from workcast.index.hit import Hit
from workcast.index.place import END, Place
from workcast.items.item import Item
from workcast.items.item_fold import ItemFold
from workcast.question.matcher import Matcher
from workcast.question.question import Flags, Names, Question

_READ_LINES: Final = 1024
_READ_BYTES: Final = 1 << 18
"""Read at once: the events of a few milliseconds, so that a turn is not much longer than it may be."""
_OFFSET: Final = operator.attrgetter("offset")


@dataclass(frozen=True, slots=True)
class SearchedLog:
    """A log, and the range of it that may be shown."""

    workcell: str
    root: str
    """The root's name; that of its directory if it has none."""
    epoch: int
    base: int
    head: int


class LogScan:
    """Reads a log in turns, and finds the items that answer a question.

    Args:
        history: reads the log.
        log: how far to read.
        started: the time of its first event.
        question: what is asked.
        matcher: the same, ready to be put to items.
        after: where an earlier search of this log stopped; None to begin.
    """

    def __init__(
        self,
        history: History,
        log: SearchedLog,
        started: int,
        question: Question,
        matcher: Matcher,
        after: Place | None = None,
    ) -> None:
        self._history = history
        self._log = log
        self._started = started
        self._matcher = matcher
        self._after = (after.end, after.offset) if after is not None else (0, -1)
        resume = after.resume if after is not None and not _needs_calls(question) else log.base
        self._fold = ItemFold(max(resume, log.base))
        self._survey = ItemFold(log.base) if _asks_for_open(question) else None
        """Finds out which calls are open at the head, before items are put to the question."""
        self._asks_for_open = self._survey is not None
        self._open: frozenset[int] = frozenset()
        self._found: deque[tuple[Place, Hit]] = deque()
        self.is_read = False
        """Whether the log has been read to its head."""
        self.scanned = 0
        """Events read."""

    @property
    def place(self) -> Place:
        """What has been read."""
        end = self._fold.end
        done = (end + 1, end - 1) if self.is_read else (end, END)  # texts that are not whole come after the last event
        return self._place(self._fold.resume_offset, *max(done, self._after))

    def take(self, limit: int) -> tuple[list[Hit], Place | None]:
        """Remove and return the first hits that were found, and the place of the last one."""
        hits: list[Hit] = []
        place = None
        while self._found and len(hits) < limit:
            place, hit = self._found.popleft()
            hits.append(hit)
        return hits, place

    @property
    def has_found(self) -> bool:
        return bool(self._found)

    def advance(self, until: float, limit: int) -> bool:
        """Read on, until ``limit`` hits are found or a time of ``time.monotonic``, and at least a little.

        Returns:
            Whether the log has been read to its head.

        Raises:
            EpochError: the log was replaced.
            OSError: the log cannot be read.
        """
        while not self.is_read and len(self._found) < limit:
            if self._survey is not None:
                self._read(self._survey)
                if self._survey.end >= self._log.head:
                    self._open, self._survey = self._survey.open_calls(), None
            else:
                self._read(self._fold)
            if time.monotonic() >= until:
                break
        return self.is_read

    def _read(self, fold: ItemFold) -> None:
        offset, head = fold.end, self._log.head
        lines: list[bytes] = []
        if offset < head:
            count = min(_READ_LINES, head - offset)
            lines = self._history.read_lines(self._log.workcell, self._log.epoch, offset, count, _READ_BYTES)
        self.scanned += len(lines)
        is_survey = fold is self._survey
        for line in lines:
            resume = fold.resume_offset
            items = fold.push(fold.end, read_event(line))
            if items and not is_survey:
                self._match(items, resume, fold.end)
        if is_survey:
            if not lines and offset < head:
                self._survey, self._open = None, fold.open_calls()
            return
        if fold.end >= head or not lines:  # without lines, the log ends before its head: a broker knows more of it
            self._match(fold.close(), fold.resume_offset, fold.end + 1)
            self.is_read = True

    def _match(self, items: Iterable[Item], resume: int, end: int) -> None:
        for item in sorted(items, key=_OFFSET):
            if (end, item.offset) <= self._after:
                continue
            shown = item
            if self._asks_for_open and item.kind == "call" and item.offset not in self._open:
                shown = replace(item, flags=item.flags - {"open"})
            match = self._matcher.match(shown)
            if match is not None:
                hit = Hit(
                    self._log.workcell, self._log.epoch, item.offset, item.type, item.timestamp,
                    match.field, match.snippet, match.marks,
                )  # fmt: skip
                self._found.append((self._place(resume, end, item.offset), hit))

    def _place(self, resume: int, end: int, offset: int) -> Place:
        return Place(self._started, self._log.workcell, self._log.epoch, resume, end, offset)


def _asks_for_open(question: Question) -> bool:
    return any(isinstance(filter_, Flags) and "open" in filter_.flags for filter_ in question.filters)


def _needs_calls(question: Question) -> bool:
    """Whether what began before an item may decide about it: the tool of its call."""
    return any(isinstance(filter_, Names) and filter_.field == "tool" for filter_ in question.filters)
