"""WebSocket frames of a client, built by hand, for what no library allows."""

from __future__ import annotations

from typing import Final

HANDSHAKE: Final = (
    b"GET /api/stream HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def client_frame(opcode: int, payload: bytes) -> bytes:
    """Return one complete frame, masked with zeros; ``payload`` has at most 125 bytes."""
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + bytes(4) + payload
