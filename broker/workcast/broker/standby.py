"""A writer's own relay beside an ``up``, for when that one does not publish."""

from __future__ import annotations

import logging
import threading
from typing import Final

from workcast.broker.bell import Bell
from workcast.broker.errors import BrokerError
from workcast.broker.log_relay import LogRelay
from workcast.broker.price_file import usable_prices
from workcast.broker.publisher import Publisher
from workcast.broker.root import Root
from workcast.broker.running import find_up
from workcast.broker.warn_once import WarnOnce

_PATIENCE_SECONDS: Final = 0.25
"""How much later than the ``up`` it checks. At the same time it would repeat the work of the ``up`` in the writer's
process, where an emit would then take three to four times as long."""
_CLOSE_SECONDS: Final = 1.0

logger = logging.getLogger("workcast.relay")


class Standby:
    """Relays one log of a root, from a thread of its own, when the root's ``up`` does not.

    It looks the ``up`` up each time, so that may be restarted; while none runs, the log waits for the next one.
    """

    def __init__(self, root: Root, workcell: str) -> None:
        self._root = root
        self._workcell = workcell
        self._publisher: Publisher | None = None
        self._relay: LogRelay | None = None
        self._bell = Bell()
        self._stop = threading.Event()
        self._warnings = WarnOnce(logger, logging.INFO)  # the ``up`` itself says more
        self._unexpected = WarnOnce(logger)
        self._thread = threading.Thread(target=self._run, name=f"standby {workcell}", daemon=True)

    def start(self) -> None:
        """Check from a background thread until :meth:`close`."""
        self._thread.start()

    def wake(self) -> None:
        """Check the log soon: a line was added."""
        self._bell.ring()

    def close(self) -> None:
        """Stop; lines that are not published yet are left to the ``up``."""
        self._stop.set()
        self._bell.ring()
        self._thread.join(_CLOSE_SECONDS)
        if self._thread.is_alive() and self._publisher is not None:  # it waits for a server that does not answer
            self._publisher.abort()
            self._thread.join(_CLOSE_SECONDS)
        if not self._thread.is_alive():  # else it waits for a disk, and is left behind
            self._forget()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._bell.wait()
            if self._stop.wait(_PATIENCE_SECONDS):
                return
            self._bell.clear()
            try:
                self._stand_in()
                self._warnings.passed(self._workcell)
            except (BrokerError, OSError) as error:
                self._forget()
                self._warnings.warn(
                    self._workcell, f"{self._workcell} is written, but not relayed by its writer: {error}"
                )
            except Exception as error:  # noqa: BLE001 - logged with its traceback
                self._forget()
                self._unexpected.warn(
                    self._workcell, f"unexpected error in the writer's relay of {self._workcell}", error
                )

    def _stand_in(self) -> None:
        running = find_up(self._root)
        if running is None:
            self._forget()
            return
        if self._publisher is None or self._publisher.url != running.redis_url:
            self._forget()
            self._publisher = Publisher(running.redis_url)
            self._publisher.prepare()
        relay = self._relay = self._relay or self._new_relay(self._publisher)
        while not self._stop.is_set():
            if relay.follow(self._publisher.watermarks([self._workcell])[0]) or not relay.pump():
                return

    def _new_relay(self, publisher: Publisher) -> LogRelay:
        return LogRelay(self._root, self._workcell, publisher, usable_prices())

    def _forget(self) -> None:
        if self._publisher is not None:
            self._publisher.close()
        self._publisher = self._relay = None
