"""Gathers what a log, its state files and the known watermarks say about the log's identity."""

from __future__ import annotations

from zlib import crc32

from workcast.broker.identity import Agreement, Decision, Facts, Shown, decide
from workcast.broker.log import LogReader
from workcast.broker.log_state import LogState
from workcast.broker.root import Root
from workcast.broker.watermark import Watermark


def gather_facts(
    reader: LogReader,
    state: LogState,
    *,
    noted: Watermark | None = None,
    checkpoint: Watermark | None = None,
    broker: Watermark | None = None,
    own: Watermark | None = None,
    saw_replacement: bool = False,
    edited_epoch: int = 0,
) -> Facts:
    """Gather the facts about a log as ``reader`` found it at its last refresh.

    The watermarks must have been read before that refresh: another relay may have published lines in between.

    Args:
        reader: of the log.
        state: its state files.
        noted: the noted watermark.
        checkpoint: that of the checkpoint.
        broker: the broker's.
        own: how far this process has shown the log.
        saw_replacement: whether this process has seen the file replaced since ``own``.
        edited_epoch: the epoch in which a line differed from its checksum; 0: none did.
    """
    header = reader.header
    facts = Facts(
        inode=reader.inode, base=reader.base, end=reader.end, natural_epoch=reader.natural_epoch,
        header_epoch=header.epoch if header else None, written=state.written_epoch(), retired=state.retired_epochs(),
    )  # fmt: skip
    epoch = facts.epoch

    def examine(watermark: Watermark | None) -> Shown | None:
        if watermark is None or not watermark.epoch:
            return None
        return Shown(watermark, agreement(reader, watermark) if watermark.epoch == epoch else "unknown")

    return Facts(
        facts.inode, facts.base, facts.end, facts.natural_epoch, facts.header_epoch, facts.written, facts.retired,
        examine(noted), examine(checkpoint), examine(broker), examine(own), saw_replacement,
        edited_epoch == epoch != 0,
    )  # fmt: skip


def agreement(reader: LogReader, watermark: Watermark) -> Agreement:
    """Compare a log with a watermark of its epoch."""
    if watermark.head > reader.end:
        return "past end"
    if watermark.crc is None or watermark.head <= reader.base:
        return "unknown"
    lines = reader.read(watermark.head - 1, 1, 1).lines
    return "matches" if lines and crc32(lines[0]) == watermark.crc else "differs"


def contradicts(reader: LogReader, watermark: Watermark) -> bool:
    """Whether a log disagrees with a watermark of its epoch, so that it is another log."""
    return agreement(reader, watermark) in ("past end", "differs")


def decide_by_files(reader: LogReader, state: LogState) -> Decision:
    """Decide what a log is by its own files, for readers that publish nothing. Refreshes ``reader``."""
    noted = state.watermark()
    reader.refresh()
    return decide(gather_facts(reader, state, noted=noted))


def epoch_of(root: Root, workcell: str, reader: LogReader) -> int:
    """Return the epoch of a log by its files; 0 if it has no line."""
    header, written = reader.header, root.log_state(workcell).written_epoch()
    header_epoch = header.epoch if header else None
    return Facts(natural_epoch=reader.natural_epoch, header_epoch=header_epoch, written=written).epoch
