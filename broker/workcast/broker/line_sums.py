"""The checksums of a log's lines: for each line that was shown, its CRC-32, at a place that follows from its offset."""

from __future__ import annotations

import os
import struct
import sys
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final
from zlib import crc32

from workcast.broker.below import OddFileError, make_directory, open_below
from workcast.broker.files import replace_file

_FIELDS: Final = struct.Struct("=8sQQ")
"""Of the header: format, epoch, first offset. Their CRC-32 follows."""
_FORMAT: Final = b"wc-sums1"
_SUM: Final = "I"
"""As an array has it: 32 bits in the order of this machine, whose state files no other one reads."""
_SUM_BYTES: Final = 4
_HEADER_BYTES: Final = _FIELDS.size + _SUM_BYTES
_UNKNOWN: Final = bytes(_SUM_BYTES)
"""In place of a sum that is not known: one that was skipped, or that a loss of power took."""
_NOT_0: Final = 1
"""The sum of a line whose CRC-32 is 0, such as the empty one."""
_PIECE: Final = 1 << 14
"""Sums read at once while unknown ones are looked for."""


def crcs_of(lines: Iterable[bytes]) -> array[int]:
    """Return the CRC-32 of each line, without its newline."""
    return array(_SUM, map(crc32, lines))


class LineSums:
    """Reads and adds to the sums of one log; safe beside other processes that do.

    Nothing is locked, because all write the same sums in the same places. A sum that is missing says nothing; nor does
    any sum of another epoch.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def first_difference(self, epoch: int, offset: int, lines: Sequence[bytes]) -> int | None:
        """Return the offset of the first line that is not the one that was shown; None if that is said of none.

        Args:
            epoch: the log's.
            offset: of the first line.
            lines: consecutive lines, without their newlines.

        Raises:
            OSError: the sums cannot be read.
        """
        descriptor = self._open(os.O_RDONLY)
        if descriptor is None:
            return None
        try:
            first = _read_header(descriptor, epoch)
            if first is None or offset < first:
                return None
            known = os.pread(descriptor, _SUM_BYTES * len(lines), _place(first, offset))
        finally:
            os.close(descriptor)
        different = _first_difference(known, _stored(crcs_of(lines)))
        return None if different is None else offset + different

    def add(self, epoch: int, base: int, offset: int, crcs: array[int]) -> int | None:
        """Compare the CRCs of lines with those that are known, and write them unless one differs: return its offset.

        Args:
            epoch: the log's; the sums of another one are discarded.
            base: the log's first offset.
            offset: of the first line.
            crcs: of consecutive lines, see :func:`crcs_of`.

        Raises:
            OSError: the sums cannot be read or written.
        """
        descriptor = self._open(os.O_RDWR)
        try:
            first = None if descriptor is None else _read_header(descriptor, epoch)
            if descriptor is not None and first is not None and first <= base:
                sums, place = _stored(crcs), _place(first, offset)
                known = os.pread(descriptor, len(sums), place)
                different = _first_difference(known, sums)
                if different is not None:
                    return offset + different
                if known != sums:
                    os.pwrite(descriptor, sums, place)
                return None
        finally:
            if descriptor is not None:
                os.close(descriptor)
        make_directory(self._path.parent)
        replace_file(self._path, _header(epoch, base))
        return self.add(epoch, base, offset, crcs)

    def known_to(self, epoch: int, base: int, end: int = sys.maxsize) -> int:
        """Return the offset up to which the sums of all lines from ``base`` on are known, at most ``end``.

        Raises:
            OSError: the sums cannot be read.
        """
        descriptor = self._open(os.O_RDONLY)
        if descriptor is None:
            return base
        try:
            first = _read_header(descriptor, epoch)
            if first is None or base < first:
                return base
            at = base
            while at < end:
                count = _find_unknown(os.pread(descriptor, _SUM_BYTES * _PIECE, _place(first, at)))
                at += count
                if count < _PIECE:
                    break
            return min(at, end)
        finally:
            os.close(descriptor)

    def _open(self, access: int) -> int | None:
        """Open the file; None if there is none, or something else in its place."""
        try:
            return open_below(self._path, access)
        except (FileNotFoundError, OddFileError):
            return None


def _header(epoch: int, first: int) -> bytes:
    fields = _FIELDS.pack(_FORMAT, epoch, first)
    return fields + crc32(fields).to_bytes(_SUM_BYTES, "little")


def _read_header(descriptor: int, epoch: int) -> int | None:
    """Return the offset that the first sum belongs to; None if the sums are of another epoch, or damaged."""
    header = os.pread(descriptor, _HEADER_BYTES, 0)
    if len(header) < _HEADER_BYTES:
        return None
    first: int = _FIELDS.unpack_from(header)[2]
    return first if header == _header(epoch, first) else None


def _place(first: int, offset: int) -> int:
    return _HEADER_BYTES + _SUM_BYTES * (offset - first)


def _stored(crcs: array[int]) -> bytes:
    """Return CRCs as they are stored, where 0 stands for none."""
    stored = crcs.tobytes()
    return array(_SUM, (crc or _NOT_0 for crc in crcs)).tobytes() if _UNKNOWN in stored else stored


def _find_unknown(sums: bytes) -> int:
    """Return the number of sums before the first one that is not known, or was not wholly written."""
    at = sums.find(_UNKNOWN)
    while at >= 0 and at % _SUM_BYTES:
        at = sums.find(_UNKNOWN, at + 1)
    return (at if at >= 0 else len(sums)) // _SUM_BYTES


def _first_difference(known: bytes, sums: bytes) -> int | None:
    """Return the number of the first known sum that is another one; what is unknown or not there says nothing."""
    if known == sums:
        return None
    whole = known[: len(known) // _SUM_BYTES * _SUM_BYTES]
    pairs = zip(array(_SUM, whole), array(_SUM, sums), strict=False)
    return next((at for at, (one, other) in enumerate(pairs) if one and one != other), None)
