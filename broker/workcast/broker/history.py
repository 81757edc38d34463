"""History: the one door to old events, with the logs of a root behind it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from workcast.broker.errors import EpochError
from workcast.broker.log import LogReader
from workcast.broker.root import Root
from workcast.broker.wire import wire

_MAX_READERS: Final = 256
"""Indexes kept; the least recently used one is made anew when it is needed again."""


@dataclass(frozen=True, slots=True)
class Extent:
    """What a log holds now. Epoch 0 while there is no line."""

    epoch: int
    base: int
    end: int


def epoch_of(root: Root, workcell: str, reader: LogReader) -> int:
    """The epoch of a log as it lies on disk: its header's, else the state file's, else its first line's.

    A header's epoch stands back only behind one that was written to take its place.
    """
    if reader.natural_epoch is None:
        return 0
    told = reader.header.epoch if reader.header else reader.natural_epoch
    written = root.epoch(workcell, reader.header.epoch if reader.header else None)
    return told if written is None else written


class History:
    """Reads any range of any log of one root; safe for several threads, which take turns."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._readers: OrderedDict[str, LogReader] = OrderedDict()
        self._lock = threading.Lock()

    def extent(self, workcell: str) -> Extent | None:
        """What the workcell's log holds, or None if this root has no such workcell."""
        with self._lock:
            if not self._root.holds(workcell):
                self._readers.pop(workcell, None)
                return None
            reader = self._reader(workcell)
            return Extent(epoch_of(self._root, workcell, reader), reader.base, reader.end)

    def read(self, workcell: str, epoch: int, offset: int, limit: int, max_bytes: int = 1 << 20) -> list[bytes]:
        """The wire bytes of at most ``limit`` events from ``offset`` on, in ``epoch``; fewer at the log's end.

        Raises:
            EpochError: the log has another epoch, before the read or after it.
        """
        return [wire(line) for line in self.read_lines(workcell, epoch, offset, limit, max_bytes)]

    def read_lines(self, workcell: str, epoch: int, offset: int, limit: int, max_bytes: int = 1 << 20) -> list[bytes]:
        """Like :meth:`read`, but the log's own lines, whole."""
        with self._lock:
            reader = self._reader(workcell)
            self._check(workcell, epoch, reader)
            if not reader.base <= offset < reader.end:
                return []
            generation = reader.generation
            lines = reader.read(offset, limit, max_bytes).lines
            reader.refresh()
            if reader.generation != generation:
                self._check(workcell, epoch, reader)
                raise EpochError(f"the log of {workcell} was replaced while it was read; subscribe again")
            self._check(workcell, epoch, reader)
            return lines

    def _check(self, workcell: str, epoch: int, reader: LogReader) -> None:
        found = epoch_of(self._root, workcell, reader)
        if found != epoch:
            raise EpochError(f"expected epoch {epoch} of {workcell}, its log has {found}; subscribe again")

    def _reader(self, workcell: str) -> LogReader:
        reader = self._readers.pop(workcell, None) or LogReader(self._root.log(workcell), self._root.index(workcell))
        self._readers[workcell] = reader
        if len(self._readers) > _MAX_READERS:
            self._readers.popitem(last=False)
        reader.refresh()
        return reader
