"""Serving: a gateway on a listening socket until SIGINT or SIGTERM, for ``up`` and ``serve``."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from workcast.broker.history import History
from workcast.broker.root import Root
from workcast.broker.roots import Roots
from workcast.broker.subscriber import Subscriber
from workcast.consumer.archive import RootArchive
from workcast.consumer.gateway import create_app
from workcast.consumer.hub import Hub
from workcast.consumer.memory import keep_collections_short
from workcast.consumer.server import Server, allow_many_files, server_config
from workcast.consumer.settings import GatewaySettings

_SWITCH_SECONDS: Final = 0.0005
"""How long a thread that reads a log may keep the event loop waiting, each time the loop has asked the kernel for
something; by default ten times as long."""


class Background(Protocol):
    """A function that runs beside the gateway until it ends."""

    __name__: str

    async def __call__(self, root: Root, /) -> None:
        """``root`` is the first of those that are served."""


async def serve(
    roots: Roots,
    url: str,
    settings: GatewaySettings,
    listener: socket.socket,
    announce: Callable[[], None],
    background: Sequence[Background],
) -> None:
    """Serve until SIGINT or SIGTERM; call ``announce`` once the gateway answers."""
    allow_many_files()
    sys.setswitchinterval(_SWITCH_SECONDS)
    history, subscriber = History(roots), Subscriber(url)
    hub = Hub(subscriber, RootArchive(roots, history), settings.ring_bytes, settings.max_frame_bytes)
    server = Server(server_config(create_app(hub, history, roots, settings), settings))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, server.stop)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    tasks = [asyncio.create_task(_run_beside(work, roots.each[0])) for work in background]
    try:
        await asyncio.wait((serving, asyncio.create_task(server.ready.wait())), return_when=asyncio.FIRST_COMPLETED)
        if server.started:
            keep_collections_short()
            announce()
        await serving
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await subscriber.aclose()


async def _run_beside(work: Background, root: Root) -> None:
    """Run ``work``; log its failure and go on serving."""
    try:
        await work(root)
    except Exception:
        logging.getLogger("workcast").exception("%s of %s ended", work.__name__, root.directory)
