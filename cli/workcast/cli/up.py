"""``up``: embedded broker, relays, gateway and dashboard of some roots, in one process on one machine."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Generator, Sequence
from typing import Final

import typer

from workcast.broker.batch import Budgets
from workcast.broker.embedded import EmbeddedBroker
from workcast.broker.files import LockedError, lock_file
from workcast.broker.names import UP_LOCK_FILE, UP_STATE_FILE
from workcast.broker.relay import Relay, close_all
from workcast.broker.root import Root
from workcast.broker.roots import Roots
from workcast.broker.running import announce_up, find_up
from workcast.cli.serving import wait_for_redis
from workcast.consumer.errors import ServeError
from workcast.consumer.server import address_of, listen
from workcast.consumer.serving import Background, serve
from workcast.consumer.settings import GatewaySettings

_LOCK_SECONDS: Final = 0.5
"""How long the root's lock is waited for: a process that checks whether it is held holds it for a moment too."""


def serve_roots(roots: Roots, settings: GatewaySettings, background: Sequence[Background] = ()) -> None:
    """Run until SIGINT or SIGTERM, which end it cleanly; prints the address once it answers.

    Raises:
        WorkcastError: a root, the port or Redis cannot be used; the message says which and why.
    """
    for root in roots.each:
        root.prepare()
    budgets = Budgets(window_bytes=settings.window_bytes)
    # Until the server takes both signals over: whatever has been started must be ended.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.ExitStack() as stack:
        for root in roots.each:
            stack.enter_context(_only_one(root))
        listener = stack.enter_context(listen(settings.host, settings.port))
        if settings.redis_url:
            url = settings.redis_url
            wait_for_redis(url, settings.redis_patience)
        else:
            url = stack.enter_context(EmbeddedBroker(roots.each[0], budgets)).url
        address = address_of(listener)
        relays = [Relay(root, url, budgets) for root in roots.each]
        stack.callback(close_all, relays)
        for relay, root in zip(relays, roots.each, strict=True):
            relay.start()
            stack.callback(root.remove_state, UP_STATE_FILE)

        def announce() -> None:
            for root in roots.each:
                announce_up(root, address, url)
            typer.echo(address)

        stack.callback(_finish_undisturbed)  # registered last, called first
        asyncio.run(serve(roots, url, settings, listener, announce, background))


def _finish_undisturbed() -> None:
    """Ignore further signals: cleaning up takes a moment, and must be completed."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def _only_one(root: Root) -> Generator[None]:
    """Hold the root's lock, which the kernel releases however this process ends."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(lock_file(root.state / UP_LOCK_FILE, wait=_LOCK_SECONDS))
        except LockedError:
            running = find_up(root)
            where = f" at {running.http_url} (pid {running.pid})" if running else ""
            raise ServeError(f"a workcast up already serves {root.directory}{where}; use it, or end it") from None
        yield
