"""The connections of a gateway as the server sees them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Generator
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from support.waiting import wait_until_async
from workcast.consumer.frame import build_frame
from workcast.consumer.http_protocol import HttpProtocol
from workcast.consumer.server import Server, listen, server_config
from workcast.consumer.settings import GatewaySettings
from workcast.consumer.stream_protocol import FRAME_KEY, StreamProtocol


class Deflated:
    """A prepared frame that counts how often its compressed form is computed."""

    def __init__(self) -> None:
        self.computed = 0
        self._frame = build_frame("wc", 1, 0, 1, [b'{"type":"x"}' * 100])
        self.plain = self._frame.plain

    @property
    def deflated(self) -> bytes:
        self.computed += 1
        return self._frame.deflated


prepared: Any = None


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer every request in two packets; send every viewer ``prepared``, then wait until it leaves."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})
    else:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", FRAME_KEY: prepared})
        while (await receive())["type"] != "websocket.disconnect":
            pass


@contextlib.asynccontextmanager
async def running() -> AsyncGenerator[tuple[Server, int]]:
    """A server with this application, and its port."""
    config = server_config(app, GatewaySettings())
    config.lifespan = "off"
    with listen("127.0.0.1", 0) as listener:
        server = Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        await wait_until_async(lambda: server.started)
        try:
            yield server, listener.getsockname()[1]
        finally:
            server.stop()
            await task


@pytest.fixture
def frame() -> Generator[Deflated]:
    global prepared  # noqa: PLW0603 - the application has no other way to it
    prepared = Deflated()
    yield prepared
    prepared = None


def only_connection(server: Server) -> Any:
    connections: Any = server.server_state.connections
    (connection,) = connections
    return connection


def sends_at_once(connection: Any) -> bool:
    peer = connection.transport.get_extra_info("socket")
    return bool(peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))


async def test_answers_do_not_wait_for_a_delayed_ack() -> None:
    async with running() as (server, port), httpx.AsyncClient() as client:
        assert (await client.get(f"http://127.0.0.1:{port}/")).text == "ok"
        connection = only_connection(server)
        assert isinstance(connection, HttpProtocol)
        assert sends_at_once(connection)


async def test_messages_to_viewers_do_not_wait_for_a_delayed_ack(frame: Deflated) -> None:
    async with running() as (server, port), connect(f"ws://127.0.0.1:{port}/", proxy=None) as viewer:
        await viewer.recv()
        connection = only_connection(server)
        assert isinstance(connection, StreamProtocol)
        assert sends_at_once(connection)


@pytest.mark.parametrize(("compression", "computed"), [(None, 0), ("deflate", 1)])
async def test_a_frame_is_compressed_only_for_viewers_that_negotiated_it(
    frame: Deflated, compression: str | None, computed: int
) -> None:
    async with running() as (_, port), connect(f"ws://127.0.0.1:{port}/", compression=compression, proxy=None) as one:
        assert '"op":"events"' in str(await one.recv())
    assert frame.computed == computed
