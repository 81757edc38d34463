"""Frames: ``events`` messages made of the lines' own bytes, built once and sent to every viewer at that position."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

ENVELOPE_BYTES: Final = 320
"""An ``events`` message has at most so many bytes beside its events: names, and numbers below 2^53."""
_FIN_TEXT: Final = 0x81
_COMPRESSED: Final = 0x40
_WORTH_IT: Final = 256
"""Bytes of a message below which compressing it costs more than it saves."""


@dataclass(frozen=True)
class Frame:
    """The events from ``offset`` up to ``end``, and the message that carries them."""

    offset: int
    end: int
    lines: tuple[bytes, ...]
    payload: bytes
    """The JSON of the message, in UTF-8."""

    @property
    def text(self) -> str:
        """The message as text."""
        return self.payload.decode()

    @cached_property
    def plain(self) -> bytes:
        """The message as a WebSocket frame (RFC 6455, 5.2): made for the first viewer, written to all."""
        return _header(_FIN_TEXT, len(self.payload)) + self.payload

    @cached_property
    def deflated(self) -> bytes:
        """The same for viewers that negotiated compression: without context, so it is valid for each of them."""
        if len(self.payload) < _WORTH_IT:
            return self.plain
        compressor = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
        data = compressor.compress(self.payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
        data = data[:-4]  # the empty block at the end is left out (RFC 7692, 7.2.1)
        return _header(_FIN_TEXT | _COMPRESSED, len(data)) + data


def _header(first: int, length: int) -> bytes:
    if length < 126:
        return bytes((first, length))
    if length < 1 << 16:
        return bytes((first, 126)) + length.to_bytes(2, "big")
    return bytes((first, 127)) + length.to_bytes(8, "big")


def build_frame(workcell: str, epoch: int, offset: int, head: int, lines: Sequence[bytes]) -> Frame:
    """One message for all of ``lines``, which are valid JSON objects already (see ``wire``) and are not looked into."""
    start = b'{"op":"events","workcell":%s,"epoch":%d,"offset":%d,"head":%d,"events":[' % (
        json.dumps(workcell).encode(), epoch, offset, head,
    )  # fmt: skip
    return Frame(offset, offset + len(lines), tuple(lines), start + b",".join(lines) + b"]}")


def split(lines: Sequence[bytes], max_bytes: int) -> Iterator[Sequence[bytes]]:
    """Cut ``lines`` into runs whose messages have at most ``max_bytes``, or of one line that is longer."""
    max_bytes -= ENVELOPE_BYTES
    start = size = 0
    for at, line in enumerate(lines):
        if at > start and size + len(line) + 1 > max_bytes:
            yield lines[start:at]
            start, size = at, 0
        size += len(line) + 1
    if start < len(lines):
        yield lines[start:]
