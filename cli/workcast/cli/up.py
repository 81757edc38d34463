"""``up``: everything on one machine. Embedded broker, relays, gateway and dashboard of its roots, in one process."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import signal
from collections.abc import Generator, Sequence
from typing import Final

import tenacity
import typer

from workcast.broker.embedded import EmbeddedBroker
from workcast.broker.relay import Relay, close_all
from workcast.broker.root import Root
from workcast.broker.roots import Roots
from workcast.broker.running import LOCK, STATE
from workcast.cli.serving import wait_for_redis
from workcast.consumer.errors import ServeError
from workcast.consumer.server import address_of, listen
from workcast.consumer.serving import Background, serve
from workcast.consumer.settings import GatewaySettings

_KEEP_SECONDS: Final = 0.5


def serve_roots(roots: Roots, settings: GatewaySettings, background: Sequence[Background] = ()) -> None:
    """Run until SIGINT or SIGTERM, which end it cleanly; prints the address once it answers.

    Raises:
        WorkcastError: a root, the port or Redis is not to be had; one sentence says which and why.
    """
    for root in roots.each:
        root.prepare()
    # Until the server takes both signals over: so that what was begun is ended.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.ExitStack() as stack:
        for root in roots.each:
            stack.enter_context(_only_one(root))
        listener = stack.enter_context(listen(settings.host, settings.port))
        if settings.redis_url:
            url = settings.redis_url
            wait_for_redis(url, settings.redis_patience)
        else:
            broker = stack.enter_context(EmbeddedBroker(roots.each[0]))
            url, background = broker.url, [*background, _Keeper(broker)]
        address = address_of(listener)
        relays = [Relay(root, url) for root in roots.each]
        stack.callback(close_all, relays)
        for relay, root in zip(relays, roots.each, strict=True):
            relay.start()
            stack.callback((root.state / STATE).unlink, missing_ok=True)

        def announce() -> None:
            for root in roots.each:
                state = {"redis_url": url, "http_url": address, "pid": os.getpid(), "prefix": root.id_of("")}
                root.write_state(STATE, json.dumps(state), mode=0o600)
            typer.echo(address)

        stack.callback(_finish_undisturbed)  # the last one in is the first one out
        asyncio.run(serve(roots, url, settings, listener, announce, background))


class _Keeper:
    """Starts the embedded broker again if it is killed; the relay then fills it from the logs."""

    __name__ = "the embedded broker's keeper"

    def __init__(self, broker: EmbeddedBroker) -> None:
        self._broker = broker

    async def __call__(self, root: Root, /) -> None:
        while True:
            await asyncio.sleep(_KEEP_SECONDS)
            if self._broker.restart_if_dead():
                logging.getLogger("workcast").warning("the embedded Valkey of %s died; it runs again", root.directory)


def _finish_undisturbed() -> None:
    """What is left to do takes a moment and must not be cut short by an impatient Ctrl-C."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


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
            raise ServeError(f"a workcast up already serves {root.directory}{where}; use that one or end it") from None
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
