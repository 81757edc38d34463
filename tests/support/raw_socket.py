"""WebSocket frames of a client, built by hand, for what no library allows."""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Generator
from typing import Final

from support.waiting import DEADLINE

HANDSHAKE: Final = (
    b"GET /api/stream HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def client_frame(opcode: int, payload: bytes) -> bytes:
    """Return one complete frame, masked with zeros; ``payload`` has at most 125 bytes."""
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + bytes(4) + payload


@contextlib.contextmanager
def opened(port: int, sent: bytes = b"") -> Generator[socket.socket]:
    """A client's socket after it has sent something."""
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as client:
        client.sendall(sent)
        yield client


def is_closed(client: socket.socket) -> bool:
    """Whether the server has closed this connection; what it has sent before is read."""
    try:
        while select.select([client], [], [], 0)[0]:
            if not client.recv(1 << 16):
                return True
    except ConnectionError:
        return True
    return False
