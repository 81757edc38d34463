"""A gateway's connections: how long a client may take to send a request, and how many there may be."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Generator
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from support.gateway import Gateway, get
from support.logs import event_line, write_log
from support.raw_socket import HANDSHAKE, client_frame, is_closed, opened
from support.waiting import DEADLINE, wait_until
from workcast.broker.root import Root
from workcast.consumer.connections import Bounds, bounds
from workcast.consumer.settings import GatewaySettings

POST = b"POST /api/session HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
GET = b"GET /api/session HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def hasty(root: Root, redis_url: str) -> Generator[Gateway]:
    """A gateway that waits half a second for a request."""
    with Gateway(root, redis_url, GatewaySettings(request_timeout=0.5)).running() as gateway:
        yield gateway


@pytest.mark.parametrize(
    "sent",
    [b"", GET[:20], GET[:-2], HANDSHAKE[:-2], POST, POST + b"x" * 99, GET + b"G", b"\r\n"],
    ids=["silent", "half_line", "half_head", "half_handshake", "no_body", "half_body", "half_second", "empty_line"],
)
def test_a_connection_without_a_whole_request_is_closed(hasty: Gateway, sent: bytes) -> None:
    with opened(hasty.port, sent) as client:
        wait_until(lambda: is_closed(client))


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\nX: ", POST], ids=["head", "body"])
def test_a_request_that_comes_byte_by_byte_is_cut_off(hasty: Gateway, sent: bytes) -> None:
    with opened(hasty.port, sent) as client:

        def send_another() -> bool:
            with contextlib.suppress(ConnectionError):
                client.sendall(b"x")
            return is_closed(client)

        wait_until(send_another)


def test_the_time_for_a_request_begins_again_after_each_answer(hasty: Gateway) -> None:
    with opened(hasty.port) as client:
        stream = client.makefile("rb")
        for _ in range(300):
            client.sendall(GET)
            assert stream.readline().startswith(b"HTTP/1.1 200")
            length = 0
            while (line := stream.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length"):
                    length = int(line.split(b":")[1])
            stream.read(length)


def test_a_viewer_may_be_silent(hasty: Gateway) -> None:
    with connect(hasty.stream, proxy=None) as viewer, opened(hasty.port) as silent:
        assert json.loads(viewer.recv())["op"] == "hello"
        wait_until(lambda: is_closed(silent))
        viewer.send('{"op":"ping"}')
        assert json.loads(viewer.recv(DEADLINE))["op"] == "pong"


@pytest.fixture
def small(root: Root, redis_url: str) -> Generator[Gateway]:
    """A gateway with few places, which waits long for a request."""
    settings = GatewaySettings(max_connections=8, max_connections_per_address=6, request_timeout=600)
    with Gateway(root, redis_url, settings).running() as gateway:
        yield gateway


def test_silent_connections_give_way_to_new_ones(small: Gateway) -> None:
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(opened(small.port)) for _ in range(40)]
        wait_until(lambda: sum(not is_closed(client) for client in silent) == 6)
        assert all(map(is_closed, silent[:34]))
        assert get(small, "/api/session").status_code == 200
        viewer = stack.enter_context(connect(small.stream, proxy=None))
        assert json.loads(viewer.recv(DEADLINE))["op"] == "hello"


def test_viewers_with_a_subscription_keep_their_places_and_one_too_many_gets_503(small: Gateway) -> None:
    with contextlib.ExitStack() as stack:
        viewers = [stack.enter_context(connect(small.stream, proxy=None)) for _ in range(6)]
        for viewer in viewers:
            viewer.send('{"op":"subscribe","fleet":true}')
            assert [json.loads(viewer.recv(DEADLINE))["op"] for _ in range(2)] == ["hello", "fleet"]
        with opened(small.port) as seventh:
            assert seventh.recv(4096).startswith(b"HTTP/1.1 503 ")
            wait_until(lambda: is_closed(seventh))
        for viewer in viewers:
            viewer.send('{"op":"ping"}')
            assert json.loads(viewer.recv(DEADLINE))["op"] == "pong"

    def answered() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return get(small, "/api/session").status_code == 200
        return False

    wait_until(answered, what="places of viewers that have left")


@pytest.mark.parametrize(
    ("open_files", "expected"),
    [(65_536, Bounds(16_384, 4096)), (1024, Bounds(512, 384)), (256, Bounds(128, 96)), (4, Bounds(4, 3))],
)
def test_connections_leave_half_of_the_descriptors(open_files: int, expected: Bounds) -> None:
    assert bounds(GatewaySettings(), open_files) == expected


def test_viewers_without_a_subscription_give_way_and_others_stay(small: Gateway) -> None:
    with contextlib.ExitStack() as stack:

        def viewer(said: str | None) -> ClientConnection:
            made = stack.enter_context(connect(small.stream, proxy=None))
            assert json.loads(made.recv(DEADLINE))["op"] == "hello"
            if said is not None:
                made.send(said)
                assert json.loads(made.recv(DEADLINE))["op"] in ("fleet", "pong")
            return made

        idle, watching, pinging = viewer(None), viewer('{"op":"subscribe","fleet":true}'), viewer('{"op":"ping"}')
        more = [viewer('{"op":"subscribe","fleet":true}') for _ in range(5)]
        for gone in (idle, pinging):
            with pytest.raises(ConnectionClosed):
                gone.recv(DEADLINE)
            assert gone.close_code == 1013
        watching.send('{"op":"unsubscribe","fleet":true}')
        watching.send('{"op":"ping"}')
        assert json.loads(watching.recv(DEADLINE))["op"] == "pong"
        viewer('{"op":"subscribe","fleet":true}')
        with pytest.raises(ConnectionClosed):
            watching.recv(DEADLINE)
        for one in more:
            one.send('{"op":"ping"}')
            while json.loads(one.recv(DEADLINE))["op"] != "pong":
                pass


# ── clients that do not read ─────────────────────────────────────────────────────────────────────────────────────────
LONG = [event_line(number, "x" * 1000) for number in range(4000)]
PAGES = b"GET /api/workcells/long/events?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n" * 8
"""8 MB of answers."""


@pytest.fixture
def long(root: Root, redis_url: str, relay: object) -> Generator[Gateway]:
    """A gateway with a long log, which waits half a second for a client to take anything."""
    write_log(root, "long", LONG)
    settings = GatewaySettings(request_timeout=0.5, answer_timeout=0.5)
    with Gateway(root, redis_url, settings).running() as gateway:
        wait_until(lambda: get(gateway, "/api/workcells/long/events?limit=1").json().get("head") == len(LONG))
        yield gateway


def slow_client(gateway: Gateway, *sent: bytes) -> socket.socket:
    """A client with a small receive buffer, which has sent something, each piece after an answer to the last."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(DEADLINE)
    client.connect(("127.0.0.1", gateway.port))
    for number, piece in enumerate(sent):
        if number:
            client.recv(1)
        client.sendall(piece)
    return client


