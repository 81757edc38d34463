"""Carries one log to its stream: reads past the stream's head, syncs, publishes, and answers what the script says.

Beside a log lie a mark, which tells whether the log is still the one that was published even when the broker has
forgotten, and a checkpoint, which only saves the work of folding the summary anew.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Final, Protocol
from zlib import crc32

from pydantic import ValidationError

from workcast.broker.errors import OriginConflictError
from workcast.broker.history import epoch_of, is_file_of
from workcast.broker.log import LogReader
from workcast.broker.lost import UNENDED, as_lost, writer_is_gone
from workcast.broker.root import Root
from workcast.broker.stream import Answer, Batch, Budgets
from workcast.broker.watermark import Watermark
from workcast.events.wire import inspect
from workcast.ledger.prices import PriceTable, shipped_prices
from workcast.ledger.summary import Fold, to_json
from workcast.ledger.tally import Tally

BATCH_LINES: Final = 512
BATCH_BYTES: Final = 1 << 20

logger = logging.getLogger("workcast.relay")


class Broker(Protocol):
    """What a relay asks of the broker."""

    @property
    def budgets(self) -> Budgets: ...

    def watermarks(self, workcells: list[str], /) -> list[Watermark]: ...

    def publish(self, batch: Batch, now_ms: int, /) -> Answer: ...

    def amend(self, workcell: str, epoch: int, origin: str, head: int, base: int, summary: bytes, /) -> bool: ...


class LogRelay:
    """One log's way to its stream. Not safe for several threads; safe beside any other relay of the same log."""

    def __init__(self, root: Root, workcell: str, broker: Broker, prices: PriceTable | None = None) -> None:
        self.workcell = workcell
        self._root = root
        self._broker = broker
        self._reader = LogReader(root.log(workcell), root.index(workcell))
        self._attached = False
        self._generation = -1
        self._replaced = False
        self._epoch: int = 0
        self._replaces: int | None = None
        self._next = 0
        self._begins_window = False
        self._synced = -1
        self._prices = prices or shipped_prices()
        self._fold = self._new_fold()
        self._mark: Watermark | None = None
        self._file = (-1, 0)
        """Inode and base of the log when its place was found last."""
        self._checkpointed: Watermark | None = None
        self._lost_at: tuple[int, int] | None = None
        """Epoch and end of the log when it was found without a writer."""
        self._told_lost_at: tuple[int, int] | None = None
        self._told_base: int | None = None
        """The base that the broker has, as far as this relay knows."""

    @property
    def mark(self) -> Watermark | None:
        """How far this relay has published, if it has."""
        return self._mark

    def detach(self) -> None:
        """Find the place in the broker anew before the next batch: the broker may have forgotten everything."""
        self._attached = False

    def reconcile(self, position: Watermark) -> bool:
        """Compare with what the broker says it has; False if the broker has lost something."""
        if not self._attached or self._begins_window:
            return True
        if position.epoch == self._epoch and position.head >= self._next:
            self._told_base = position.base  # a relay that has not seen a prune may have told an older one
            return True
        self.detach()
        return False

    def follow(self, position: Watermark) -> bool:
        """Go on from where another relay has come to; True if it has published all there is."""
        self._reader.refresh()
        if not self._attached or self._generation != self._reader.generation or position.epoch != self._epoch:
            return False
        self._next = max(self._next, position.head)
        return self._next >= self._reader.end

    def pump(self) -> bool:
        """Publish what the log has and the stream has not, one batch at most; True if there may be more.

        Raises:
            BrokerError: Redis is away; nothing is lost, call again when it is back.
            OriginConflictError: another root has published this workcell id.
            OSError: the log cannot be read.
        """
        self._reader.refresh()
        known = self._attached and self._generation == self._reader.generation
        if not known and not self._attach():
            return False
        if self._fold.offset < self._next:
            self._catch_up()
            return True
        if self._next >= self._reader.end:
            self._tell_base()
            return False
        return self._publish()

    def _tell_base(self) -> None:
        """A prune without a new line is no batch to publish."""
        reader = self._reader
        if self._told_base != reader.base and self._next == self._fold.offset == reader.end:
            self._amend()

    def _amend(self) -> bool:
        """Tell the broker base and summary at a head that stays; False if it has both, or another head."""
        reader = self._reader
        end, base = reader.end, reader.base
        amended = self._broker.amend(self.workcell, self._epoch, self._root.origin(), end, base, self._summary(end))
        self._told_base = base
        return amended

    def judge(self) -> None:
        """Tell the broker when the log has lost its writer in the middle of a run, and when it has one again.

        Raises:
            BrokerError: Redis is away.
            OSError: the log cannot be read.
        """
        if not self._attached or self._fold.status not in UNENDED:
            return
        reader, here = self._reader, (self._epoch, self._fold.offset)
        lost_at = here if writer_is_gone(self._root.log(self.workcell)) else None
        if lost_at == self._told_lost_at:
            return
        reader.refresh()
        if self._generation != reader.generation or not self._next == self._fold.offset == reader.end:
            return  # it goes on: what comes says how
        self._lost_at = lost_at
        if self._amend() and lost_at:
            logger.warning("%s is lost: its writer is gone, and has not said how the run ended", self.workcell)
        self._told_lost_at = lost_at

    def checkpoint(self) -> None:
        """Keep index and summary on disk, so that the next start neither scans nor folds the whole log."""
        if self._attached:
            self._reader.save_index()
        mark = self._mark
        if mark is None or mark == self._checkpointed or self._fold.offset != mark.head:
            return
        state = {"epoch": mark.epoch, "head": mark.head, "crc": mark.crc, "fold": self._fold.to_state()}
        self._root.write_checkpoint(self.workcell, json.dumps(state))
        self._checkpointed = mark

    # ── finding the place ────────────────────────────────────────────────────────────────────────────────────────────
    def _attach(self) -> bool:
        """Decide the epoch and where to go on; False while the log has no line."""
        reader = self._reader
        self._attached = False
        if self._is_empty():  # as workcells begin: no reason to ask the broker, at each sweep, for each of them
            return False
        stored = self._broker.watermarks([self.workcell])[0]
        checkpoint, fold = self._read_checkpoint()
        noted = self._root.mark(self.workcell)
        gone = writer_is_gone(self._root.log(self.workcell))
        # Looked at after the marks were read: another relay may have published lines that came in between.
        reader.refresh()
        if self._is_empty():
            return False
        epoch = epoch_of(self._root, self.workcell, reader)
        known = (self._mark, checkpoint, stored if stored.epoch else None, noted)
        marks = [mark for mark in known if mark is not None and mark.epoch == epoch]
        # A copy that was edited in its middle has the same first and last lines. What this relay saw before says
        # something only about the epoch that it saw it in.
        replaced = (self._replaced and self._epoch == epoch) or (noted is not None and noted.inode != reader.inode)
        renewed = replaced and bool(marks) and not self._is_pruned(epoch, stored, noted)
        # A first line, a header or a state file may give an epoch that stood for an earlier log.
        renewed |= self._has_returned(epoch, {mark.epoch for mark in known if mark is not None})
        if renewed or any(self._contradicts(mark) for mark in marks):
            epoch = self._fresh_epoch(epoch)
        if epoch != self._epoch or self._fold.offset > reader.end:
            valid = checkpoint is not None and checkpoint.epoch == epoch
            self._fold = fold if fold is not None and valid else self._new_fold(reader.base)
            self._mark = None
        self._epoch = epoch
        self._lost_at = (epoch, reader.end) if gone else None
        self._replaces = stored.epoch if stored.epoch not in (0, epoch) else None
        if stored.epoch == epoch and reader.base <= stored.head:
            self._next, self._begins_window = stored.head, False
        else:
            self._rewind()
        self._fold.offset = max(self._fold.offset, reader.base)  # pruned lines are counted no more
        self._synced = -1
        self._told_base = stored.base if stored.epoch == epoch else None
        self._file = (reader.inode, reader.base)
        if noted is not None and noted.epoch == epoch and noted.inode != reader.inode:
            # It was pruned: from here on this is the file. Once the broker has the new base, nothing else says so.
            self._root.note(self.workcell, replace(noted, inode=reader.inode, base=reader.base))
        self._attached, self._replaced = True, False
        return True

    def _is_empty(self) -> bool:
        """Whether the log has no line; that it is another file is remembered."""
        self._replaced |= self._generation not in (-1, self._reader.generation)
        self._generation = self._reader.generation
        return self._reader.end == self._reader.base

    def _has_returned(self, epoch: int, known: set[int]) -> bool:
        """Whether ``epoch`` was another log's; those among ``known`` that are not in force are so from now on."""
        retired = self._root.retired_epochs(self.workcell)
        if gone := known - {epoch} - retired:
            self._root.retire_epochs(self.workcell, gone)
        return epoch in retired

    def _is_pruned(self, epoch: int, stored: Watermark, noted: Watermark | None) -> bool:
        """Whether a log that is another file is so because it was pruned: see :func:`is_file_of`."""
        header = self._reader.header
        if header is None or self._reader.inode == self._file[0]:
            return False
        if noted is not None and noted.epoch == epoch:
            return is_file_of(noted, self._reader)
        if epoch == self._epoch:
            return header.base > self._file[1]
        return stored.epoch != epoch or header.base > stored.base

    def _contradicts(self, mark: Watermark) -> bool:
        """Whether the log is not the one that ``mark``, of the same epoch, was taken of."""
        reader = self._reader
        if mark.head > reader.end:
            return True
        if mark.crc is None or mark.head <= reader.base:
            return False
        lines = reader.read(mark.head - 1, 1, 1).lines
        return not lines or crc32(lines[0]) != mark.crc

    def _fresh_epoch(self, old: int) -> int:
        epoch = old
        while epoch in (0, old):
            epoch = secrets.randbits(48)
        header = self._reader.header
        self._root.write_epoch(self.workcell, epoch, header.epoch if header else None)
        return epoch

    def _new_fold(self, base: int = 0) -> Fold:
        return Fold(offset=base, tally=Tally(self._prices))

    def _read_checkpoint(self) -> tuple[Watermark | None, Fold | None]:
        state = self._root.checkpoint(self.workcell)
        if state is None:
            return None, None
        epoch, head, crc = state.get("epoch"), state.get("head"), state.get("crc")
        if not isinstance(epoch, int) or not isinstance(head, int) or not isinstance(crc, int):
            return None, None
        try:
            return Watermark(epoch, head, crc), Fold.from_state(state.get("fold"), self._prices)
        except ValidationError:
            return Watermark(epoch, head, crc), None

    def _window_start(self) -> int:
        """The first offset that the budgets leave in the stream."""
        reader, budgets = self._reader, self._broker.budgets
        by_bytes = reader.offset_near(reader.end_position - budgets.stream_bytes)
        return max(reader.base, min(by_bytes, reader.end - 1), reader.end - budgets.stream_entries)

    def _rewind(self) -> None:
        self._next, self._begins_window = self._window_start(), True

    # ── carrying ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def _catch_up(self) -> None:
        """Fold lines that are in the stream already, or older than its window: one batch."""
        count = min(self._next - self._fold.offset, 8 * BATCH_LINES)
        for line in self._reader.read(self._fold.offset, count, 4 * BATCH_BYTES).lines:
            self._fold.add(inspect(line)[1])

    def _publish(self) -> bool:
        reader = self._reader
        noted = self._root.mark(self.workcell)
        span = reader.read(self._next, BATCH_LINES, BATCH_BYTES)
        # Without lines, the file was replaced since it was looked at. The lines published last are looked at each time:
        # this relay's, and those of whichever relay came furthest, which a lagging one has never seen.
        # And a directory that became a link out of the root may have been read through it.
        differs = any(self._differs_from(mark) for mark in {self._mark, noted})
        if not span.lines or differs or self._root.leads_out(self.workcell):
            self.detach()
            return True
        if span.end > self._synced:
            reader.sync()
            self._synced = reader.end
        batch = Batch(
            workcell=self.workcell, epoch=self._epoch, origin=self._root.origin(), base=reader.base,
            offset=span.offset, entries=list(self._entries(span.offset, span.lines)),
            window_start=self._window_start(), begins_window=self._begins_window, replaces=self._replaces,
            summary=self._summary(span.end),
        )  # fmt: skip
        # Noted before it is published: should this relay and the broker both forget what was shown, and the log be
        # replaced, whoever relays it next must not give the new lines the old ones' places. Never taken back.
        shown = Watermark(self._epoch, batch.end, batch.entries[-1][0], reader.base, reader.inode)
        self._root.note(self.workcell, shown)
        answer = self._broker.publish(batch, time.time_ns() // 1_000_000)
        self._take(answer, batch)
        return True

    def _differs_from(self, mark: Watermark | None) -> bool:
        return mark is not None and mark.epoch == self._epoch and self._contradicts(mark)

    def _entries(self, offset: int, lines: list[bytes]) -> Iterator[tuple[int, bytes]]:
        for at, line in enumerate(lines, offset):
            data, event = inspect(line)
            if at == self._fold.offset:
                self._fold.add(event)
            yield crc32(line), data

    def _summary(self, end: int) -> bytes:
        if self._fold.offset != end:
            return b""  # an old batch, published again: the newer summary stands
        summary = self._fold.summary(self.workcell, self._epoch, self._reader.base, self._root.origin())
        is_lost = self._lost_at == (self._epoch, end) and self._fold.status in UNENDED
        return to_json(as_lost(summary) if is_lost else summary)

    def _take(self, answer: Answer, batch: Batch) -> None:
        match answer.kind:
            case "ok":
                self._mark = Watermark(self._epoch, batch.end, batch.entries[-1][0])
                self._next, self._begins_window, self._replaces = batch.end, False, None
                self._told_base = batch.base
            case "empty":
                self._rewind()
            case "gap":
                head = int(answer.value)
                if head >= self._reader.base:
                    self._next = head
                else:
                    self._rewind()
            case "epoch":
                self.detach()  # another relay switched: look at the disk again before anything else
            case "origin":
                raise OriginConflictError(
                    f"workcell {self.workcell!r} of {self._root.directory} is already published from another root "
                    f"(origin {answer.value}); rename the workcell, or give the roots names"
                )
