"""Folds the figures of one log, on from where an index has them."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from workcast.broker.identity import decide
from workcast.broker.log import LogReader
from workcast.broker.log_facts import gather_facts
from workcast.broker.names import EPOCH_SUFFIX, state_file
from workcast.broker.root import Root
from workcast.broker.watermark import Watermark
from workcast.events.wire import parse
from workcast.ledger.figures import Figures
from workcast.ledger.prices import PriceTable
from workcast.ledger.tally import Tally

TURN_BYTES: Final = 4 << 20
_TURN_LINES: Final = 16_384
_SCAN_BYTES: Final = 32 << 20
"""Searched for lines before other logs have their turn."""


@dataclass(frozen=True, slots=True)
class FileState:
    """What changes whenever a log, or its epoch, does."""

    inode: int = 0
    size: int = 0
    modified: int = 0
    """In nanoseconds, the sum over the log and its epoch's file: one of both is later."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a log is indexed, and the state of its fold there."""

    watermark: Watermark
    figures: bytes
    file: FileState = FileState()
    """As it was when the log was read to its end; of zeros if it was not."""


class FollowedLog:
    """Folds one log; not safe for several threads.

    Args:
        root: of the log.
        workcell: its id.
        prices: by which costs are computed.
        progress: where to go on, if it is of the log that is there now.
    """

    def __init__(self, root: Root, workcell: str, prices: PriceTable, progress: Progress | None = None) -> None:
        self.workcell = workcell
        self.begun_anew = 0
        """How often it turned out that the log is another one than before, so that nothing from before counts."""
        self._root = root
        self._prices = prices
        self._reader = LogReader(root.log(workcell), root.index(workcell))
        self._state = root.log_state(workcell)
        self._generation = self._reader.generation
        self._watermark = Watermark()
        self._file = FileState()
        self.figures = self._new_figures(0)
        if progress is not None and progress.watermark.epoch:
            self._take_up(progress)

    def _take_up(self, progress: Progress) -> None:
        try:
            self.figures = Figures.from_state(progress.figures, self._prices)
        except ValueError:
            self.begun_anew += 1  # damaged
            return
        self._watermark, self._file = progress.watermark, progress.file

    @property
    def epoch(self) -> int:
        """The epoch of the log; 0 while nothing of it is folded."""
        return self._watermark.epoch

    @property
    def base(self) -> int:
        """The offset of the log's first line that is still there."""
        return self._watermark.base

    @property
    def is_empty(self) -> bool:
        """Whether the log has no line."""
        return self._reader.end == self._reader.base

    @property
    def missing(self) -> int:
        """How many lines of the log that are known to be there have not been folded."""
        return max(0, self._reader.end - max(self.figures.offset, self._reader.base))

    @property
    def progress(self) -> Progress:
        """Where another one can go on; what :meth:`Figures.take` would return must have been taken."""
        return Progress(self._watermark, self.figures.to_state(), self._file)

    @property
    def has_changed(self) -> bool:
        """Whether the log may have changed since it was read to its end."""
        return self._file == FileState() or self._file != file_state(self._root, self.workcell)

    def advance(self, max_bytes: int = TURN_BYTES) -> bool:
        """Fold about so many bytes of what follows; True if there may be more.

        Raises:
            OSError: the log cannot be read.
        """
        before = file_state(self._root, self.workcell)
        noted = self._state.watermark()
        reader = self._reader
        reader.refresh(_SCAN_BYTES)
        if reader.is_behind:
            return True
        if not self._identify(noted):
            self._file = before
            return False
        offset = self.figures.offset
        lines = reader.read(offset, _TURN_LINES, max_bytes).lines
        if not lines and offset < reader.end:
            return True  # replaced since the refresh
        for line in lines:
            self.figures.add(parse(line))
        if lines:
            self._mark(crc32(lines[-1]))
        is_done = self.figures.offset >= reader.end
        self._file = before if is_done else FileState()
        return not is_done

    def _identify(self, noted: Watermark | None) -> bool:
        """Begin anew if the log is not the one that was folded; False if it has no lines that may be shown."""
        reader, own = self._reader, self._watermark
        files = decide(gather_facts(reader, self._state, noted=noted))
        if files.kind == "empty" or files.needs_epoch:
            self._forget()
            return False
        if own.epoch:
            is_new_file = own.inode != reader.inode or self._generation != reader.generation
            found = decide(gather_facts(reader, self._state, noted=noted, own=own, saw_replacement=is_new_file))
            if not (found.keeps_what_was_shown and found.epoch == own.epoch):
                self._forget()
        self._generation = reader.generation
        if not self._watermark.epoch:
            self.figures = self._new_figures(reader.base)
            self._watermark = Watermark(files.epoch, reader.base, None, reader.base, reader.inode)
        elif reader.base != own.base or reader.inode != own.inode:  # it was pruned
            self.figures.offset = max(self.figures.offset, reader.base)
            crc = own.crc if self.figures.offset == own.head else None
            self._mark(crc)
        return True

    def _mark(self, crc: int | None) -> None:
        reader = self._reader
        self._watermark = Watermark(self._watermark.epoch, self.figures.offset, crc, reader.base, reader.inode)

    def _forget(self) -> None:
        if self._watermark.epoch:
            self.begun_anew += 1
        self._watermark, self._file = Watermark(), FileState()
        self.figures = self._new_figures(0)

    def _new_figures(self, base: int) -> Figures:
        return Figures(Tally(self._prices), base)


def file_state(root: Root, workcell: str) -> FileState:
    """Return the state of a log's files; of zeros if there is no log."""
    try:
        found = os.lstat(root.log(workcell))
    except OSError:
        return FileState()
    modified = found.st_mtime_ns
    with suppress(OSError):
        modified += os.lstat(root.state / state_file(root.local(workcell), EPOCH_SUFFIX)).st_mtime_ns
    return FileState(found.st_ino, found.st_size, modified)
