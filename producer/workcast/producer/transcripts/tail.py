"""The tail of a growing file: its whole lines from the last position on."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from typing import IO, Final

from workcast.events.cut_line import CutLine, size_of
from workcast.producer.lines import MAX_LINE_BYTES, line_of
from workcast.producer.transcripts.checkpoint import TailState

CHUNK_BYTES: Final = 1 << 20
PRINT_BYTES: Final = 256


class Tail:
    """Reads whole lines; a line without its newline waits for it. Holds about :data:`CHUNK_BYTES` at a time.

    ``position`` is that of the first byte that was not taken.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.position = 0
        self.stamp: tuple[int, int, int] = (0, 0, 0)
        """Inode, size and time of change of the file when it was last read to its end."""
        self._head = b""
        self._last = b""
        self._last_read = b""
        self._lines: deque[bytes] = deque()
        self._read = 0

    def current_stamp(self) -> tuple[int, int, int]:
        """Return inode, size and time of change of the file now; zeros if it is gone."""
        try:
            status = self.path.stat()
        except OSError:
            return (0, 0, 0)
        return (status.st_ino, status.st_size, status.st_mtime_ns)

    @property
    def is_at_end(self) -> bool:
        """Whether all whole lines that were last found have been taken."""
        return not self._lines and self.stamp != (0, 0, 0)

    def to_state(self) -> TailState:
        """Return the state for a checkpoint."""
        return TailState(
            path=str(self.path), position=self.position, stamp=self.stamp, head=self._head.hex(), last=self._last.hex()
        )

    def matches(self, state: TailState) -> bool:
        """Whether the file begins with what was read of it (or of its original) when the checkpoint was made."""
        try:
            return self._matches(state.position, bytes.fromhex(state.head), bytes.fromhex(state.last))
        except ValueError:
            return False

    def continues(self) -> bool:
        """Whether the file still has the bytes that were read from it."""
        return self._matches(self._read, self._head, self._last_read)

    def _matches(self, position: int, head: bytes, last: bytes) -> bool:
        try:
            with self.path.open("rb") as file:
                if os.fstat(file.fileno()).st_size < position:
                    return False
                there = file.fileno()
                return (
                    os.pread(there, len(head), 0) == head and os.pread(there, len(last), position - len(last)) == last
                )
        except OSError:
            return position == 0

    def peek(self) -> bytes | None:
        """Return the next line without taking it; None if there is no whole one yet."""
        if not self._lines:
            self._load()
        return self._lines[0] if self._lines else None

    def take(self) -> bytes:
        """Take the next line, after :meth:`peek` has returned it."""
        line = self._lines.popleft()
        if self.position == 0:
            self._head = (line + b"\n")[:PRINT_BYTES]
        self.position += size_of(line) + 1
        self._last = b"" if isinstance(line, CutLine) else (self._last + line + b"\n")[-PRINT_BYTES:]
        return line

    def _load(self) -> None:
        stamp = self.current_stamp()
        try:
            with self.path.open("rb") as file:
                file.seek(self._read)
                block = file.read(CHUNK_BYTES)
                while block and b"\n" not in block and len(block) < MAX_LINE_BYTES and (more := file.read(len(block))):
                    block += more
                cut = block.rfind(b"\n") + 1
                if cut:
                    self._lines.extend(block[: cut - 1].split(b"\n"))
                    self._read += cut
                    self._last_read = block[:cut][-PRINT_BYTES:]
                elif len(block) >= MAX_LINE_BYTES:
                    self._skip_rest(block, file)
                else:
                    self.stamp = stamp  # the end of the file
        except OSError:
            return  # the file is gone, and may come back

    def _skip_rest(self, block: bytes, file: IO[bytes]) -> None:
        """Keep the beginning of a line that is too long, once its end is there."""
        size = len(block)
        while piece := file.readline(CHUNK_BYTES):
            size += len(piece)
            if piece.endswith(b"\n"):
                self._lines.append(line_of(block[:MAX_LINE_BYTES], size - 1))
                self._read += size
                self._last_read = b""
                return
