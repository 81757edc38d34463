"""The file that keeps a log's line index for the next reader, bound to the device and inode of the log."""

from __future__ import annotations

import json
from array import array
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from pydantic_core import from_json

from workcast.broker.below import read_below
from workcast.broker.damaged import ignore
from workcast.broker.files import replace_file
from workcast.broker.watermark import HEADS

_FIRST_LINE_BYTES: Final = 1 << 19
"""Of an index: twice the bytes of a log's first and last line that it names, in hexadecimal digits."""
_ENTRY_BYTES: Final = 16
_BYTES_PER_ENTRY: Final = 1 << 15
"""Of a log: no index has more entries, which stand for 64 KiB each, or for a longer line."""


@dataclass(frozen=True, slots=True)
class LogIndex:
    """The lines of a log up to ``end``, by the offset and the byte position of one for about each 64 KiB."""

    inode: tuple[int, int]
    """Device and inode of the log."""
    head: bytes
    """The beginning of the log."""
    tail: bytes
    """The bytes before ``end_position``."""
    end: int
    end_position: int
    offsets: array[int]
    positions: array[int]


def save_index(path: Path, index: LogIndex) -> None:
    """Write an index.

    Raises:
        OSError: it cannot be written.
    """
    entries = index.offsets.tobytes() + index.positions.tobytes()
    fields = {
        "inode": index.inode, "head": index.head.hex(), "tail": index.tail.hex(), "end": index.end,
        "end_position": index.end_position, "entries": len(index.offsets), "crc": crc32(entries),
    }  # fmt: skip
    replace_file(path, json.dumps(fields).encode() + b"\n" + entries)


def load_index(path: Path, log_bytes: int) -> LogIndex | None:
    """Read an index; None if it is missing or malformed, or cannot be that of a log with ``log_bytes``."""
    limit = _FIRST_LINE_BYTES + _ENTRY_BYTES * (log_bytes // _BYTES_PER_ENTRY + 1)
    try:
        first, _, rest = read_below(path, limit).partition(b"\n")
        return _parse(from_json(first), rest)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        ignore(path, error)
        return None


def _parse(fields: Any, rest: bytes) -> LogIndex:
    if crc32(rest) != fields["crc"] or len(rest) != _ENTRY_BYTES * fields["entries"]:
        raise ValueError("expected as many entries as it names, with their checksum")
    half = len(rest) // 2
    index = LogIndex(
        (fields["inode"][0], fields["inode"][1]), bytes.fromhex(fields["head"]), bytes.fromhex(fields["tail"]),
        fields["end"], fields["end_position"], array("Q", rest[:half]), array("Q", rest[half:]),
    )  # fmt: skip
    numbers = (*index.inode, index.end, index.end_position)
    if not all(type(number) is int for number in numbers) or not all(number in HEADS for number in numbers[2:]):
        raise ValueError("expected numbers of a log")
    if not index.offsets or not index.head or not index.tail.endswith(b"\n") or len(index.tail) > index.end_position:
        raise ValueError("expected an entry for a line")
    offsets, positions = (*index.offsets, index.end), (*index.positions, index.end_position)
    for (offset, next_offset), (position, next_position) in zip(pairwise(offsets), pairwise(positions), strict=True):
        if not 0 < next_offset - offset <= next_position - position:  # a line has a byte at least: its newline
            raise ValueError(f"expected lines between {offset} and {next_offset}")
    return index
