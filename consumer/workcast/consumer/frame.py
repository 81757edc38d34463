"""Frames: ``events`` messages of the lines' own bytes, built once for all viewers at the same place."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from workcast.consumer.prepared import WORTH_COMPRESSING, PreparedFrame, deflate, frame_header

ENVELOPE_BYTES: Final = 320
"""The bytes of an ``events`` message besides its events, at most: names, and numbers below 2^53."""


@dataclass(frozen=True)
class Events:
    """Consecutive lines as a part of a message, shared by frames that differ in the head alone."""

    lines: tuple[bytes, ...]

    @cached_property
    def joined(self) -> bytes:
        """The message from the first event to its end."""
        return b",".join(self.lines) + b"]}"

    @cached_property
    def deflated(self) -> bytes:
        """The same, compressed."""
        return deflate(self.joined)


@dataclass(frozen=True)
class Frame(PreparedFrame):
    """The events from ``offset`` on, and the message that carries them and ``head``."""

    offset: int
    head: int
    start: bytes
    """The JSON of the message up to the first event."""
    events: Events

    @property
    def lines(self) -> tuple[bytes, ...]:
        return self.events.lines

    @property
    def end(self) -> int:
        """The offset after the last event."""
        return self.offset + len(self.lines)

    @property
    def payload(self) -> bytes:
        """The JSON of the message, in UTF-8."""
        return self.start + self.events.joined

    @property
    def size(self) -> int:
        """Bytes of the message."""
        return len(self.start) + len(self.events.joined)

    def with_head(self, workcell: str, epoch: int, head: int) -> Frame:
        """Return the same events with another head; they are neither joined nor compressed again."""
        return Frame(self.offset, head, _start(workcell, epoch, self.offset, head), self.events)

    @cached_property
    def plain(self) -> bytes:
        """The message as a WebSocket frame."""
        return frame_header(self.size) + self.start + self.events.joined

    @cached_property
    def deflated(self) -> bytes:
        """The same for viewers that negotiated compression."""
        if self.size < WORTH_COMPRESSING:
            return self.plain
        data = _stored(self.start) + self.events.deflated
        return frame_header(len(data), compressed=True) + data


def _stored(data: bytes) -> bytes:
    """Return an uncompressed block (RFC 1951, 3.2.4); names and numbers hardly get shorter."""
    return b"\0" + len(data).to_bytes(2, "little") + (len(data) ^ 0xFFFF).to_bytes(2, "little") + data


def build_frame(workcell: str, epoch: int, offset: int, head: int, lines: Sequence[bytes]) -> Frame:
    """Return one message for all ``lines``, which must be valid JSON objects (see ``wire``) and are not parsed."""
    return Frame(offset, head, _start(workcell, epoch, offset, head), Events(tuple(lines)))


def _start(workcell: str, epoch: int, offset: int, head: int) -> bytes:
    return b'{"op":"events","workcell":%s,"epoch":%d,"offset":%d,"head":%d,"events":[' % (
        json.dumps(workcell).encode(), epoch, offset, head,
    )  # fmt: skip


def split(lines: Sequence[bytes], max_bytes: int) -> Iterator[Sequence[bytes]]:
    """Split ``lines`` into runs whose messages have at most ``max_bytes``; a longer line is a run of its own."""
    max_bytes -= ENVELOPE_BYTES
    start = size = 0
    for at, line in enumerate(lines):
        if at > start and size + len(line) + 1 > max_bytes:
            yield lines[start:at]
            start, size = at, 0
        size += len(line) + 1
    if start < len(lines):
        yield lines[start:]
