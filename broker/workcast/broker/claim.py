"""The proof with which a root takes over a workcell that was published under another origin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from zlib import crc32

from workcast.broker.log import LogReader
from workcast.broker.publisher import StreamEntry
from workcast.broker.watermark import Watermark

PROOF_ENTRIES: Final = 64
"""How many of a stream's last entries must be lines of the log."""


def agrees(reader: LogReader, epoch: int, stored: Watermark, entries: Sequence[StreamEntry]) -> bool:
    """Whether the last lines that were published are the log's; without a stream, whether its epoch and head are.

    The log may have been pruned since, but not of all of those lines.

    Args:
        reader: reads the log.
        epoch: the log's.
        stored: the broker's watermark.
        entries: the last entries of the stream.
    """
    if not entries:
        return stored.epoch == epoch and reader.base < stored.head <= reader.end
    known = [entry for entry in entries if entry.offset >= reader.base]
    return bool(known) and all(_is_line_of(reader, entry) for entry in known)


def _is_line_of(reader: LogReader, entry: StreamEntry) -> bool:
    lines = reader.read(entry.offset, 1, 1).lines if entry.offset < reader.end else []
    return bool(lines) and crc32(lines[0]) == entry.crc
