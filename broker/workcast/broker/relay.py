"""The relay: carries logs to their streams, in one thread, for as long as it is asked to."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Final

from workcast.broker.errors import BrokerError, OriginConflictError
from workcast.broker.log_relay import LogRelay
from workcast.broker.price_file import usable_prices
from workcast.broker.root import Root
from workcast.broker.stream import Budgets, Publisher
from workcast.broker.watch import Alarm, Watcher, watch

_SWEEP_SECONDS: Final = 5.0
"""How often every log and every head is looked at, whatever the events said."""
_HEARTBEAT_SECONDS: Final = 1.0
"""How often a gateway hears through the feed that this relay lives."""
_CLOSE_SECONDS: Final = 1.0
"""How long a relay that was told to end may take, beside the time to drain."""
_ABORT_SECONDS: Final = 0.3
"""Of those, what is left for an end without the server."""
_MAX_BACKOFF_SECONDS: Final = 1.0

logger = logging.getLogger("workcast.relay")


class Relay:
    """All logs of one root, or one of them. What is still to be published are the logs themselves: nothing to bound.

    With ``only``, one workcell is relayed, and it is looked at when :meth:`wake` is called.
    """

    def __init__(self, root: Root, url: str, budgets: Budgets | None = None, only: str | None = None) -> None:
        self._root = root
        self._publisher = Publisher(url, budgets)
        self._watcher: Watcher = watch(root) if only is None else Alarm(only)
        self._ids = root.ids if only is None else lambda: [only]
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._relays: dict[str, LogRelay] = {}
        self._changed: set[str] = set()
        self._complained: dict[str, str] = {}
        self._run_id = ""
        self._backoff = 0.0
        self._next_sweep = 0.0
        self._next_heartbeat = 0.0
        self._drain_until = 0.0
        self._closed = False
        self._vouched = False
        self._left = False

    def start(self) -> None:
        """Relay from a background thread until :meth:`close`."""
        self._thread = threading.Thread(target=self._live, name=f"relay {self._root.directory.name}", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Look at what changed now; called by who writes to the log."""
        self._watcher.wake()

    def stop(self, drain_seconds: float = 0.0) -> None:
        """Tell the thread to end, and do not wait for it. The first call counts.

        With ``drain_seconds``, the lines that are in the logs now are published first, if that takes no longer and
        Redis is there.
        """
        if self._stop.is_set():
            return
        self._drain_until = time.monotonic() + drain_seconds
        self._stop.set()
        self._watcher.wake()

    def close(self, drain_seconds: float = 0.0) -> None:
        """Stop the thread, keep checkpoints, close connections; takes a second at most, beside the time to drain.

        A thread that still waits for a disk or a server then is left behind, and does all this once it is answered.
        """
        if self._closed:
            return
        self._closed = True
        self.stop(drain_seconds)
        if self._thread is not None:
            deadline = self._drain_until + _CLOSE_SECONDS
            self._thread.join(max(0.0, deadline - _ABORT_SECONDS - time.monotonic()))
            if self._thread.is_alive():  # it waits for a server that does not answer
                self._publisher.abort()
                self._thread.join(max(0.0, deadline - time.monotonic()))
            if self._thread.is_alive():
                self._left = True
                return
        self._finish()

    def _live(self) -> None:
        self.run()
        if self._left:
            self._finish()

    def _finish(self) -> None:
        self._checkpoint()
        self._watcher.close()
        self._publisher.close()

    def run(self) -> None:
        """Relay until :meth:`close` is called from another thread. Errors are logged once, and tried again."""
        while not self._stop.is_set():
            try:
                self._turn()
                self._backoff = 0.0
            except BrokerError as error:
                if not self._stop.is_set():  # else we ended the question ourselves
                    self._complain("broker", str(error))
                self._run_id = ""  # whatever comes back may have forgotten everything
                self._vouch()
                self._wait_longer()
            except Exception:
                logger.exception("the relay of %s met an error it does not know, and goes on", self._root.directory)
                self._wait_longer()
        try:
            self._drain()
        except BrokerError as error:
            self._complain("broker", str(error))

    def _vouch(self) -> None:
        """Note what is in the logs while there is no broker, so that gateways may show it."""
        self._changed |= self._watcher.wait(0) if self._vouched else set(self._ids())
        self._vouched = True
        for workcell in sorted(self._changed):
            if self._stop.is_set():
                return
            try:
                if not self._root.leads_out(workcell):
                    self._log_relay(workcell).vouch()
            except OSError as error:
                self._complain(workcell, str(error))

    def _log_relay(self, workcell: str) -> LogRelay:
        relay = self._relays.get(workcell)
        if relay is None:
            relay = self._relays[workcell] = LogRelay(self._root, workcell, self._publisher, usable_prices())
        return relay

    def _wait_longer(self) -> None:
        self._backoff = min(max(self._backoff * 2, 0.05), _MAX_BACKOFF_SECONDS)
        self._stop.wait(self._backoff)

    def _turn(self) -> None:
        """Sweep if it is time, wait for changes if nothing is left to do, and give each changed log one batch."""
        if not self._run_id:
            self._connect()
        now = time.monotonic()
        if now >= self._next_sweep:
            self._sweep()
            self._next_sweep = now + _SWEEP_SECONDS
        due = min(self._next_sweep, self._next_heartbeat)
        self._changed |= self._watcher.wait(0 if self._changed else due - now)
        self._give_each_a_batch()
        if now >= self._next_heartbeat:
            self._next_heartbeat = now + _HEARTBEAT_SECONDS
            self._send_heartbeat()

    def _send_heartbeat(self) -> None:
        """Last in a turn, and no reason to end one: a server that is full takes no heartbeat, but a trimmed batch."""
        try:
            self._publisher.send_heartbeat(self._root.ensure_origin())
        except BrokerError as error:
            self._complain("heartbeat", str(error))
        else:
            self._complained.pop("heartbeat", None)

    def _drain(self) -> None:
        """Publish what is left, for as long as :meth:`close` said."""
        if time.monotonic() >= self._drain_until:
            return
        if not self._run_id:
            self._connect()
        self._changed.update(self._ids())
        while self._changed and time.monotonic() < self._drain_until:
            self._give_each_a_batch()

    def _give_each_a_batch(self) -> None:
        for workcell in sorted(self._changed):
            if self._stop.is_set() and time.monotonic() >= self._drain_until:
                return
            if not self._pump(workcell):
                self._changed.discard(workcell)

    def _connect(self) -> None:
        self._run_id = self._publisher.prepare()
        if self._complained.pop("broker", None):
            logger.warning("Redis is back; relaying goes on")
        for relay in self._relays.values():
            relay.detach()
        self._changed.update(self._relays)

    def _sweep(self) -> None:
        """Look at every log, and compare every head with the broker's: events and notifications are only hints."""
        if self._publisher.prepare() != self._run_id:
            self._run_id = ""
            raise BrokerError("another Redis server answers now; finding the place in it")
        present = self._ids()
        self._changed.update(present)
        for gone in self._relays.keys() - set(present):
            del self._relays[gone]
        known = list(self._relays)
        for workcell, position in zip(known, self._publisher.watermarks(known), strict=True):
            if not self._relays[workcell].reconcile(position):
                logger.warning("the broker lost events of %s; publishing them again", workcell)
        self._judge()
        self._checkpoint()

    def _pump(self, workcell: str) -> bool:
        """Give one log a batch; True if there may be more. What is wrong with it must not stop the others."""
        try:
            if self._root.leads_out(workcell):
                self._complain(workcell, f"{workcell} is not published: it is a symbolic link out of its root")
                return False
            more = self._log_relay(workcell).pump()
        except (OriginConflictError, OSError) as error:
            self._complain(workcell, str(error))
            return False
        except BrokerError:
            raise
        except Exception as error:
            if self._is_news(workcell, repr(error)):
                logger.exception("the relay of %s met an error it does not know; it is tried again", workcell)
            self._relays.pop(workcell, None)  # whatever it holds may be half done: the next one finds its place anew
            return False
        self._complained.pop(workcell, None)
        return more

    def _judge(self) -> None:
        """A run that loses its writer makes no event that would wake us."""
        for workcell, relay in self._relays.items():
            try:
                relay.judge()
            except OSError as error:
                self._complain(workcell, str(error))

    def _checkpoint(self) -> None:
        for workcell, relay in self._relays.items():
            try:
                relay.checkpoint()
            except OSError as error:
                self._complain(workcell, f"cannot keep a checkpoint of {workcell}: {error}")

    def _complain(self, about: str, message: str) -> None:
        """Log a message once, until it is another one or the trouble has passed."""
        if self._is_news(about, message):
            logger.warning("%s", message)

    def _is_news(self, about: str, message: str) -> bool:
        known = self._complained.get(about)
        self._complained[about] = message
        return known != message


def close_all(relays: Sequence[Relay], drain_seconds: float = 0.0) -> None:
    """Close relays at the same time: all of them take as long as one."""
    for relay in relays:
        relay.stop(drain_seconds)
    for relay in relays:
        relay.close()
