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
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import tenacity
import typer
import uvicorn

from workcast.broker.embedded import EmbeddedBroker
from workcast.broker.errors import BrokerError, WorkcastError
from workcast.broker.history import History
from workcast.broker.relay import Relay
from workcast.broker.root import Root
from workcast.broker.stream import Publisher, Subscriber
from workcast.consumer.gateway import create_app
from workcast.consumer.hub import Hub
from workcast.consumer.settings import GatewaySettings

_CONNECT_SECONDS: Final = 10.0
_SHUTDOWN_SECONDS: Final = 3
_STATE: Final = "up.json"

Background = Callable[[Root], Awaitable[None]]
"""Something that runs beside the gateway until it ends."""


class UpError(WorkcastError):
    """``up`` cannot start: its root or its port is taken."""


@dataclass(frozen=True, slots=True)
class Running:
    """The ``up`` that serves a root now, as its state file tells."""

    http_url: str
    redis_url: str
    pid: int


def find_up(root: Root) -> Running | None:
    """The ``up`` of this root, or None: a state file whose lock nobody holds was left by one that was killed."""
    state = root.read_state(_STATE)
    if state is None:
        return None
    try:
        with (root.state / "up.lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return Running(str(state.get("http_url")), str(state.get("redis_url")), int(str(state.get("pid"))))
    except FileNotFoundError:
        pass
    return None


def serve_root(directory: Path, settings: GatewaySettings, background: Sequence[Background] = ()) -> None:
    """Run until SIGINT or SIGTERM; prints the address once it answers.

    Raises:
        WorkcastError: the root, the port or Redis is not to be had; one sentence says which and why.
    """
    root = Root(directory)
    root.prepare()
    with _only_one(root), _listen(settings.host, settings.port) as listener, contextlib.ExitStack() as stack:
        if settings.redis_url:
            url = settings.redis_url
            _wait_for_redis(url)
        else:
            url = stack.enter_context(EmbeddedBroker(root)).url
        relay = Relay(root, url)
        relay.start()
        stack.callback(relay.close)
        host, port = listener.getsockname()[:2]
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        state = {"redis_url": url, "http_url": address, "pid": os.getpid(), "prefix": ""}
        stack.callback((root.state / _STATE).unlink, missing_ok=True)

        def announce() -> None:
            root.write_state(_STATE, json.dumps(state), mode=0o600)
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
    server = Server(
        uvicorn.Config(
            create_app(hub, history, root, settings),
            log_level="warning",
            ws="websockets-sansio",
            ws_max_size=settings.max_message_bytes,
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
            server_header=False,
        )
    )
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
    try:
        await work(root)
    except WorkcastError as error:
        logging.getLogger("workcast").warning("%s", error)


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
        self.ids = root.ids
        self.extent = history.extent
        self.read = history.read


@contextlib.contextmanager
def _only_one(root: Root) -> Generator[None]:
    """Hold the root's lock: the kernel gives it back however this process ends."""
    descriptor = os.open(root.state / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            _lock(descriptor)
        except BlockingIOError:
            state = root.read_state(_STATE) or {}
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
    except OSError as error:
        raise UpError(f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --port") from error
    with listener:
        yield listener


def _wait_for_redis(url: str) -> None:
    """Try a server that is still coming up for 10 s; later on nobody gives up."""
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_delay(_CONNECT_SECONDS),
        wait=tenacity.wait_exponential(0.1, max=1),
        retry=tenacity.retry_if_exception_type(BrokerError),
        reraise=True,
    )
    publisher = Publisher(url)
    try:
        retrying(publisher.prepare)
    finally:
        publisher.close()
