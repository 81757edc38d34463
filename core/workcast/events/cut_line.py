"""A line of which only the beginning was read, because it is too long."""

from __future__ import annotations

from typing import Self


class CutLine(bytes):
    """The beginning of a line that was too long. All other lines are plain bytes, for speed."""

    size: int
    """The bytes of the whole line."""

    def __new__(cls, data: bytes, size: int) -> Self:
        line = super().__new__(cls, data)
        line.size = size
        return line


def size_of(line: bytes) -> int:
    """Return the bytes of a whole line, whether or not its end was dropped."""
    return line.size if isinstance(line, CutLine) else len(line)
