"""The log of a workcell: an append-only JSONL file, the durable copy and the relay's outbox.

:class:`Appender` is the one way to write to it, :class:`LogReader` the one way to read it by offset. A line counts
once its newline is there. Readers never write.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic_core import from_json

from workcast.broker.appender import Appender as Appender  # noqa: PLC0414 - found here as well
from workcast.broker.files import replace_file
from workcast.events.json_value import as_object

_SCAN_BYTES: Final = 1 << 20
_INDEX_BYTES: Final = 1 << 16
"""One index entry for about this many bytes of log: a read scans at most this much to find its line."""
_FINGERPRINT_BYTES: Final = 512
_LINE_BYTES: Final = 1 << 16
"""So much of the first and of the last line is compared at each look."""
_SAVE_ENTRIES: Final = 64
"""An index is kept again when it has grown by so many entries: 4 MiB of log, scanned in some milliseconds."""
_EPOCHS: Final = range(1, 1 << 48)
"""0 stands for a log without a line."""
_BASES: Final = range(1 << 52)
"""The broker's scripts and browsers count in doubles, exact below 2^53: the other half is for the lines that follow."""
_NO_FILE: Final = (errno.ENOENT, errno.ELOOP, errno.EMLINK, errno.ENXIO)
"""There is nothing; a symbolic link, as Linux and macOS or FreeBSD say it; a socket, or a device that is not there."""


@dataclass(frozen=True, slots=True)
class Header:
    """The first line of a log that workcast rewrote: not an event and not counted."""

    epoch: int
    base: int


def parse_header(line: bytes) -> Header | None:
    """The header that ``line`` is, or None if it is an ordinary line: one whose numbers no log can have is, too."""
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
    if type(epoch) is not int or type(base) is not int or epoch not in _EPOCHS or base not in _BASES:
        return None  # a bool is an int for isinstance
    return Header(epoch, base)


