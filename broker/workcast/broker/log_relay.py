"""Carries one log to its stream: reads past the stream's head, syncs, publishes, and handles the script's answer."""

from __future__ import annotations

import logging
import sys
import time
from array import array
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, Protocol

from workcast.broker.batch import Answer, Batch, Budgets
from workcast.broker.claim import PROOF_ENTRIES, agrees
from workcast.broker.ended_logs import EndedLog, settled_place
from workcast.broker.errors import OriginConflictError
from workcast.broker.line_sums import crcs_of
from workcast.broker.log_state import Checkpoint
from workcast.broker.publisher import StreamEntry
from workcast.broker.root import Root
from workcast.broker.run_lock import writer_signs
from workcast.broker.shown_log import COVER_BYTES, COVER_LINES, SCAN_BYTES, ShownLog
from workcast.broker.watermark import Watermark
from workcast.events.wire import inspect
from workcast.ledger.lost import OPEN, as_lost, writer_is_gone
from workcast.ledger.prices import PriceTable, shipped_prices
from workcast.ledger.summary import Fold, to_json
from workcast.ledger.tally import Tally

BATCH_LINES: Final = 512
BATCH_BYTES: Final = 1 << 20
_LAST_LINES: Final = 8
"""Where the end of an ended run is looked for."""

logger = logging.getLogger("workcast.relay")


class Broker(Protocol):
    """What a log's relay needs of the broker."""

    @property
    def budgets(self) -> Budgets: ...

    def watermarks(self, workcells: list[str], /) -> list[Watermark]: ...

    def publish(self, batch: Batch, now_ms: int, /) -> Answer: ...

    def amend(self, workcell: str, epoch: int, origin: str, head: int, base: int, summary: bytes, /) -> bool: ...

    def entries(self, workcell: str, last: int | None = None, /) -> list[StreamEntry]: ...

    def claim(self, workcell: str, stored: Watermark, origin: str, /) -> bool: ...


