"""``relay``: the relay alone, on a host with logs but without a gateway."""

from __future__ import annotations

import signal
import threading
from typing import Final

from workcast.broker.batch import Budgets
from workcast.broker.relay import Relay, close_all
from workcast.broker.roots import Roots
from workcast.cli.serving import wait_for_redis

_DRAIN_SECONDS: Final = 2.0


def relay_roots(roots: Roots, redis_url: str, patience: float, budgets: Budgets) -> None:
    """Relay every log of some roots until SIGINT or SIGTERM.

    Raises:
        WorkcastError: a root cannot be used, or Redis cannot be reached within ``patience`` seconds; later failures are
            retried for ever.
    """
    for root in roots.each:
        root.prepare()
    wait_for_redis(redis_url, patience)
    stop = threading.Event()

    def end(*_: object) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    relays = [Relay(root, redis_url, budgets) for root in roots.each]
    for relay in relays:
        relay.start()
    stop.wait()
    close_all(relays, _DRAIN_SECONDS)
