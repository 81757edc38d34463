"""Splitting bytes into lines, at ``\\n`` alone: agents leave U+2028 and U+0085 raw inside JSON strings."""

from __future__ import annotations

from typing import Final

from workcast.events.cut_line import CutLine, size_of

MAX_LINE_BYTES: Final = 16 * 1024 * 1024
"""Longer lines are cut to this. The longest line in the recordings has 0.4 MiB."""


def line_of(data: bytes, size: int) -> bytes:
    """Return the line that begins with ``data`` and had ``size`` bytes."""
    return data if len(data) == size else CutLine(data, size)


class LineSplitter:
    """Splits a stream, fed in pieces of any size, into lines; holds at most ``cap`` bytes."""

    def __init__(self, cap: int = MAX_LINE_BYTES) -> None:
        self._cap = cap
        self._held = bytearray()
        self._size = 0

    def feed(self, piece: bytes) -> list[bytes]:
        """Add the next piece of the stream; return the lines that end in it, without their newlines."""
        lines = piece.split(b"\n")
        tail = lines.pop()
        if lines:
            if len(piece) > self._cap:
                lines = [line_of(line[: self._cap], len(line)) for line in lines]
            if self._size:
                self._hold(lines[0])
                lines[0] = self._take()
        self._hold(tail)
        return lines

    def drain(self) -> list[bytes]:
        """End the stream; return the line that lacks its newline, if there is one."""
        return [self._take()] if self._size else []

    def _hold(self, part: bytes) -> None:
        self._held += part[: self._cap - len(self._held)]
        self._size += size_of(part)

    def _take(self) -> bytes:
        data, size = bytes(self._held), self._size
        self._held.clear()
        self._size = 0
        return line_of(data, size)
