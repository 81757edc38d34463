"""``relay``: the relay alone, on a host whose agents write logs but whose gateway runs elsewhere."""

from __future__ import annotations

import signal
import threading

from workcast.broker.relay import Relay
from workcast.broker.roots import Roots
from workcast.cli.serving import wait_for_redis


def relay_roots(roots: Roots, redis_url: str, patience: float) -> None:
    """Relay every log of some roots until SIGINT or SIGTERM.

    Raises:
        WorkcastError: a root is not to be had, or Redis not within ``patience`` seconds; later on nobody gives up.
    """
    for root in roots.each:
        root.prepare()
    wait_for_redis(redis_url, patience)
    stop = threading.Event()

    def end(*_: object) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    relays = [Relay(root, redis_url) for root in roots.each]
    for relay in relays:
        relay.start()
    stop.wait()
    for relay in relays:
        relay.close(drain_seconds=2.0 / len(relays))
