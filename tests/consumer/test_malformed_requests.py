"""Requests that no well-behaved client sends: none is logged above debug, and the gateway goes on."""

from __future__ import annotations

import contextlib
import logging
import socket

import pytest

from support.gateway import Gateway, get
from support.raw_socket import HANDSHAKE, client_frame
from support.waiting import DEADLINE

GET = b"GET /api/session HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"rubbish\r\n\r\n",
        b"GET  / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"GET /\xff\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        GET + b"no colon\r\n\r\n",
        GET + b"x: " + b"y" * 100_000 + b"\r\n\r\n",
        GET + b"Content-Length: many\r\n\r\n",
        GET + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n",
        GET + b"\r\nrubbish\r\n\r\n",
        GET + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        HANDSHAKE.replace(b"GET", b"POST"),
        HANDSHAKE.replace(b"Version: 13", b"Version: 99"),
        HANDSHAKE.replace(b"Key: AAAA", b"Key: "),
        HANDSHAKE[:-2] + b"x: y\r\n" * 200 + b"\r\n",
        HANDSHAKE[:-2] + b"Content-Length: 5\r\n\r\nhello",
    ],
    ids=[
        "tls", "rubbish", "two_spaces", "version", "bytes", "header", "long_header", "length", "chunk", "second",
        "h2c", "post_upgrade", "websocket_version", "key", "many_headers", "upgrade_with_body",
    ],
)  # fmt: skip
def test_a_malformed_request_logs_no_warning_and_no_traceback(
    gateway: Gateway, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    with caplog.at_level(logging.DEBUG), socket.create_connection(("127.0.0.1", gateway.port), DEADLINE) as client:
        caplog.clear()
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while client.recv(1 << 16):
                pass
    assert get(gateway, "/api/session").status_code == 200
    mine = [record for record in caplog.records if record.name.startswith(("uvicorn", "workcast", "asyncio"))]
    assert [record.getMessage() for record in mine if record.levelno > logging.INFO or record.exc_info] == []


@pytest.mark.parametrize("opcode", [3, 11])
def test_a_malformed_frame_logs_no_traceback(gateway: Gateway, caplog: pytest.LogCaptureFixture, opcode: int) -> None:
    with caplog.at_level(logging.DEBUG), socket.create_connection(("127.0.0.1", gateway.port), DEADLINE) as client:
        client.sendall(HANDSHAKE)
        got = b""
        while b"hello" not in got:
            got += client.recv(1 << 16)
        client.sendall(client_frame(opcode, b"x"))
        with contextlib.suppress(ConnectionError):
            while client.recv(1 << 16):
                pass
    assert [record.getMessage() for record in caplog.records if record.levelno > logging.INFO or record.exc_info] == []