class LogRelay:
    """Relays one log. Not safe for several threads; safe beside any other relay of the same log."""

    def __init__(self, root: Root, workcell: str, broker: Broker, prices: PriceTable | None = None) -> None:
        self.workcell = workcell
        self._root = root
        self._broker = broker
        self._prices = prices or shipped_prices()
        self._log = ShownLog(root, workcell)
        self._attached = False
        self._next = 0
        """The offset of the next line to publish."""
        self._begins_window = False
        self._is_requested = False
        """Whether a gateway has requested the window, which is not published yet."""
        self._window_may_wait = False
        """Whether the summary alone is enough for the broker, should the last run have ended."""
        self._replaces: int | None = None
        self._synced = -1
        self._covered: int | None = None
        """All lines before this offset have their checksums; None: that was not looked into."""
        self._fold = self._new_fold()
        self._fold_epoch = 0
        self._checkpointed: Watermark | None = None
        """Epoch, head and last line of the log at the checkpoint that is on disk."""
        self._lost_at: tuple[int, int] | None = None
        """Epoch and end of the log when its writer was found to be gone."""
        self._published_lost_at: tuple[int, int] | None = None
        self._published_base: int | None = None
        """The base that the broker has, as far as this relay knows."""
        self._foreign: Watermark | None = None
        """The broker's watermark, if another root has published the workcell."""
        self._has_claimed = False
        """Whether the summary in the broker still names that root."""

    @property
    def watermark(self) -> Watermark | None:
        """How far this relay has published the log, or found it published."""
        return self._log.own

    @property
    def has_log(self) -> bool:
        """Whether the last check found a log: a regular file, to which no link leads."""
        return self._log.reader.inode >= 0

    @property
    def is_attached(self) -> bool:
        """Whether log and broker were compared since the last change of either that leaves the log in doubt."""
        return self._attached

    def detach(self) -> None:
        """Compare log and broker again before the next batch: the broker may have forgotten everything."""
        self._attached = False

    def reconcile(self, stored: Watermark) -> bool:
        """Compare with the broker's watermark; False if the broker has lost something."""
        if not self._attached or self._begins_window:
            return True
        if stored.epoch == self._log.epoch and stored.head >= self._next:
            self._published_base = stored.base  # a relay that has not seen a prune may have published an older one
            return True
        self.detach()
        return False

    def follow(self, stored: Watermark) -> bool:
        """Go on from where another relay has published to; True if it has published everything."""
        self._refresh()
        if not self._attached or stored.epoch != self._log.epoch:
            return False
        if stored.head > self._next:
            # Should its stream be missing, a whole window must begin, not one at this place.
            self._next, self._begins_window = stored.head, False
        return self._next >= self._log.reader.end and not self._log.reader.is_behind

    def pump(self) -> bool:
        """Publish at most one batch of what the stream lacks; True if there may be more.

        Raises:
            BrokerError: Redis is away; nothing is lost, call again when it is back.
            OriginConflictError: another root has published this workcell id.
            OSError: the log cannot be read.
        """
        self._refresh()
        if self._log.reader.is_behind:
            return True
        if not self._attached and not self.attach():
            return False
        if self._foreign is not None:
            self._claim(self._foreign)
            return True
        if self._fold.offset < self._fold_end():
            self._catch_up()
            return True
        if (batch := self.summary_alone()) is not None:
            self.take(self._broker.publish(batch, _now_ms()), batch)
            return True
        if self._next >= self._log.reader.end:
            self._publish_base()
            return False
        return self._publish()

    def attach_briefly(self, stored: Watermark) -> bool:
        """Like :meth:`attach`, but the window of an ended log waits until it is requested, or the log grows.

        Args:
            stored: the broker's watermark.
        """
        self._refresh()
        if self._log.reader.is_behind or not self.attach(stored):
            return False
        is_missing = stored.crc is None or self._begins_window
        self._window_may_wait = is_missing and not self._is_requested and self._may_have_ended()
        if self._fold.offset < self._fold_end() <= self._fold.offset + BATCH_LINES:
            self._catch_up()
        return True

    def _may_have_ended(self) -> bool:
        """Whether it is worth folding the log to its end before its window: folding twice costs half the rate."""
        reader = self._log.reader
        if self._lost_at is not None or self._fold.offset >= reader.end:
            return True
        start = max(reader.base, reader.end - _LAST_LINES)
        return any(b'"completed"' in line for line in reader.read(start, _LAST_LINES, BATCH_BYTES).lines)

    def summary_alone(self) -> Batch | None:
        """Return a batch without lines if that is all that the broker needs; None if it needs nothing, or a window."""
        if not self._window_may_wait or self._fold.offset < self._log.reader.end or self._foreign is not None:
            return None
        self._window_may_wait = False
        if self._next >= self._log.reader.end or not self._has_ended():
            return None
        end, noted = self._log.reader.end, self._log.state.watermark()
        shown = self._log.watermark_at(end)
        if shown.crc is None:
            self.detach()  # the file was replaced since the refresh
            return None
        if noted is None or noted.epoch != self._log.epoch or noted.head < end:
            self._log.reader.sync()
            self._log.state.raise_watermark(shown)
        self._begins_window = True
        return self._batch(end, [], end)

    def rewind(self) -> None:
        """Publish the window again, because a gateway has requested it: now, or once the log is attached again."""
        self._is_requested = True
        if self._attached:
            self._window_may_wait = False
            self._rewind()

    def judge(self) -> None:
        """Amend the summary when the writer is gone in the middle of a run, and when one is there again.

        Raises:
            BrokerError: Redis is away.
            OSError: the log cannot be read.
        """
        if not self._attached or self._fold.status not in OPEN:
            return
        here = (self._log.epoch, self._fold.offset)
        lost_at = here if self._writer_is_gone() else None
        if lost_at == self._published_lost_at:
            return
        self._refresh()
        if not self._has_published_all():
            return  # it goes on: the lines that follow decide
        self._lost_at = lost_at
        if self._amend() and lost_at:
            logger.warning("%s is lost: its writer is gone, and its log does not say how the run ended", self.workcell)
        self._published_lost_at = lost_at

    def _writer_is_gone(self) -> bool:
        return writer_is_gone(writer_signs(self._root.workcell(self.workcell)))

    def checkpoint(self) -> None:
        """Keep index and fold on disk, so that the next start neither scans nor folds the whole log."""
        if self._attached:
            self._log.reader.save_index()
        own = self._log.own
        if own is None or own.crc is None or self._fold.offset != own.head:
            return
        here = Watermark(own.epoch, own.head, own.crc, inode=self._log.reader.inode)
        if here != self._checkpointed:
            self._log.state.write_checkpoint(Checkpoint(here, self._fold.to_state()))
            self._checkpointed = here

    def as_ended(self) -> EndedLog | None:
        """Return what is worth keeping of a log whose last run has completed, once all of it is published.

        Only if its file has not changed for a while; None for any other log.
        """
        reader = self._log.reader
        if self._fold.status in OPEN or self._is_requested or self._foreign is not None or not self.is_covered:
            return None
        if not self._has_published_all() or self._published_base != reader.base:
            return None
        place = settled_place(str(self._root.log(self.workcell)), reader.end_position)
        noted = self._log.state.watermark()
        if place is None or noted is None or (noted.epoch, noted.head) != (self._log.epoch, reader.end):
            return None
        self._refresh()  # after the place was taken: whatever is added or changed later changes it
        if not self._has_published_all():
            return None
        return EndedLog(place, self._log.epoch, reader.base, reader.end, self._summary(reader.end))

    def look(self, epoch: int, offset: int) -> None:
        """Compare the lines from ``offset`` on with those that were shown: a gateway has found a difference there.

        Raises:
            BrokerError: Redis is away.
            OSError: the log cannot be read.
        """
        self._refresh()
        reader = self._log.reader
        if (self._attached or self.attach()) and epoch == self._log.epoch and reader.base <= offset < reader.end:
            self._cover(offset, crcs_of(reader.read(offset, BATCH_LINES, BATCH_BYTES).lines))

    @property
    def is_covered(self) -> bool:
        """Whether all lines that are shown are known to have their checksums."""
        return not self._attached or (self._covered is not None and self._covered >= self._next)

    def cover(self) -> bool:
        """Give shown lines that have no checksums theirs, some MB at once; True if there may be more to do.

        Raises:
            OSError: the log cannot be read, or the sums cannot be written.
        """
        self._refresh()
        reader = self._log.reader
        if self._covered is None and self._attached:
            self._covered = self._log.state.sums.known_to(self._log.epoch, reader.base, self._next)
        if self.is_covered or self._covered is None or reader.is_behind:
            return False
        count = min(self._next, reader.end) - self._covered
        lines = reader.read(self._covered, min(count, COVER_LINES), COVER_BYTES).lines if count > 0 else []
        return bool(lines) and self._cover(self._covered, crcs_of(lines))  # else it was replaced, or edited

    def vouch(self) -> bool:
        """Note how far the log may be shown while there is no broker; True if there is more to do.

        Raises:
            OSError: the log cannot be read or synced.
        """
        noted = self._log.state.watermark()
        self._refresh()
        return self._log.vouch(noted)

    # ── attaching ────────────────────────────────────────────────────────────────────────────────────────────────────
    def attach(self, stored: Watermark | None = None) -> bool:
        """Decide which log this is and where to go on; False while it has no line.

        Args:
            stored: the broker's watermark; None: ask the broker.

        Raises:
            BrokerError: Redis is away.
            OSError: the log cannot be read.
        """
        self._attached = self._window_may_wait = False
        log, reader = self._log, self._log.reader
        if log.is_empty:  # as workcells begin: no reason to ask the broker at each sweep
            return False
        if stored is None:
            stored = self._broker.watermarks([self.workcell])[0]
        checkpoint, noted = log.state.checkpoint(), log.state.watermark()
        gone = self._writer_is_gone()
        # After the watermarks were read: another relay may have published lines that were written in between.
        self._refresh(sys.maxsize)
        decision = log.identify(stored, noted, checkpoint.watermark if checkpoint else None)
        if decision.kind == "empty":
            return False
        if log.epoch != self._fold_epoch or self._fold.offset > reader.end:
            self._fold, self._fold_epoch = self._take_up_fold(checkpoint, log.epoch), log.epoch
        self._fold.offset = max(self._fold.offset, reader.base)  # pruned lines are no longer counted
        self._lost_at = (log.epoch, reader.end) if gone else None
        self._replaces = decision.replaces
        self._begins_window = decision.head is None
        self._next = self._window_start() if decision.head is None else decision.head
        self._synced, self._covered = -1, None
        self._published_base = stored.base if decision.head is not None and not self._has_claimed else None
        is_foreign = bool(stored.epoch and stored.origin) and stored.origin != self._root.ensure_origin()
        self._foreign = stored if is_foreign else None
        self._attached = True
        if self._is_requested:
            self._rewind()
        return True

    def _refresh(self, limit: int = SCAN_BYTES) -> None:
        """Read what was added to the log; detach from a file that was replaced or rewritten."""
        self._attached &= self._log.refresh(limit)

    def _take_up_fold(self, checkpoint: Checkpoint | None, epoch: int) -> Fold:
        # Of this very file: a clone can bring a log with a checkpoint that fits it, but cannot know its inode.
        is_ours = checkpoint is not None and checkpoint.watermark.inode == self._log.reader.inode
        if checkpoint is not None and is_ours and checkpoint.watermark.epoch == epoch:
            with suppress(ValueError, TypeError, OverflowError):  # damaged, or of another price table: fold again
                fold = Fold.from_state(checkpoint.fold, self._prices)
                to_json(fold.summary(self.workcell, epoch, 0, ""))
                if fold.offset == checkpoint.watermark.head:
                    self._checkpointed = checkpoint.watermark
                    return fold
        return self._new_fold(self._log.reader.base)

    def _new_fold(self, base: int = 0) -> Fold:
        return Fold(offset=base, tally=Tally(self._prices))

    def _window_start(self) -> int:
        """The first offset that the budgets leave in the stream."""
        reader, budgets = self._log.reader, self._broker.budgets
        by_bytes = reader.offset_near(reader.end_position - budgets.stream_bytes)
        return max(reader.base, min(by_bytes, reader.end - 1), reader.end - budgets.stream_entries)

    def _rewind(self) -> None:
        self._next, self._begins_window = self._window_start(), True

    # ── publishing ───────────────────────────────────────────────────────────────────────────────────────────────────
    def _catch_up(self) -> None:
        """Fold one batch of lines that are in the stream already, or not needed in it."""
        count = min(self._fold_end() - self._fold.offset, 8 * BATCH_LINES)
        lines = self._log.reader.read(self._fold.offset, count, 4 * BATCH_BYTES).lines
        if self._cover(self._fold.offset, crcs_of(lines)):
            for line in lines:
                self._fold.add(inspect(line)[1])

    def _fold_end(self) -> int:
        """How far to fold before anything is published."""
        return self._log.reader.end if self._window_may_wait else self._next

    def _has_ended(self) -> bool:
        """Whether the last run has completed, or is lost."""
        return self._fold.status not in OPEN or self._lost_at == (self._log.epoch, self._fold.offset)

    def _publish(self) -> bool:
        reader = self._log.reader
        noted = self._log.state.watermark()
        span = reader.read(self._next, BATCH_LINES, BATCH_BYTES)
        # Without lines, the file was replaced since the refresh.
        if not span.lines or self._log.is_contradicted(noted):
            self.detach()
            return True
        if span.end > self._synced:
            reader.sync()
            self._synced = reader.end
        crcs = crcs_of(span.lines)
        if not self._cover(span.offset, crcs):
            return True
        batch = self._batch(span.offset, list(self._entries(span.offset, span.lines, crcs)), span.end)
        # Noted before it is published: should both this relay and the broker forget what was shown, and the log be
        # replaced, the next relay must not give the new lines the offsets of the old ones. Never taken back.
        self._log.state.raise_watermark(self._log.watermark_at(batch.end, batch.entries[-1][0]))
        self.take(self._broker.publish(batch, _now_ms()), batch)
        return True

    def _cover(self, offset: int, crcs: array[int]) -> bool:
        """Keep the CRCs of lines before they are shown; False if other lines were shown at their offsets."""
        edited = self._log.cover(offset, crcs)
        if edited is None:
            if self._covered is not None and self._covered >= offset:
                self._covered = max(self._covered, offset + len(crcs))
            return True
        logger.warning(
            "%s: line %d of its log was edited after it was shown; the log is published again in a new epoch",
            self.workcell, edited,
        )  # fmt: skip
        self.detach()
        return False

    def _batch(self, offset: int, entries: list[tuple[int, bytes]], end: int) -> Batch:
        return Batch(
            workcell=self.workcell, epoch=self._log.epoch, origin=self._root.ensure_origin(),
            base=self._log.reader.base, offset=offset, entries=entries, window_start=self._window_start(),
            begins_window=self._begins_window, replaces=self._replaces, summary=self._summary(end),
        )  # fmt: skip

    def _entries(self, offset: int, lines: list[bytes], crcs: array[int]) -> Iterator[tuple[int, bytes]]:
        for at, (line, crc) in enumerate(zip(lines, crcs, strict=True), offset):
            data, event = inspect(line)
            if at == self._fold.offset:
                self._fold.add(event)
            yield crc, data

    def _summary(self, end: int) -> bytes:
        if self._fold.offset != end:
            return b""  # an old batch, published again: the newer summary stays
        summary = self._fold.summary(self.workcell, self._log.epoch, self._log.reader.base, self._root.origin())
        is_lost = self._lost_at == (self._log.epoch, end) and self._fold.status in OPEN
        return to_json(as_lost(summary) if is_lost else summary)

    def take(self, answer: Answer, batch: Batch) -> None:
        """Handle the script's answer to a batch.

        Raises:
            OriginConflictError: another root has published this workcell id.
        """
        match answer.kind:
            case "ok":
                if self._log.own is None or batch.end >= self._log.own.head:  # else the window is published again
                    self._log.own = self._log.watermark_at(batch.end, batch.entries[-1][0] if batch.entries else None)
                self._next, self._begins_window, self._replaces = batch.end, False, None
                self._is_requested &= not batch.entries
                self._published_base = batch.base
            case "empty":
                self._rewind()
            case "gap":
                head = int(answer.value)
                if head >= self._log.reader.base:
                    self._next = head
                else:
                    self._rewind()
            case "epoch":
                self.detach()  # another relay switched: read the files again before anything else
            case "origin":
                self.detach()  # to see whether it can be claimed
                raise self._origin_conflict(answer.value)

    def _origin_conflict(self, origin: str) -> OriginConflictError:
        return OriginConflictError(
            f"workcell {self.workcell!r} of {self._root.directory} is already published from another root "
            f"(origin {origin}); rename the workcell, or give the roots names"
        )

    def _claim(self, stored: Watermark) -> None:
        """Take over a workcell that was published under another origin: this root's before it was lost, for example.

        Raises:
            OriginConflictError: the log differs from what is published, or the other root has a relay.
        """
        self.detach()
        origin = self._root.ensure_origin()
        entries = self._broker.entries(self.workcell, PROOF_ENTRIES)
        proven = agrees(self._log.reader, self._log.epoch, stored, entries)
        if not proven or not self._broker.claim(self.workcell, stored, origin):
            raise self._origin_conflict(stored.origin)
        self._has_claimed = True
        logger.warning(
            "%s was published under the origin %s, which has no relay; its log agrees with what was published, so it "
            "is published under %s from now on", self.workcell, stored.origin, origin,
        )  # fmt: skip

    def _publish_base(self) -> None:
        """Publish the base after a prune that no new line followed."""
        if self._published_base != self._log.reader.base and self._has_published_all():
            self._amend()

    def _has_published_all(self) -> bool:
        reader = self._log.reader
        return self._attached and not reader.is_behind and self._next == self._fold.offset == reader.end

    def _amend(self) -> bool:
        """Publish base and summary at the same head; False if the broker has both, or another head."""
        end, base = self._log.reader.end, self._log.reader.base
        origin = self._root.ensure_origin()
        amended = self._broker.amend(self.workcell, self._log.epoch, origin, end, base, self._summary(end))
        self._published_base, self._has_claimed = base, False
        return amended


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
