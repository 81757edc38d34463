"""A log as a relay has shown it: its lines, which log it is, and how far it was published."""

from __future__ import annotations

import secrets
from array import array
from dataclasses import replace
from typing import Final
from zlib import crc32

from workcast.broker.identity import Decision, decide
from workcast.broker.line_sums import crcs_of
from workcast.broker.log import LogReader
from workcast.broker.log_facts import contradicts, gather_facts
from workcast.broker.root import Root
from workcast.broker.watermark import Watermark

SCAN_BYTES: Final = 32 << 20
"""Bytes of a log that are searched for lines before other logs have their turn."""
COVER_LINES: Final = 4096
COVER_BYTES: Final = 4 << 20
"""Lines and bytes of a log that are given their sums before other logs have their turn."""


class ShownLog:
    """One log, and what one relay has shown of it. Not safe for several threads; safe beside other relays."""

    def __init__(self, root: Root, workcell: str) -> None:
        self.reader = LogReader(root.log(workcell), root.index(workcell))
        self.state = root.log_state(workcell)
        self.epoch = 0
        """0 until it was identified."""
        self.own: Watermark | None = None
        """How far this relay has published the log or found it published, and of which file."""
        self._noted: Watermark | None = None
        """The noted watermark when the log was identified."""
        self._generation: int | None = None
        self._saw_replacement = False
        self._edited_epoch = 0
        """The epoch in which a line was found to be edited, until the log was identified; 0: none was."""

    @property
    def is_empty(self) -> bool:
        return self.reader.end == self.reader.base

    def refresh(self, limit: int = SCAN_BYTES) -> bool:
        """Read what was added, at most about ``limit`` bytes; False if the file was replaced or rewritten."""
        self.reader.refresh(limit)
        if self._generation == self.reader.generation:
            return True
        self._saw_replacement |= self._generation is not None
        self._generation = self.reader.generation
        return False

    def identify(self, broker: Watermark, noted: Watermark | None, checkpoint: Watermark | None) -> Decision:
        """Decide which log this is, and keep on disk what follows from it: ``epoch`` is then the one in force.

        The watermarks must have been read before the last :meth:`refresh`.
        """
        reader = self.reader
        decision = decide(
            gather_facts(
                reader, self.state, noted=noted, checkpoint=checkpoint, broker=broker, own=self.own,
                saw_replacement=self._saw_replacement, edited_epoch=self._edited_epoch,
            )
        )  # fmt: skip
        if decision.kind == "empty":
            return decision
        if decision.kind == "edited":
            self._rescan()
        if decision.retire:
            self.state.retire_epochs(decision.retire)
        self.epoch = self._write_fresh_epoch(decision.epoch) if decision.needs_epoch else decision.epoch
        self.own, self._noted = self.watermark_at(decision.head or reader.base), noted
        if decision.moved and noted is not None:
            # It was pruned: from here on this is the file. Once the broker has the new base, nothing else says so.
            self.state.raise_watermark(replace(noted, inode=reader.inode, base=reader.base))
        self._saw_replacement, self._edited_epoch = False, 0
        return decision

    def cover(self, offset: int, crcs: array[int]) -> int | None:
        """Compare the CRCs of consecutive lines with what was shown at their offsets, and keep them.

        If one differs, return its offset; the next :meth:`identify` gives the log another epoch.

        Raises:
            OSError: the sums cannot be read or written.
        """
        return self._cover(self.epoch, offset, crcs)

    def _cover(self, epoch: int, offset: int, crcs: array[int]) -> int | None:
        different = self.state.sums.add(epoch, self.reader.base, offset, crcs)
        if different is not None:
            self._edited_epoch = epoch
        return different

    def _rescan(self) -> None:
        """Read an edited log again: its index, and the one that was saved, are those of the lines before."""
        self.reader.discard_index()
        self.reader.rescan()

    def vouch(self, noted: Watermark | None) -> bool:
        """Raise the watermark of a synced log while there is no broker, so that a gateway may show its lines.

        A log that is not the noted one stays as it is: its epoch is decided beside the broker. Only some MB are read:
        True if there is more to do.

        Args:
            noted: the noted watermark, read before the last :meth:`refresh`.

        Raises:
            OSError: the log cannot be read or synced, or its sums cannot be written.
        """
        reader = self.reader
        decision = decide(
            gather_facts(
                reader, self.state, noted=noted, own=self.own, saw_replacement=self._saw_replacement,
                edited_epoch=self._edited_epoch,
            )
        )  # fmt: skip
        if reader.is_behind or not (decision.keeps_what_was_shown or decision.kind == "new"):
            return reader.is_behind
        head = noted.head if noted is not None and noted.epoch == decision.epoch else reader.base
        if head == reader.end and not decision.moved:
            return False
        reader.sync()
        start = max(head, reader.base)
        lines = reader.read(start, COVER_LINES, COVER_BYTES).lines
        if self._cover(decision.epoch, start, crcs_of(lines)) is not None:
            return False
        shown = replace(self.watermark_at(start + len(lines)), epoch=decision.epoch)
        if shown.crc is not None:
            self.state.raise_watermark(shown)
        return shown.head < reader.end

    def is_contradicted(self, noted: Watermark | None) -> bool:
        """Whether the log is no longer the one that this relay and the one that came furthest have published.

        A relay that lags has never read what the other one published, nor seen it give the log another epoch.
        """
        if noted is not None and noted.epoch != self.epoch and noted != self._noted:
            return True
        shown = {mark for mark in (self.own, noted) if mark is not None and mark.epoch == self.epoch}
        return any(contradicts(self.reader, watermark) for watermark in shown)

    def watermark_at(self, head: int, crc: int | None = None) -> Watermark:
        """Return the watermark at ``head``, whose last line has this CRC; None: read it.

        The CRC is None then if there is no line before ``head``, or the file was replaced.
        """
        reader = self.reader
        if crc is None and head > reader.base:
            last = reader.read(head - 1, 1, 1).lines
            crc = crc32(last[0]) if last else None
        return Watermark(self.epoch, head, crc, reader.base, reader.inode)

    def _write_fresh_epoch(self, old: int) -> int:
        epoch = 0
        while epoch in (0, old):
            epoch = secrets.randbits(48)
        header = self.reader.header
        self.state.write_epoch(epoch, header.epoch if header else None)
        return epoch
