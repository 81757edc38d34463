"""A gateway on a listening socket, until it is told to end: what ``up`` and ``serve`` have in common."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from typing import Final, Protocol

import tenacity
import uvicorn

from workcast.broker.connection import mask_url
from workcast.broker.errors import BrokerError
from workcast.broker.history import History
from workcast.broker.root import Root
from workcast.broker.roots import Roots
from workcast.broker.stream import Publisher, Subscriber
from workcast.consumer.gateway import create_app
from workcast.consumer.hub import Hub
from workcast.consumer.settings import GatewaySettings
from workcast.consumer.stream_protocol import server_config
from workcast.events.errors import WorkcastError

_OPEN_FILES: Final = 65_536
_QUIET_SECONDS: Final = 1.0
_VIEWERS_SECONDS: Final = 2.0
"""How long a viewer may take to read what it was sent last; less than uvicorn would wait."""


class Background(Protocol):
    """A function that runs beside the gateway until it ends."""

    __name__: str

    async def __call__(self, root: Root, /) -> None:
        """``root`` is the first of those that are served."""


class ServeError(WorkcastError):
    """A gateway cannot start: its root or its port is taken."""


async def serve(
    roots: Roots,
    url: str,
    settings: GatewaySettings,
    listener: socket.socket,
    announce: Callable[[], None],
    background: Sequence[Background],
) -> None:
    allow_many_files()
    history, subscriber = History(roots), Subscriber(url)
    hub = Hub(subscriber, RootArchive(roots, history), settings.ring_bytes, settings.max_frame_bytes)
    server = Server(server_config(create_app(hub, history, roots, settings), settings))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, server.stop)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    tasks = [asyncio.create_task(_beside(work, roots.each[0])) for work in background]
    try:
        await asyncio.wait((serving, asyncio.create_task(server.ready.wait())), return_when=asyncio.FIRST_COMPLETED)
        if server.started:
            announce()
        await serving
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await subscriber.aclose()


async def _beside(work: Background, root: Root) -> None:
    """Run ``work``; if it fails, say so and go on serving."""
    try:
        await work(root)
    except Exception:
        logging.getLogger("workcast").exception("%s of %s ended", work.__name__, root.directory)


class Server(uvicorn.Server):
    """uvicorn, whose end is asked for by us: its own handling would raise the signal again, past our clean-up."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(_VIEWERS_SECONDS, self._abort_connections)
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()

    def _abort_connections(self) -> None:
        """Who has not taken the last words by now does not read: what is left for it would never drain."""
        for connection in tuple(self.server_state.connections):
            connection.transport.abort()

    def stop(self) -> None:
        """End cleanly; at the second call, at once."""
        if self.should_exit:
            self.force_exit = True
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # it would tell of all that it cut short
        self.should_exit = True


class RootArchive:
    """The logs of some roots as the hub reads them."""

    def __init__(self, roots: Roots, history: History) -> None:
        self._roots = roots
        self.ids = roots.ids
        self.extent = history.extent
        self.synced_extent = history.synced_extent
        self.read = history.read

    def origin(self, workcell: str) -> str | None:
        """That of the root which the workcell is in."""
        root = self._roots.holding(workcell)
        return root.origin() if root is not None else None


@contextlib.contextmanager
def listen(host: str, port: int) -> Generator[socket.socket]:
    """A listening socket, taken before anything is started."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family, backlog=2048)
    except (OSError, UnicodeError) as error:
        number = getattr(error, "errno", None)  # of create_server, whose own words end in a Python tuple
        reason = os.strerror(number) if number and not isinstance(error, socket.gaierror) else error.args[-1]
        raise ServeError(f"cannot listen on {host}:{port}: {reason}; choose another --host or --port") from error
    with listener:
        yield listener


def allow_many_files() -> None:
    """Raise the limit of open files as far as we may: each viewer is one, and the usual 1,024 are soon watched away."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def wait_for_redis(url: str, patience: float) -> None:
    """Try a server that is still coming up for ``patience`` seconds; later on nobody gives up.

    Who waits for longer than a moment is told so on stderr.
    """
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_delay(patience),
        wait=tenacity.wait_exponential(0.1, max=1),
        retry=tenacity.retry_if_exception(_may_pass),
        reraise=True,
    )
    publisher = Publisher(url)
    teller = threading.Timer(_QUIET_SECONDS, _tell_of_waiting, (url, patience))
    teller.daemon = True
    if patience > _QUIET_SECONDS:
        teller.start()
    try:
        retrying(publisher.prepare)
    finally:
        teller.cancel()
        publisher.close()


def _tell_of_waiting(url: str, patience: float) -> None:
    with contextlib.suppress(OSError):
        sys.stderr.write(f"workcast: waiting for Redis at {mask_url(url)}, for up to {patience:g} s\n")
        sys.stderr.flush()


def _may_pass(error: BaseException) -> bool:
    """Whether trying again can help: what Redis or the network said may change, another layout will not."""
    return isinstance(error, BrokerError) and error.__cause__ is not None


def address_of(listener: socket.socket) -> str:
    """The URL that a listening socket answers at."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
