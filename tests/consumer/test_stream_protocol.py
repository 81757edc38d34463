"""Frames as third-party clients receive them, compressed and plain."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import struct
import subprocess
import zlib
from collections.abc import Generator
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import InvalidStatus
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from support.gateway import Gateway, get
from support.logs import event_line, write_log
from support.node import TOOLS, node
from support.raw_socket import HANDSHAKE, client_frame
from support.waiting import DEADLINE, wait_until
from workcast.broker.root import Root
from workcast.consumer.frame import build_frame
from workcast.consumer.settings import GatewaySettings
from workcast.events.wire import wire

LINES = [event_line(number, "words and words " * (number % 40)) for number in range(2000)]


@pytest.fixture
def gateway(root: Root, redis_url: str, relay: object) -> Generator[Gateway]:
    write_log(root, "wc", LINES)
    with Gateway(root, redis_url).running() as gateway:
        wait_until(lambda: get(gateway, "/api/workcells/wc/events").json().get("head") == len(LINES))
        yield gateway


def history(socket: ClientConnection) -> list[Any]:
    """All events of the log."""
    socket.send(json.dumps({"op": "subscribe", "workcell": "wc", "from": "start"}))
    events: list[Any] = []
    for text in socket:
        message = json.loads(text)
        if message["op"] == "live":
            break
        events += message.get("events", [])
    return events


@pytest.mark.parametrize("compression", ["deflate", None])
def test_the_websockets_client_gets_every_event(gateway: Gateway, compression: str | None) -> None:
    with connect(gateway.stream, compression=compression, proxy=None) as socket:
        assert bool(socket.protocol.extensions) == (compression is not None)
        assert history(socket) == [json.loads(line) for line in LINES]


@pytest.mark.parametrize("compression", ["deflate", "plain"])
def test_the_ws_client_from_npm_gets_every_event(gateway: Gateway, compression: str) -> None:
    command = [*node(), str(TOOLS / "ws-viewer.mjs"), gateway.stream, "wc", compression]
    done = subprocess.run(command, cwd=TOOLS, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event for message in messages for event in message.get("events", [])] == [
        json.loads(line) for line in LINES
    ]
    assert messages[-1]["protocol"] == "workcast.v1"
    assert ("permessage-deflate" in messages[-1]["extensions"]) == (compression == "deflate")


def test_a_client_with_a_smaller_window_gets_plain_frames(gateway: Gateway) -> None:
    offer = ClientPerMessageDeflateFactory(server_max_window_bits=10)
    with connect(gateway.stream, extensions=[offer], compression=None, proxy=None) as socket:
        assert socket.protocol.extensions
        assert history(socket) == [json.loads(line) for line in LINES]


def test_compressed_and_plain_viewers_work_side_by_side(gateway: Gateway) -> None:
    with connect(gateway.stream, proxy=None) as one, connect(gateway.stream, compression=None, proxy=None) as other:
        assert history(one) == history(other) == [json.loads(line) for line in LINES]


@given(st.lists(st.binary(max_size=2000).map(lambda line: wire(line.replace(b"\n", b""))), min_size=1, max_size=40))
def test_a_compressed_frame_holds_the_same_message(lines: list[bytes]) -> None:
    built = build_frame("wc", 1, 0, len(lines), lines)
    for frame in (built, built.with_head("wc", 1, 10**6)):
        assert _payload(frame.plain) == (0x81, frame.payload)
        first, data = _payload(frame.deflated)
        if first == 0xC1:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data + b"\x00\x00\xff\xff")
        assert data == frame.payload
    assert frame == build_frame("wc", 1, 0, 10**6, lines)


@pytest.mark.parametrize("size", [100, 125, 126, 65535, 65536, 70000])
def test_the_length_of_a_frame_has_the_shortest_form(size: int) -> None:
    empty = len(build_frame("wc", 1, 0, 1, [b""]).payload)
    frame = build_frame("wc", 1, 0, 1, [b"x" * (size - empty)])
    assert len(frame.payload) == size
    assert len(frame.plain) - size == (2 if size < 126 else 4 if size < 65536 else 10)
    assert _payload(frame.plain)[1] == frame.payload


@contextlib.contextmanager
def raw_viewer(gateway: Gateway) -> Generator[socket.socket]:
    """A client with a small receive buffer that has read its handshake and ``hello``."""
    with socket.socket() as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.settimeout(DEADLINE)
        plain.connect(("127.0.0.1", gateway.port))
        plain.sendall(HANDSHAKE)
        got = b""
        while b"hello" not in got:
            got += plain.recv(4096)
        yield plain


def test_a_viewer_that_pings_and_never_reads_takes_bounded_memory(root: Root, redis_url: str) -> None:
    settings = GatewaySettings(max_pings_per_second=1e9, max_bytes_per_second=1e12)
    with Gateway(root, redis_url, settings).running() as gateway, raw_viewer(gateway) as viewer:
        pings = [client_frame(9, b"%0120d" % number) for number in range(160_000)]
        before = psutil.Process().memory_info().rss
        for start in range(0, len(pings), 1000):  # 20 MB are read, but the answers are not
            viewer.sendall(b"".join(pings[start : start + 1000]))  # one piece might stay with the allocator
        assert psutil.Process().memory_info().rss - before < 10 << 20
        got = bytearray()
        while b"%0120d" % 159_999 not in got:
            got += viewer.recv(1 << 20)
    assert len(got) < 10 << 20
    numbers = [int(got[at + 2 : at + 122]) for at in range(0, len(got), 122) if got[at] == 0x8A]
    assert numbers == sorted(set(numbers))


def test_a_text_that_is_not_utf8_closes_with_1007_without_a_traceback(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    with raw_viewer(gateway) as viewer:
        viewer.sendall(client_frame(1, b"\xff\xfe") + client_frame(1, b"\xff"))
        got = b""
        while piece := viewer.recv(4096):
            got += piece
    assert got.endswith(b"\x88\x02" + (1007).to_bytes(2, "big"))
    assert caplog.text == ""


def test_refused_sockets_log_no_warning(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    for place, origin in ((gateway.stream, "http://evil.example"), (gateway.stream + "/more", None)):
        with (
            pytest.raises(InvalidStatus),
            connect(place, origin=None if origin is None else Origin(origin), proxy=None),
        ):
            pass
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def _payload(frame: bytes) -> tuple[int, bytes]:
    """Return the first byte and the payload of an unmasked WebSocket frame (RFC 6455)."""
    length, start = frame[1], 2
    if length == 126:
        length, start = int.from_bytes(frame[2:4], "big"), 4
    elif length == 127:
        length, start = int.from_bytes(frame[2:10], "big"), 10
    assert len(frame) == start + length
    return frame[0], frame[start:]


@pytest.mark.parametrize(
    "frame",
    [client_frame(1, b'{"op":"ping"}'), client_frame(1, b"{}"), client_frame(9, b"")],
    ids=["questions", "errors", "pings"],
)
def test_a_client_that_asks_and_resets_its_connection_leaves_no_line_in_the_log(
    gateway: Gateway, frame: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    for _ in range(40):
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=DEADLINE) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sendall(HANDSHAKE)
            while b"hello" not in client.recv(1 << 16):
                pass
            client.sendall(frame * 150)
    with connect(gateway.stream, proxy=None) as other:
        assert json.loads(other.recv(DEADLINE))["op"] == "hello"
    assert caplog.text == ""
