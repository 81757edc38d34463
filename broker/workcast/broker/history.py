"""History: the one way to read old events, with the logs of some roots behind it. Reading writes nothing."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from weakref import WeakKeyDictionary
from zlib import crc32

from workcast.broker.errors import EditedLogError, EpochError
from workcast.broker.identity import decide
from workcast.broker.log import LogReader
from workcast.broker.log_facts import decide_by_files, epoch_of, gather_facts
from workcast.broker.root import Root
from workcast.broker.roots import Roots
from workcast.broker.watermark import Watermark
from workcast.events.wire import wire

_MAX_READERS: Final = 256
"""Indexes kept; the least recently used one is built again when it is needed."""


@dataclass(frozen=True, slots=True)
class Extent:
    """The range of a log's offsets. Epoch 0 while there is no line."""

    epoch: int
    base: int
    end: int


class History:
    """Reads any range of any log of these roots; safe for several threads, which take turns."""

    def __init__(self, roots: Roots) -> None:
        self._roots = roots
        self._readers: OrderedDict[Path, LogReader] = OrderedDict()
        self._shown: WeakKeyDictionary[LogReader, Watermark] = WeakKeyDictionary()
        """How far this process has shown logs that no relay had noted."""
        self._rescanned: WeakKeyDictionary[LogReader, int] = WeakKeyDictionary()
        """Logs that were read again because a line was found to be edited, and their epochs then."""
        self._lock = threading.Lock()

    def extent(self, workcell: str) -> Extent | None:
        """Return what the workcell's log holds; None if no root has such a workcell."""
        with self._lock:
            root = self._roots.holding(workcell)
            if root is None:
                return None
            reader = self._reader(root, workcell)
            reader.refresh()
            return Extent(epoch_of(root, workcell, reader), reader.base, reader.end)

    def synced_extent(self, workcell: str) -> Extent | None:
        """Return what may be shown of a log while no broker gives its head; None if no root has such a workcell.

        That is what a relay has synced and noted, which relays do without a broker too; or, of a log that no relay has
        ever noted, all of it, once it is on disk. A log that is not the one that was noted, or shown before, is shown
        empty, until a relay has given it an epoch.

        Raises:
            OSError: the log cannot be read or synced.
        """
        with self._lock:
            root = self._roots.holding(workcell)
            if root is None:
                return None
            reader, state = self._reader(root, workcell), root.log_state(workcell)
            noted, own = state.watermark(), self._shown.get(reader)
            reader.refresh()
            decision = decide(gather_facts(reader, state, noted=noted, own=own, saw_replacement=_is_new(own, reader)))
            end = reader.base
            if noted is None and (decision.kind == "new" or decision.keeps_what_was_shown):
                end = self._show_all(reader, decision.epoch)
            elif noted is not None and decision.keeps_what_was_shown and not decision.moved:
                end = max(end, noted.head)
            return Extent(decision.epoch, reader.base, end)

    def _show_all(self, reader: LogReader, epoch: int) -> int:
        """Sync a log and remember that all of it was shown; return its end, or its base if it was just replaced."""
        reader.sync()
        last = reader.read(reader.end - 1, 1, 1).lines
        if not last:
            return reader.base
        self._shown[reader] = Watermark(epoch, reader.end, crc32(last[0]), reader.base, reader.inode)
        return reader.end

    def read(self, workcell: str, epoch: int, offset: int, limit: int, max_bytes: int = 1 << 20) -> list[bytes]:
        """Return the wire bytes of at most ``limit`` events from ``offset`` on, in ``epoch``; fewer at the log's end.

        Raises:
            EpochError: the log has another epoch, before or after the read, or no root here has the workcell.
            EditedLogError: one of the lines is not the one that was shown; a relay must look at it.
        """
        return [wire(line) for line in self.read_lines(workcell, epoch, offset, limit, max_bytes)]

    def read_lines(self, workcell: str, epoch: int, offset: int, limit: int, max_bytes: int = 1 << 20) -> list[bytes]:
        """Like :meth:`read`, but return the log's own lines, whole."""
        with self._lock:
            root = self._roots.holding(workcell)
            if root is None:
                raise EpochError(
                    f"expected a workcell that has a log here, got {workcell}; it was removed, or is on another host"
                )
            reader, state = self._reader(root, workcell), root.log_state(workcell)
            reader.refresh()
            _check_epoch(workcell, epoch, epoch_of(root, workcell, reader))
            if not reader.base <= offset < reader.end:
                return []
            generation = reader.generation
            lines = reader.read(offset, limit, max_bytes).lines
            sums = state.sums
            edited = sums.first_difference(epoch, offset, lines)
            if edited is not None and self._rescanned.get(reader) != epoch:
                # Perhaps it was edited before this epoch began, and the index is that of the lines before: once.
                self._rescanned[reader] = epoch
                reader.rescan()
                if not reader.base <= offset < reader.end:
                    return []
                lines = reader.read(offset, limit, max_bytes).lines
                edited = sums.first_difference(epoch, offset, lines)
            decision = decide_by_files(reader, state)
            _check_epoch(workcell, epoch, decision.epoch)
            if reader.generation != generation:
                raise EpochError(f"the log of {workcell} was replaced during the read; subscribe again")
            if decision.needs_epoch:
                raise EpochError(
                    f"the log of {workcell} is not the one that was published ({decision.kind}); "
                    "its relay will give it an epoch"
                )
            if edited is not None:
                raise EditedLogError(workcell, epoch, edited)
            return lines

    def _reader(self, root: Root, workcell: str) -> LogReader:
        path = root.log(workcell)
        reader = self._readers.pop(path, None) or LogReader(path, root.index(workcell))
        self._readers[path] = reader
        if len(self._readers) > _MAX_READERS:
            self._readers.popitem(last=False)
        return reader


def _is_new(own: Watermark | None, reader: LogReader) -> bool:
    return own is not None and own.inode != reader.inode


def _check_epoch(workcell: str, expected: int, found: int) -> None:
    if found != expected:
        raise EpochError(f"expected epoch {expected} of {workcell}, its log has {found}; subscribe again")
