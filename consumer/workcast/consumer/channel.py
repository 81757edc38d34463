"""A channel: epoch and head of one watched workcell, and a ring of its newest frames."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

from workcast.broker.batch import Budgets
from workcast.consumer.frame import Frame, build_frame, split

_STREAM_ENTRIES: Final = Budgets().stream_entries
_FIRST_GUESS: Final = 2048
"""Bytes of a line, until lines have been read."""


class Channel:
    """One workcell's epoch, base and head, and the frames before the head that are still in memory.

    The ring is dense. Older events are in the stream, still older ones in the log; if the head became known before
    its events came through the feed, the newer ones are in the stream as well.
    """

    def __init__(self, workcell: str, ring_bytes: int, frame_bytes: int) -> None:
        self.workcell = workcell
        self.epoch: int = 0
        self.base = 0
        self.head = 0
        self.loaded = False
        """Whether epoch and head are valid; if not, the broker must be asked."""
        self.gone = False
        """Whether the workcell was removed: a channel that is opened later is another one."""
        self.foreign = False
        """Whether another root has published a workcell under the id of one here."""
        self.announced: tuple[int, int] | None = None
        """Epoch and end of the last events from the feed while the channel was not loaded."""
        self.window_due = 0.0
        """When the relays may be asked again to publish the stream of this workcell, by the event loop's clock."""
        self._stream_start: int | None = None
        """The first offset that the stream holds, as far as reads have shown."""
        self._ring: deque[Frame] = deque()
        self._size = 0
        self._ring_bytes = ring_bytes
        self._frame_bytes = frame_bytes
        self._line_bytes = _FIRST_GUESS
        self._listeners: set[Callable[[], None]] = set()

    @property
    def watched(self) -> bool:
        """Whether any viewer is subscribed."""
        return bool(self._listeners)

    def listen(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` after each change."""
        self._listeners.add(wake)

    def unlisten(self, wake: Callable[[], None]) -> None:
        self._listeners.discard(wake)

    def end(self) -> None:
        """Let the viewers know that the workcell is gone."""
        self.gone = True
        self.notify()

    def set_position(self, epoch: int, base: int, head: int) -> None:
        """Apply what the broker has: another epoch clears the ring, a greater head is taken."""
        announced, self.announced = self.announced, None
        if announced is not None and announced[0] == epoch:
            head = max(head, announced[1])  # published after the broker answered
        if epoch != self.epoch:
            self._clear()
            self._stream_start = None
            self.epoch, self.base, self.head = epoch, base, head
        else:
            self.base = max(self.base, base)
            self.head = max(self.head, head)
        self.loaded = announced is None or announced[0] == epoch  # else the answer is outdated
        self.notify()

    def push(self, offset: int, lines: Sequence[bytes]) -> None:
        """Append consecutive events of the channel's epoch from the feed."""
        end = offset + len(lines)
        there = self._ring[-1].end if self._ring else offset
        if end <= there:
            return  # published again, by a relay that started over
        if offset > there:
            self._clear()  # the feed skipped some, which are in the stream
        else:
            lines = lines[there - offset :]
            offset = there
        news = end > self.head
        self.head = max(self.head, end)
        for run in split(lines, self._frame_bytes):
            frame = build_frame(self.workcell, self.epoch, offset, self.head, run)
            self._ring.append(frame)
            self._size += frame.size
            offset = frame.end
        self._trim()
        if news:
            self.notify()

    def frame_at(self, offset: int) -> Frame | None:
        """Return the shared frame that begins at ``offset``, or one built from its rest; None if it is not in the ring.

        It carries the current head, which the viewer may have been sent already.
        """
        ring = self._ring
        if not ring or not ring[0].offset <= offset < ring[-1].end:
            return None
        at = bisect_right(ring, offset, key=_offset) - 1
        frame = next(islice(ring, at, None))
        if frame.offset == offset:
            if frame.head < self.head:
                self._size -= frame.size
                frame = ring[at] = frame.with_head(self.workcell, self.epoch, self.head)
                self._size += frame.size
                self._trim()  # a head of more digits is longer
            return frame
        return build_frame(self.workcell, self.epoch, offset, self.head, frame.lines[offset - frame.offset :])

    def lines_for(self, size: int, most: int) -> int:
        """Return how many lines to read to fill ``size`` bytes, at most ``most``."""
        return max(1, min(size // self._line_bytes + 1, most))

    def note_size(self, lines: Sequence[bytes]) -> None:
        """Note how long the lines are that were just read."""
        self._line_bytes = max(1, sum(map(len, lines)) // len(lines))

    def stream_may_hold(self, offset: int) -> bool:
        """Whether the stream is worth asking for the event at ``offset``; if not, it is in the log alone."""
        start = self.head - _STREAM_ENTRIES if self._stream_start is None else self._stream_start
        return offset >= start

    def note_stream(self, offset: int, first: int) -> None:
        """Note that the first event at or after ``offset`` in the stream is ``first``."""
        known = self._stream_start
        self._stream_start = first if known is None or first > offset else min(known, first)

    def notify(self) -> None:
        """Wake every viewer of this workcell."""
        for wake in tuple(self._listeners):
            wake()

    def _trim(self) -> None:
        while self._size > self._ring_bytes and len(self._ring) > 1:
            self._size -= self._ring.popleft().size

    def _clear(self) -> None:
        self._ring.clear()
        self._size = 0


def _offset(frame: Frame) -> int:
    return frame.offset
