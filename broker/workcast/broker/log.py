"""The log of a workcell: an append-only JSONL file, the durable copy and the relay's outbox.

:class:`~workcast.broker.appender.Appender` writes it, :class:`LogReader` reads it by offset. A line counts once its
newline is there. Readers never write.
"""

from __future__ import annotations

import errno
import hashlib
import os
import sys
from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from pydantic_core import from_json

from workcast.broker.below import OddFileError, open_below, remove_below
from workcast.broker.damaged import ignore
from workcast.broker.log_index import LogIndex, load_index, save_index
from workcast.broker.watermark import BASES, EPOCHS
from workcast.events.cut_line import CutLine
from workcast.events.json_value import as_object
from workcast.events.wire import MAX_LINE_BYTES, MAX_RAW

_CHUNK_BYTES: Final = 1 << 20
"""Read at once while lines are counted; always more than a header may have."""
_INDEX_BYTES: Final = 1 << 16
"""Bytes of log for each index entry: a read scans at most about this much to find its line."""
_FINGERPRINT_BYTES: Final = 512
_LINE_BYTES: Final = 1 << 16
"""Bytes of the first and of the last line that each refresh compares."""
_SAVE_ENTRIES: Final = 64
"""An index is saved when it has grown by this many entries: 4 MiB of log, which are scanned in milliseconds."""


@dataclass(frozen=True, slots=True)
class Header:
    """The first line of a log that workcast rewrote: not an event and not counted."""

    epoch: int
    base: int


def parse_header(line: bytes) -> Header | None:
    """Parse a log header; None if the line is not one, or its numbers are out of range."""
    if len(line) > 256 or b'"log"' not in line:
        return None
    try:
        value = as_object(from_json(line))
    except ValueError:
        return None
    if value is None or value.get("type") != "log":
        return None
    return _header(value.get("epoch"), value.get("base"))


def _header(epoch: object, base: object) -> Header | None:
    if type(epoch) is not int or type(base) is not int or epoch not in EPOCHS or base not in BASES:
        return None  # a bool is an int for isinstance
    return Header(epoch, base)


def natural_epoch(first_line: bytes) -> int:
    """Return the epoch of a log that has neither a header nor a written epoch: 48 bits of its first line's SHA-256."""
    return _epoch_of_digest(hashlib.sha256(first_line).digest())


def _epoch_of_digest(digest: bytes) -> int:
    return int.from_bytes(digest[:6], "big")


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive lines of a log, without their newlines."""

    offset: int
    lines: list[bytes]
    end_position: int
    """The byte after the last line's newline."""

    @property
    def end(self) -> int:
        """The offset after the last line."""
        return self.offset + len(self.lines)


