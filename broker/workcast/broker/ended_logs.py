"""The logs that have ended: what a relay needs of each to publish its summary without reading the log again.

Ten thousand of them are kept in one file of the state directory. What it says of a log counts only while the log is
the very file, unchanged: device, inode, size and both times are as they were when the log was read. A clone, an archive
or a copy cannot bring a file with those numbers, and whatever is added to the log or edited in it changes them.
"""

from __future__ import annotations

import json
import os
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from pydantic import ValidationError
from pydantic_core import from_json

from workcast.broker.below import directory_of, read_below
from workcast.broker.damaged import ignore
from workcast.broker.files import replace_file
from workcast.broker.names import ENDED_LOGS_FILE, EPOCH_SUFFIX, LOG_FILE, RETIRED_SUFFIX, state_file
from workcast.broker.root import Root
from workcast.broker.watermark import BASES, EPOCHS, HEADS
from workcast.ledger.lost import OPEN
from workcast.ledger.summary import MAX_BYTES, Summary

_VERSION: Final = 1
_MAX_FILE_BYTES: Final = 1 << 27
"""More than 100,000 logs take; those that do not fit are read again at the next start."""
_SETTLED_NS: Final = 2_000_000_000
"""A file that changed later than this before now may change again without getting another time."""
_SAVE_EVERY: Final = 64
"""Changes, or a fiftieth of all logs if that is more, after which the file is written again."""
_PLACE: Final = struct.Struct("<5Q")


@dataclass(frozen=True, slots=True)
class EndedLog:
    """An ended log that is published, or was by an earlier relay."""

    place: bytes
    """Device, inode, size, and the times of the last change of content and of status."""
    epoch: int
    base: int
    head: int
    summary: bytes
    """Its JSON."""


def settled_place(path: str, size: int) -> bytes | None:
    """Return the place of a log of this size that has not changed for two seconds; None for any other.

    What is read of the log afterwards is its content for as long as its place stays the same.
    """
    with suppress(OSError):
        found = os.lstat(path)
        if found.st_size == size and time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns) > _SETTLED_NS:
            return _pack(found)
    return None


def _pack(found: os.stat_result) -> bytes:
    numbers = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return _PLACE.pack(*(number & (1 << 64) - 1 for number in numbers))


class EndedLogs:
    """The ended logs of one root that have not changed since; not safe for several threads.

    Args:
        root: whose logs.
        prices: the fingerprint of the price table with which the summaries' costs are computed.
    """

    def __init__(self, root: Root, prices: str) -> None:
        self._root = root
        self._prices = prices
        self._directory = str(root.workcells)
        self._path = root.state / ENDED_LOGS_FILE
        self._logs: dict[str, EndedLog] = {}
        self._unsaved = 0
        """Logs that were added or removed since the file was written."""

    def __contains__(self, workcell: str) -> bool:
        return workcell in self._logs

    def __iter__(self) -> Iterator[str]:
        return iter(self._logs)

    def __getitem__(self, workcell: str) -> EndedLog:
        return self._logs[workcell]

    def add(self, workcell: str, log: EndedLog) -> None:
        self._logs[workcell] = log
        self._unsaved += 1

    def discard(self, workcell: str) -> None:
        self._unsaved += self._logs.pop(workcell, None) is not None

    def has_unchanged(self, workcell: str) -> bool:
        """Whether the log is among these and still what it was; one that changed is removed."""
        log = self._logs.get(workcell)
        if log is None:
            return False
        with suppress(OSError):
            # A link on the way would lead to the same file, or to one with other numbers.
            if _pack(os.lstat(f"{self._directory}/{self._root.local(workcell)}/{LOG_FILE}")) == log.place:
                return True
        self.discard(workcell)
        return False

    # ── the file ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def load(self) -> None:
        """Take over what an earlier relay of this root kept; a file that is damaged, or another root's, is ignored."""
        try:
            lines = read_below(self._path, _MAX_FILE_BYTES).split(b"\n")
            if lines[0] != self._header():
                return  # of another root, version or price table
            with directory_of(self._path, writes=True) as (directory, _):
                names = frozenset(os.listdir(directory))  # noqa: PTH208 - of a descriptor
        except OSError as error:
            ignore(self._path, error)
            return
        origin = self._root.origin()
        for line in lines[1:-1]:
            try:
                name, log = self._parse(line, origin)
            except (ValueError, TypeError, struct.error) as error:
                ignore(self._path, error)
                continue
            # An epoch that was written for a log is decided beside all that is known about the log.
            if state_file(name, EPOCH_SUFFIX) not in names and state_file(name, RETIRED_SUFFIX) not in names:
                self._logs.setdefault(self._root.id_of(name), log)

    def _parse(self, line: bytes, origin: str) -> tuple[str, EndedLog]:
        checksum, _, content = line.partition(b" ")
        if checksum != b"%d" % crc32(content):
            raise ValueError("expected the checksum of the line")
        fields, _, summary = content.partition(b" ")
        name, *numbers = from_json(fields)
        if not all(type(number) is int for number in numbers):
            raise ValueError("expected numbers")
        *place, epoch, base, head = numbers
        if epoch not in EPOCHS or base not in BASES or head not in HEADS or len(summary) > MAX_BYTES:
            raise ValueError("expected numbers in range")
        try:
            shown = Summary.model_validate_json(summary)
        except ValidationError as error:
            raise ValueError(error.errors(include_url=False)[0]["msg"]) from error
        expected = (self._root.id_of(name), epoch, base, head, origin)
        if (shown.id, shown.epoch, shown.base, shown.head, shown.origin) != expected or shown.status in OPEN:
            raise ValueError("expected the summary of this log")
        return name, EndedLog(_PLACE.pack(*place), epoch, base, head, summary)

    def save(self, *, at_once: bool = False) -> None:
        """Write the file, if enough has changed; or with ``at_once``, if anything has.

        Raises:
            OSError: it cannot be written; the next call tries again.
        """
        enough = 1 if at_once else max(_SAVE_EVERY, len(self._logs) // 50)
        if self._unsaved < enough:
            return
        data = b"".join(self._lines())
        replace_file(self._path, data)
        self._unsaved = 0

    def _lines(self) -> Iterable[bytes]:
        yield self._header() + b"\n"
        size = 0
        for workcell, log in self._logs.items():
            fields = [self._root.local(workcell), *_PLACE.unpack(log.place), log.epoch, log.base, log.head]
            content = json.dumps(fields, separators=(",", ":")).encode() + b" " + log.summary
            line = b"%d %s\n" % (crc32(content), content)
            size += len(line)
            if size < _MAX_FILE_BYTES - 1024:
                yield line

    def _header(self) -> bytes:
        fields = {
            "version": _VERSION, "origin": self._root.origin(), "prefix": self._root.id_of(""), "prices": self._prices,
        }  # fmt: skip
        return json.dumps(fields).encode()