def read_slowly(client: socket.socket, size: int, rate: float) -> None:
    """Read so many bytes, at ``rate`` bytes a second."""
    began, got = time.monotonic(), 0
    while got < size:
        due = began + got / rate
        wait_until(lambda due=due: time.monotonic() >= due)  # type: ignore[misc]
        piece = client.recv(65_536)
        assert piece, f"closed after {got} bytes"
        got += len(piece)


SUBSCRIBE = client_frame(1, b'{"op":"subscribe","workcell":"long","from":"start"}')
CLOSE = client_frame(8, b"")


@pytest.mark.parametrize(
    "sent",
    [(PAGES,), (HANDSHAKE, SUBSCRIBE), (HANDSHAKE, SUBSCRIBE + CLOSE)],
    ids=["answers", "events", "events_and_close"],
)
def test_a_client_that_takes_nothing_is_dropped(long: Gateway, sent: tuple[bytes, ...]) -> None:
    with slow_client(long, *sent):
        wait_until(lambda: len(_connections(long)) >= 1)
        wait_until(lambda: not _connections(long))


def test_a_slow_reader_gets_all_of_its_answers(long: Gateway) -> None:
    with slow_client(long, PAGES) as client:
        read_slowly(client, 8_000_000, 2_000_000)


def test_a_slow_viewer_gets_all_events(long: Gateway) -> None:
    with slow_client(long, HANDSHAKE, SUBSCRIBE) as client:
        read_slowly(client, 4_000_000, 1_000_000)


def _connections(gateway: Gateway) -> list[Any]:
    return list(gateway.server_state.connections)


def test_a_body_is_not_waited_for(small: Gateway) -> None:
    with opened(small.port, POST) as client:
        assert client.recv(4096).startswith(b"HTTP/1.1 405 ")
        wait_until(lambda: is_closed(client))