class LogReader:
    """Reads one log by offset, with a sparse index over its bytes; not safe for several threads.

    Only a regular file is a log. A symbolic link counts as missing: with one, an agent could have any file of this
    machine shown. A FIFO, a device or a directory counts as missing as well.

    ``generation`` changes whenever the file is no longer a continuation of what was read before: another file, or
    other bytes where known ones were. With an ``index_path``, the index that an earlier reader saved there is used.
    """

    def __init__(self, path: Path, index_path: Path | None = None, *, chunk_bytes: int = _CHUNK_BYTES) -> None:
        self._path = path
        self._chunk_bytes = chunk_bytes
        self._index_path = index_path
        self.generation = 0
        self._saved_entries = 0
        self._forget()
        self._load_index()

    def _forget(self) -> None:
        self._inode = (-1, -1)
        self._head_bytes = b""
        self._tail_bytes = b""
        self._offsets = array("Q")
        self._positions = array("Q")
        self.header: Header | None = None
        self.natural_epoch: int | None = None
        """The epoch that the first line gives; None while there is none."""
        self.base = 0
        self.end = 0
        self.end_position = 0
        self.is_behind = False
        """Whether the last refresh left bytes of the file unread."""
        self._searched = 0
        """The unterminated tail has no newline before this position."""
        self._tail_edges = (b"", b"")

    @property
    def inode(self) -> int:
        """The inode of the file; -1 while there is none."""
        return self._inode[1]

    def refresh(self, limit: int = sys.maxsize) -> bool:
        """Read what was added to the file; True if lines were added or the file was replaced (see ``generation``).

        Args:
            limit: bytes to read, roughly; if there are more, ``is_behind`` is set.
        """
        before = (self.generation, self.end)
        descriptor = _open(self._path)
        if descriptor is None:
            self.is_behind = False
            if self._inode != (-1, -1):
                self._forget()
                self.generation += 1
            return before != (self.generation, self.end)
        try:
            status = os.fstat(descriptor)
            if not self._continues(descriptor, status):
                if self._inode != (-1, -1):
                    self.generation += 1
                self._forget()
                self._inode = (status.st_dev, status.st_ino)
            self.is_behind = False
            if status.st_size > self.end_position:
                self._scan(descriptor, limit)
                self.is_behind = self._searched < status.st_size
        finally:
            os.close(descriptor)
        return before != (self.generation, self.end)

    def rescan(self) -> None:
        """Read the whole file again: lines between its known ends were edited, so that the index may be wrong.

        ``generation`` stays as it is.
        """
        self._forget()
        self.refresh()

    def discard_index(self) -> None:
        """Remove the saved index, which may be that of an edited log."""
        if self._index_path is not None:
            remove_below(self._index_path)
        self._saved_entries = 0

    def read(self, offset: int, max_lines: int, max_bytes: int) -> Span:
        """Read whole lines from ``offset`` on: at most ``max_lines``, and about ``max_bytes`` but at least one line.

        Lines appended after the last :meth:`refresh` are not returned; nor is any line if the file was replaced since
        then, or the index is wrong, which the next refresh finds out. ``offset`` must lie in ``base`` … ``end``.
        """
        if not self.base <= offset <= self.end:
            raise ValueError(f"expected an offset in {self.base}…{self.end}, got {offset}")
        if offset == self.end:
            return Span(offset, [], self.end_position)
        at = bisect_right(self._offsets, offset) - 1
        skip, position = offset - self._offsets[at], self._positions[at]
        lines: list[bytes] = []
        taken = 0
        descriptor = _open(self._path)
        if descriptor is None:
            return Span(offset, [], position)
        with os.fdopen(descriptor, "rb") as file:
            if position and os.pread(descriptor, 1, position - 1) != b"\n":  # of the index, or since it was made
                self._forget()
                self.generation += 1
                return Span(offset, [], position)
            file.seek(position)
            for skipped in range(skip):
                position += self._read_line(file, position, offset - skip + skipped)[1]
            while len(lines) < max_lines and position < self.end_position:
                line, size = self._read_line(file, position, offset + len(lines))
                if line is None or (lines and taken + len(line) + 1 > max_bytes):
                    break
                lines.append(line)
                taken += len(line) + 1
                position += size
            # Checked after the read, so that a replacement before or during it is noticed.
            if not self._continues(file.fileno(), os.fstat(file.fileno())):
                return Span(offset, [], position)
        return Span(offset, lines, position)

    def _read_line(self, file: IO[bytes], position: int, offset: int) -> tuple[bytes | None, int]:
        """Read the line at a position; return it without its newline, and its bytes in the file.

        Of a line over 32 MiB only the beginning is read. None if it has no newline.
        """
        line = file.readline(_CHUNK_BYTES)
        if line.endswith(b"\n"):
            return line[:-1], len(line)
        after = bisect_right(self._offsets, offset)  # the index has an entry for each line that follows a long one
        end = self._positions[after] if after < len(self._offsets) else self.end_position
        if end - position > MAX_LINE_BYTES and os.pread(file.fileno(), 1, end - 1) == b"\n":
            file.seek(end)
            return CutLine(line[:MAX_RAW], end - 1 - position), end - position
        line += file.readline(max(end - position - len(line), 0))
        return (line[:-1] if line.endswith(b"\n") else None), len(line)

    def offset_near(self, position: int) -> int:
        """Return the first indexed offset whose line begins at or after a byte position; ``end`` if there is none."""
        at = bisect_left(self._positions, position)
        return self._offsets[at] if at < len(self._offsets) else self.end

    def save_index(self) -> None:
        """Save the index for the next reader, if it has grown by some MB of log since it was saved.

        Raises:
            OSError: it cannot be written.
        """
        if self._index_path is None or len(self._offsets) < self._saved_entries + _SAVE_ENTRIES:
            return
        save_index(
            self._index_path,
            LogIndex(
                self._inode, self._head_bytes, self._tail_bytes, self.end, self.end_position, self._offsets,
                self._positions,
            ),
        )  # fmt: skip
        self._saved_entries = len(self._offsets)

    def _load_index(self) -> None:
        """Load a saved index if it is that of the file; the next refresh finds out whether its known lines are.

        What the log itself shows of it is compared: where the first line ends, and how many lines the last entry
        stands for. To check all entries would be to scan the log.
        """
        descriptor = None if self._index_path is None else _open(self._path)
        if descriptor is None or self._index_path is None:
            return
        try:
            status = os.fstat(descriptor)
            index = load_index(self._index_path, status.st_size)
            if index is None or index.inode != (status.st_dev, status.st_ino):
                return
            header, epoch, start = self._read_first_line(descriptor, index)
            base = header.base if header else 0
            last = index.offsets[-1], index.positions[-1]
            counted = self._count_lines(descriptor, last[1], index.end_position)
            if (base, start) != (index.offsets[0], index.positions[0]) or last[0] + counted != index.end:
                ignore(self._index_path, ValueError("expected the lines of the log"))
                self.generation += 1
                return
        finally:
            os.close(descriptor)
        self._inode, self._head_bytes, self._tail_bytes = index.inode, index.head, index.tail
        self._offsets, self._positions = index.offsets, index.positions
        self.header, self.natural_epoch, self.base = header, epoch, base
        self.end, self.end_position = index.end, index.end_position
        self._saved_entries = len(index.offsets)

    def _read_first_line(self, descriptor: int, index: LogIndex) -> tuple[Header | None, int, int]:
        """Return the first line's header, if it is one, its natural epoch, and where the first counted line begins."""
        digest, position = hashlib.sha256(), 0
        while position < index.end_position and (chunk := os.pread(descriptor, self._chunk_bytes, position)):
            line, newline, _ = chunk.partition(b"\n")
            digest.update(line)
            if newline:
                header = parse_header(line) if position == 0 else None
                return header, _epoch_of_digest(digest.digest()), len(line) + 1 if header else 0
            position += len(chunk)
        return None, 0, -1

    def _count_lines(self, descriptor: int, start: int, end: int) -> int:
        """Count the lines in a range of the file; -1 if none begins or ends there."""
        edges = {os.pread(descriptor, 1, position - 1) for position in (start, end) if position}
        if edges != {b"\n"}:
            return -1
        count = 0
        for position in range(start, end, self._chunk_bytes):
            count += os.pread(descriptor, min(self._chunk_bytes, end - position), position).count(b"\n")
        return count

    def sync(self) -> None:
        """Make all lines up to ``end`` durable: a crash must not take back what viewers have seen.

        Raises:
            OSError: the log was removed, or cannot be synced.
        """
        descriptor = _open(self._path)
        if descriptor is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self._path))
        try:
            getattr(os, "fdatasync", os.fsync)(descriptor)  # macOS has no fdatasync
        finally:
            os.close(descriptor)

    def _continues(self, descriptor: int, status: os.stat_result) -> bool:
        """Whether the file only grew: same inode, not shorter, same bytes where its known lines begin and end."""
        if (status.st_dev, status.st_ino) != self._inode or status.st_size < self.end_position:
            return False
        tail = self._tail_bytes
        return (
            os.pread(descriptor, len(self._head_bytes), 0) == self._head_bytes
            and os.pread(descriptor, len(tail), self.end_position - len(tail)) == tail
        )

    def _scan(self, descriptor: int, limit: int) -> None:
        """Count and index the lines that were added, reading about ``limit`` bytes."""
        position = self._find_tail(descriptor)
        while limit > 0 and (chunk := os.pread(descriptor, self._chunk_bytes, position)):
            limit -= len(chunk)
            newline = chunk.find(b"\n")
            if newline < 0:
                position += len(chunk)
            elif position - self.end_position >= self._chunk_bytes:
                position = self._end_long_line(descriptor, position + newline + 1)
            elif position > self.end_position:
                position = self.end_position  # a short line, which grew during this scan: read it whole
            else:
                cut = chunk.rfind(b"\n") + 1
                self._index(chunk[:cut], position)
                position += cut
                self.end_position = position
                self._tail_bytes = _last_bytes(self._tail_bytes, chunk[:cut])
        self._remember_tail(descriptor, position)

    def _find_tail(self, descriptor: int) -> int:
        """Return where to go on searching the unterminated tail for its newline: at its start, unless it is long."""
        is_long = self._searched - self.end_position >= self._chunk_bytes
        is_same = is_long and self._tail_edges == self._read_edges(descriptor, self._searched)
        return self._searched if is_same else self.end_position

    def _remember_tail(self, descriptor: int, position: int) -> None:
        self._searched = position
        self._tail_edges = self._read_edges(descriptor, position) if position > self.end_position else (b"", b"")

    def _read_edges(self, descriptor: int, position: int) -> tuple[bytes, bytes]:
        """Read how the tail before ``position`` begins and ends: a writer may have cut it back and written another."""
        size = min(_FINGERPRINT_BYTES, position - self.end_position)
        return os.pread(descriptor, size, self.end_position), os.pread(descriptor, size, position - size)

    def _end_long_line(self, descriptor: int, end: int) -> int:
        """Index a line that is longer than a chunk and ends at ``end``; return where to read on.

        It is read a second time, in case its bytes have changed since they were searched. It is too long for a header.
        """
        start, digest = self.end_position, hashlib.sha256()
        for position in range(start, end, self._chunk_bytes):
            chunk = os.pread(descriptor, min(self._chunk_bytes, end - position), position)
            if position + len(chunk) >= end:
                chunk = chunk[:-1]
            if b"\n" in chunk:
                return start
            if self.natural_epoch is None:
                digest.update(chunk)
        if self.natural_epoch is None:
            self.natural_epoch = _epoch_of_digest(digest.digest())
            self._head_bytes = os.pread(descriptor, min(_LINE_BYTES, end), 0)
        self._offsets.append(self.end)
        self._positions.append(start)
        self.end += 1
        self.end_position = end
        size = min(_LINE_BYTES, end)
        self._tail_bytes = os.pread(descriptor, size, end - size)
        return end

    def _index(self, block: bytes, position: int) -> None:
        """Index whole lines that begin at ``position``: an entry for about each 64 KiB."""
        start = 0
        if self.natural_epoch is None:
            newline = block.index(b"\n")
            self._head_bytes = block[: min(newline + 1, _LINE_BYTES)]
            first = block[:newline]
            self.natural_epoch = natural_epoch(first)
            self.header = parse_header(first)
            if self.header:
                start = newline + 1
                self.base = self.end = self.header.base
        while start < len(block):
            cut = block.find(b"\n", min(start + _INDEX_BYTES, len(block) - 1)) + 1
            if not self._positions or position + start - self._positions[-1] >= _INDEX_BYTES:
                self._offsets.append(self.end)
                self._positions.append(position + start)
            self.end += block.count(b"\n", start, cut)
            start = cut


def _last_bytes(before: bytes, block: bytes) -> bytes:
    """Return the end of whole lines: the last one, up to 64 KiB of it, and at least some bytes."""
    last = len(block) - 1 - block.rfind(b"\n", 0, len(block) - 1)
    size = min(max(last, _FINGERPRINT_BYTES), _LINE_BYTES)
    return (before + block[-size:])[-size:]


def _open(path: Path) -> int | None:
    """Open the log; None if it is missing, or not a regular file."""
    try:
        return open_below(path, os.O_RDONLY)
    except (FileNotFoundError, OddFileError):
        return None
