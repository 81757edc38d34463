"""``relay``: the relay alone, on a host whose agents write logs but whose gateway runs elsewhere."""

from __future__ import annotations

import signal
import threading

from workcast.broker.relay import Relay
from workcast.broker.root import Root
from workcast.cli.serving import wait_for_redis


def relay_root(root: Root, redis_url: str, patience: float) -> None:
    """Relay every log of a root until SIGINT or SIGTERM.

    Raises:
        WorkcastError: the root is not to be had, or Redis not within ``patience`` seconds; later on nobody gives up.
    """
    root.prepare()
    wait_for_redis(redis_url, patience)
    stop = threading.Event()

    def end(*_: object) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    relay = Relay(root, redis_url)
    relay.start()
    stop.wait()
    relay.close(drain_seconds=2.0)