def natural_epoch(first_line: bytes) -> int:
    """The epoch of a log that neither a header nor a state file gives one: 48 bits of its first line's SHA-256."""
    return int.from_bytes(hashlib.sha256(first_line).digest()[:6], "big")


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
    """Reads one log by offset, by means of a sparse index over its bytes; not safe for several threads.

    Only a regular file is a log. A symbolic link counts as missing: whoever may write to a workcell could have any
    file of this machine shown by it. A FIFO, a device or a directory counts as missing as well.

    ``generation`` changes whenever the file is no longer a continuation of what was read before: another file, or
    other bytes where known ones were. With an ``index_path``, the index of an earlier reader is taken up from there.
    """

    def __init__(self, path: Path, index_path: Path | None = None) -> None:
        self._path = path
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

    @property
    def inode(self) -> int:
        """Which file this is, among those of its file system; -1 while there is none."""
        return self._inode[1]

    def refresh(self) -> bool:
        """Look at the file again; True if lines were added or the file was replaced (see ``generation``)."""
        before = (self.generation, self.end)
        descriptor = _open(self._path)
        if descriptor is None:
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
            if status.st_size > self.end_position:
                self._scan(descriptor)
        finally:
            os.close(descriptor)
        return before != (self.generation, self.end)

    def read(self, offset: int, max_lines: int, max_bytes: int) -> Span:
        """Whole lines from ``offset`` on: at most ``max_lines``, and about ``max_bytes`` but at least one line.

        Lines appended after the last :meth:`refresh` are not returned. No lines are if the file was replaced since
        then: the next refresh will tell. ``offset`` must lie in ``base`` … ``end``.
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
            file.seek(position)
            for _ in range(skip):
                position += len(file.readline())
            while len(lines) < max_lines and position < self.end_position:
                line = file.readline()
                if not line.endswith(b"\n") or (lines and taken + len(line) > max_bytes):
                    break
                lines.append(line[:-1])
                taken += len(line)
                position += len(line)
            # Looked at after the read: whoever replaced the file before or during it has left a trace by now.
            if not self._continues(file.fileno(), os.fstat(file.fileno())):
                return Span(offset, [], position)
        return Span(offset, lines, position)

    def offset_near(self, position: int) -> int:
        """The first indexed offset whose line begins at or after byte ``position``; ``end`` if there is none."""
        at = bisect_left(self._positions, position)
        return self._offsets[at] if at < len(self._offsets) else self.end

    def save_index(self) -> None:
        """Keep the index where the next reader finds it, if it has grown by some MB of log since it was kept.

        Raises:
            OSError: it cannot be written.
        """
        if self._index_path is None or len(self._offsets) < self._saved_entries + _SAVE_ENTRIES:
            return
        fields = {
            "inode": self._inode, "head": self._head_bytes.hex(), "tail": self._tail_bytes.hex(),
            "header": self.header and [self.header.epoch, self.header.base], "natural_epoch": self.natural_epoch,
            "end": self.end, "end_position": self.end_position, "entries": len(self._offsets),
        }  # fmt: skip
        replace_file(
            self._index_path, json.dumps(fields).encode() + b"\n" + self._offsets.tobytes() + self._positions.tobytes()
        )
        self._saved_entries = len(self._offsets)

    def _load_index(self) -> None:
        """Take up a kept index; whether the log is still the same, the next refresh finds out."""
        if self._index_path is None:
            return
        try:
            first, _, rest = self._index_path.read_bytes().partition(b"\n")
            fields: dict[str, Any] = from_json(first)
            size = 8 * fields["entries"]
            offsets, positions = array("Q", rest[:size]), array("Q", rest[size:])
            if len(offsets) != fields["entries"] or len(positions) != len(offsets):
                return
            self._offsets, self._positions = offsets, positions
            self._inode = (fields["inode"][0], fields["inode"][1])
            self._head_bytes, self._tail_bytes = bytes.fromhex(fields["head"]), bytes.fromhex(fields["tail"])
            self.header = _header(*fields["header"]) if fields["header"] else None
            self.natural_epoch = fields["natural_epoch"]
            self.base = self.header.base if self.header else 0
            self.end, self.end_position = fields["end"], fields["end_position"]
            self._saved_entries = len(offsets)
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            self._forget()  # none, or damaged: it only saves work

    def sync(self) -> None:
        """Make all lines up to ``end`` durable: a viewer must never have seen what a crash can take back.

        Raises:
            OSError: the log is gone, or cannot be synced.
        """
        descriptor = _open(self._path)
        if descriptor is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self._path))
        try:
            getattr(os, "fdatasync", os.fsync)(descriptor)  # macOS has no fdatasync
        finally:
            os.close(descriptor)

    def _continues(self, descriptor: int, status: os.stat_result) -> bool:
        """Whether the file still begins and goes on as it did: same inode, not shorter, same first and last bytes."""
        if (status.st_dev, status.st_ino) != self._inode or status.st_size < self.end_position:
            return False
        tail = self._tail_bytes
        return (
            os.pread(descriptor, len(self._head_bytes), 0) == self._head_bytes
            and os.pread(descriptor, len(tail), self.end_position - len(tail)) == tail
        )

    def _scan(self, descriptor: int) -> None:
        """Count the lines that were added, and index them."""
        position, rest = self.end_position, b""
        os.lseek(descriptor, position, os.SEEK_SET)
        while chunk := os.read(descriptor, _SCAN_BYTES):
            block = rest + chunk if rest else chunk
            cut = block.rfind(b"\n") + 1
            if not cut:
                rest = block  # one line longer than what was read so far
                continue
            self._index(block[:cut], position)
            position += cut
            rest = block[cut:]
            last = cut - 1 - block.rfind(b"\n", 0, cut - 1)
            size = min(max(last, _FINGERPRINT_BYTES), _LINE_BYTES)
            self._tail_bytes = (self._tail_bytes + block[max(0, cut - size) : cut])[-size:]
        self.end_position = position

    def _index(self, block: bytes, position: int) -> None:
        """Index whole lines that begin at ``position``: an entry for each 64 KiB or so."""
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


def _open(path: Path) -> int | None:
    """A descriptor of the log; None if there is none, or what is there is no regular file."""
    try:  # without O_NONBLOCK, a FIFO would hold us until somebody writes to it
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in _NO_FILE:
            return None
        raise
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None
