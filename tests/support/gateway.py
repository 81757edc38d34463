"""A gateway in the test's own process, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Generator
from typing import Any

import httpx

from support.viewers import running_relay
from support.waiting import DEADLINE, wait_until
from workcast.broker.embedded import EmbeddedBroker
from workcast.broker.history import History
from workcast.broker.root import Root
from workcast.broker.roots import Roots
from workcast.broker.subscriber import Subscriber
from workcast.consumer.archive import RootArchive
from workcast.consumer.gateway import create_app
from workcast.consumer.hub import Hub
from workcast.consumer.server import Server, server_config
from workcast.consumer.settings import GatewaySettings


class Gateway(Server):
    """The application on a free port, in its own thread."""

    def __init__(self, root: Root, redis_url: str, settings: GatewaySettings | None = None) -> None:
        self._root, self._redis_url = root, redis_url
        self._settings = settings or GatewaySettings()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.stream = f"ws://127.0.0.1:{self.port}/api/stream"
        self._thread = threading.Thread(target=self._serve_here)

    def _serve_here(self) -> None:
        async def serve() -> None:
            subscriber = Subscriber(self._redis_url)
            settings, roots = self._settings, Roots(self._root)
            history = History(roots)
            hub = Hub(
                subscriber,
                RootArchive(roots, history),
                1 << 20,
                settings.max_frame_bytes,
                sweep_seconds=0.1,
            )
            super(Gateway, self).__init__(server_config(create_app(hub, history, roots, settings), settings))
            await self.serve(sockets=[self._socket])
            await subscriber.aclose()

        asyncio.run(serve())

    @contextlib.contextmanager
    def running(self) -> Generator[Gateway]:
        self._thread.start()
        try:
            wait_until(lambda: getattr(self, "started", False))
            yield self
        finally:
            self.should_exit = True
            self._thread.join()


def get(gateway: Gateway, path: str, **options: Any) -> httpx.Response:
    return httpx.get(gateway.url + path, timeout=DEADLINE, **options)


@contextlib.contextmanager
def relayed_gateway(root: Root) -> Generator[Gateway]:
    """A gateway of a root, with a broker and a relay of its own."""
    root.prepare()
    with (
        EmbeddedBroker(root) as broker,
        running_relay(root, broker.url),
        Gateway(root, broker.url).running() as gateway,
    ):
        yield gateway
