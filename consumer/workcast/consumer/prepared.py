"""Prepared messages: WebSocket frames that are built, and compressed, once for all viewers."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from functools import cached_property
from typing import Final

WORTH_COMPRESSING: Final = 256
"""Bytes of a message; compressing a shorter one costs more than it saves."""
_FIN_TEXT: Final = 0x81
_COMPRESSED: Final = 0x40


class PreparedFrame(ABC):
    """A text message as WebSocket frames, to be written as they are."""

    @property
    @abstractmethod
    def payload(self) -> bytes:
        """Return the message in UTF-8."""

    @property
    def text(self) -> str:
        return self.payload.decode()

    @cached_property
    def plain(self) -> bytes:
        """The message as a WebSocket frame (RFC 6455, 5.2)."""
        return frame_header(len(self.payload)) + self.payload

    @cached_property
    def deflated(self) -> bytes:
        """The frame for viewers that negotiated compression."""
        if len(self.payload) < WORTH_COMPRESSING:
            return self.plain
        data = deflate(self.payload)
        return frame_header(len(data), compressed=True) + data


class PreparedText(PreparedFrame):
    """A message whose bytes are given."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload

    @property
    def payload(self) -> bytes:
        return self._payload


def frame_header(length: int, *, compressed: bool = False) -> bytes:
    """Return the header of an unmasked text frame with a payload of so many bytes."""
    first = _FIN_TEXT | _COMPRESSED if compressed else _FIN_TEXT
    if length < 126:
        return bytes((first, length))
    if length < 1 << 16:
        return bytes((first, 126)) + length.to_bytes(2, "big")
    return bytes((first, 127)) + length.to_bytes(8, "big")


def deflate(data: bytes) -> bytes:
    """Compress without context, so that it is valid whatever a viewer has received before (RFC 7692, 7.2.3)."""
    compressor = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]  # without the empty block (7.2.1)
