"""``up``: everything on one machine. Embedded broker, relay, gateway and dashboard of one root, in one process."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import signal
import socket
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Protocol

import tenacity
import typer
import uvicorn

from workcast.broker.embedded import EmbeddedBroker
from workcast.broker.errors import BrokerError, WorkcastError
from workcast.broker.history import Extent, History
from workcast.broker.relay import Relay
from workcast.broker.root import Root
from workcast.broker.stream import Publisher, Subscriber
from workcast.cli.running import LOCK, STATE
from workcast.consumer.gateway import create_app
from workcast.consumer.hub import Hub
from workcast.consumer.settings import GatewaySettings
from workcast.consumer.stream_protocol import server_config


class Background(Protocol):
    """A function that runs beside the gateway until it ends."""

    __name__: str

    async def __call__(self, root: Root, /) -> None: ...


class UpError(WorkcastError):
    """``up`` cannot start: its root or its port is taken."""


def serve_root(directory: Path, settings: GatewaySettings, background: Sequence[Background] = ()) -> None:
    """Run until SIGINT or SIGTERM, which end it cleanly; prints the address once it answers.

    Raises:
        WorkcastError: the root, the port or Redis is not to be had; one sentence says which and why.
    """
    root = Root(directory)
    root.prepare()
    # Until the server takes both signals over: so that what was begun is ended.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with _only_one(root), _listen(settings.host, settings.port) as listener, contextlib.ExitStack() as stack:
        if settings.redis_url:
            url = settings.redis_url
            wait_for_redis(url, settings.redis_patience)
        else:
            url = stack.enter_context(EmbeddedBroker(root)).url
        relay = Relay(root, url)
        relay.start()
        stack.callback(relay.close)
        host, port = listener.getsockname()[:2]
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        state = {"redis_url": url, "http_url": address, "pid": os.getpid(), "prefix": ""}
        stack.callback((root.state / STATE).unlink, missing_ok=True)

        def announce() -> None:
            root.write_state(STATE, json.dumps(state), mode=0o600)
            typer.echo(address)

        asyncio.run(_serve(root, url, settings, listener, announce, background))


async def _serve(
    root: Root,
    url: str,
    settings: GatewaySettings,
    listener: socket.socket,
    announce: Callable[[], None],
    background: Sequence[Background],
) -> None:
    history, subscriber = History(root), Subscriber(url)
    hub = Hub(subscriber, RootArchive(root, history), settings.ring_bytes, settings.max_frame_bytes)
    server = Server(server_config(create_app(hub, history, root, settings), settings))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, server.stop)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    tasks = [asyncio.create_task(_beside(work, root)) for work in background]
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

    def stop(self) -> None:
        """End cleanly; at the second call, at once."""
        if self.should_exit:
            self.force_exit = True
        self.should_exit = True


class RootArchive:
    """A root's logs as the hub reads them."""

    def __init__(self, root: Root, history: History) -> None:
        self._root = root
        self.ids = root.ids
        self.extent = history.extent
        self.read = history.read

    def synced_extent(self, workcell: str) -> Extent | None:
        """What the log holds; all of it is on disk."""
        extent = self.extent(workcell)
        if extent is not None and extent.end > extent.base:
            with self._root.log(workcell).open("rb") as log:
                os.fsync(log.fileno())
        return extent


@contextlib.contextmanager
def _only_one(root: Root) -> Generator[None]:
    """Hold the root's lock: the kernel gives it back however this process ends."""
    descriptor = os.open(root.state / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            _lock(descriptor)
        except BlockingIOError:
            state = root.read_state(STATE) or {}
            where = f" at {state['http_url']} (pid {state['pid']})" if "http_url" in state and "pid" in state else ""
            raise UpError(f"a workcast up already serves {root.directory}{where}; use that one or end it") from None
        yield
    finally:
        os.close(descriptor)


@tenacity.retry(
    stop=tenacity.stop_after_delay(0.5),
    wait=tenacity.wait_fixed(0.02),
    retry=tenacity.retry_if_exception_type(BlockingIOError),
    reraise=True,
)
def _lock(descriptor: int) -> None:
    """Take the lock; not at the first try, because who only looks whether it is held holds it for a moment too."""
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextlib.contextmanager
def _listen(host: str, port: int) -> Generator[socket.socket]:
    """A listening socket, taken before anything is started."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family, backlog=2048)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UpError(f"cannot listen on {host}:{port}: {reason}; choose another --host or --port") from error
    with listener:
        yield listener


def wait_for_redis(url: str, patience: float) -> None:
    """Try a server that is still coming up for a while; later on nobody gives up."""
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_delay(patience),
        wait=tenacity.wait_exponential(0.1, max=1),
        retry=tenacity.retry_if_exception(_may_pass),
        reraise=True,
    )
    publisher = Publisher(url)
    try:
        retrying(publisher.prepare)
    finally:
        publisher.close()


def _may_pass(error: BaseException) -> bool:
    """Whether trying again can help: what Redis or the network said may change, another layout will not."""
    return isinstance(error, BrokerError) and error.__cause__ is not None
