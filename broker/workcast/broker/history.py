"""History: the one door to old events, with the logs of some roots behind it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zlib import crc32

from workcast.broker.errors import EpochError
from workcast.broker.log import LogReader
from workcast.broker.root import Root
from workcast.broker.roots import Roots
from workcast.broker.watermark import Watermark
from workcast.events.wire import wire

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


def is_file_of(noted: Watermark, reader: LogReader) -> bool:
    """Whether a log is the file that was noted in its epoch, or what a prune has put in that one's place.

    A prune is renamed into place, and its base lies higher: then the header vouches for its lines. Any other file is a
    copy, of which nobody can say what was edited in it.
    """
    return noted.inode == reader.inode or (reader.header is not None and reader.base > noted.base)


class History:
    """Reads any range of any log of these roots; safe for several threads, which take turns."""

    def __init__(self, roots: Roots) -> None:
        self._roots = roots
        self._readers: OrderedDict[Path, LogReader] = OrderedDict()
        self._lock = threading.Lock()

    def extent(self, workcell: str) -> Extent | None:
        """What the workcell's log holds, or None if no root has such a workcell."""
        with self._lock:
            root = self._roots.holding(workcell)
            if root is None:
                return None
            reader = self._reader(root, workcell)
            return Extent(epoch_of(root, workcell, reader), reader.base, reader.end)

    def synced_extent(self, workcell: str) -> Extent | None:
        """What may be shown of a log while no broker tells its head: all of it, once it is on disk and in the mark.

        Without the mark, a relay could not tell later that another log has taken the place of what was shown. A log
        that is not the one of the mark is shown empty, until a relay has said which epoch it has.

        Raises:
            OSError: the log cannot be synced, or the mark not be written.
        """
        with self._lock:
            root = self._roots.holding(workcell)
            if root is None:
                return None
            noted = root.mark(workcell)
            reader = self._reader(root, workcell)
            epoch, end = epoch_of(root, workcell, reader), reader.end
            switched = noted is not None and noted.epoch != epoch
            if end == reader.base or switched or _differs_from(noted, epoch, reader):
                return Extent(epoch, reader.base, reader.base)
            reader.sync()
            if noted is None or noted.head < end or noted.inode != reader.inode:
                last = reader.read(end - 1, 1, 1).lines
                if not last:  # replaced meanwhile
                    return Extent(epoch, reader.base, reader.base)
                root.note(workcell, Watermark(epoch, end, crc32(last[0]), reader.base, reader.inode))
            return Extent(epoch, reader.base, end)

    def read(self, workcell: str, epoch: int, offset: int, limit: int, max_bytes: int = 1 << 20) -> list[bytes]:
        """The wire bytes of at most ``limit`` events from ``offset`` on, in ``epoch``; fewer at the log's end.

        Raises:
            EpochError: the log has another epoch, before the read or after it, or no root here has the workcell.
        """
        return [wire(line) for line in self.read_lines(workcell, epoch, offset, limit, max_bytes)]

    def read_lines(self, workcell: str, epoch: int, offset: int, limit: int, max_bytes: int = 1 << 20) -> list[bytes]:
        """Like :meth:`read`, but the log's own lines, whole."""
        with self._lock:
            root = self._roots.holding(workcell)
            if root is None:
                raise EpochError(
                    f"expected a workcell that has a log here, got {workcell}; it is gone, or is elsewhere"
                )
            reader = self._reader(root, workcell)
            _check(root, workcell, epoch, reader)
            if not reader.base <= offset < reader.end:
                return []
            generation = reader.generation
            lines = reader.read(offset, limit, max_bytes).lines
            noted = root.mark(workcell)  # before the look at the log: a mark is never ahead of it
            reader.refresh()
            if reader.generation != generation:
                _check(root, workcell, epoch, reader)
                raise EpochError(f"the log of {workcell} was replaced while it was read; subscribe again")
            _check(root, workcell, epoch, reader)
            if _differs_from(noted, epoch, reader):
                raise EpochError(f"the log of {workcell} is another one than was published; its relay will say which")
            return lines

    def _reader(self, root: Root, workcell: str) -> LogReader:
        path = root.log(workcell)
        reader = self._readers.pop(path, None) or LogReader(path, root.index(workcell))
        self._readers[path] = reader
        if len(self._readers) > _MAX_READERS:
            self._readers.popitem(last=False)
        reader.refresh()
        return reader


def _differs_from(noted: Watermark | None, epoch: int, reader: LogReader) -> bool:
    """Whether a log took the place of the one that was noted in its epoch, and no relay has noticed yet."""
    if noted is None or noted.epoch != epoch:
        return False
    if noted.head > reader.end or not is_file_of(noted, reader):
        return True
    if noted.head <= reader.base:
        return False
    last = reader.read(noted.head - 1, 1, 1).lines
    return not last or crc32(last[0]) != noted.crc


def _check(root: Root, workcell: str, epoch: int, reader: LogReader) -> None:
    found = epoch_of(root, workcell, reader)
    if found != epoch:
        raise EpochError(f"expected epoch {epoch} of {workcell}, its log has {found}; subscribe again")
