"""The relay: publishes the logs of a root, in a thread of its own, until it is closed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Final

from workcast.broker.batch import Budgets
from workcast.broker.errors import BrokerError, BrokerFullError
from workcast.broker.log_relays import LogRelays
from workcast.broker.publisher import Publisher
from workcast.broker.root import Root
from workcast.broker.warn_once import WarnOnce
from workcast.broker.watch import Alarm, Watcher, watch
from workcast.broker.windows import Windows

_SWEEP_SECONDS: Final = 5.0
"""How often every log and every head is checked, whatever notifications came."""
_HEARTBEAT_SECONDS: Final = 1.0
"""How often a heartbeat goes through the feed, requested windows are published, and edited logs are looked at."""
_CLOSE_SECONDS: Final = 1.0
"""How long closing may take, in addition to the time to drain."""
_ABORT_SECONDS: Final = 0.3
"""Of those, what is left for an end without the server."""
_MAX_BACKOFF_SECONDS: Final = 1.0

logger = logging.getLogger("workcast.relay")


class Relay:
    """Relays all logs of one root, or one of them. The logs themselves are the queue, so memory is bounded.

    Args:
        root: whose logs.
        url: of the Redis server.
        budgets: what the streams may hold; None: the defaults.
        only: relay this workcell alone, and check it when :meth:`wake` is called.
        sweep_seconds: between two sweeps.

    Raises:
        BrokerError: the URL is malformed.
    """

    def __init__(
        self,
        root: Root,
        url: str,
        budgets: Budgets | None = None,
        only: str | None = None,
        *,
        sweep_seconds: float = _SWEEP_SECONDS,
    ) -> None:
        self._root = root
        self._sweep_seconds = sweep_seconds
        self._publisher = Publisher(url, budgets)
        self._watcher: Watcher = watch(root) if only is None else Alarm(only)
        self._warnings = WarnOnce(logger)
        self._logs = LogRelays(root, self._publisher, self._warnings, only, self._send_heartbeat_if_due)
        self._windows = Windows(self._publisher, self._warnings, sets_budget=only is None)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._run_id = ""
        self._backoff = 0.0
        self._next_sweep = 0.0
        self._next_heartbeat = 0.0
        self._next_windows = 0.0
        self._drain_until = 0.0
        self._closed = False

    def start(self) -> None:
        """Relay from a background thread until :meth:`close`."""
        self._thread = threading.Thread(target=self._live, name=f"relay {self._root.directory.name}", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Check for changes now; for programs that write to the log themselves."""
        self._watcher.wake()

    def stop(self, drain_seconds: float = 0.0) -> None:
        """Ask the thread to end, without waiting for it. Only the first call counts.

        Args:
            drain_seconds: for so long, publish the lines that are in the logs now, if Redis is there.
        """
        if self._stop.is_set():
            return
        self._drain_until = time.monotonic() + drain_seconds
        self._stop.set()
        self._watcher.wake()

    def close(self, drain_seconds: float = 0.0) -> None:
        """Stop the thread, keep checkpoints, close connections; takes at most a second more than the drain.

        A thread that then still waits for a disk or a server is left to itself, and does all this when it can.
        """
        if self._closed:
            return
        self._closed = True
        self.stop(drain_seconds)
        if self._thread is None:
            self._finish()
            return
        deadline = self._drain_until + _CLOSE_SECONDS
        self._thread.join(max(0.0, deadline - _ABORT_SECONDS - time.monotonic()))
        if self._thread.is_alive():  # it waits for a server that does not answer
            self._publisher.abort()
            self._thread.join(max(0.0, deadline - time.monotonic()))

    def _live(self) -> None:
        # The thread itself finishes: close() may have given up on it at any moment.
        try:
            self.run()
        finally:
            self._finish()

    def _finish(self) -> None:
        self._logs.checkpoint()
        self._watcher.close()
        self._publisher.close()

    def run(self) -> None:
        """Relay until :meth:`close` is called from another thread. Each problem is logged once, and tried again."""
        while not self._stop.is_set():
            try:
                self._turn()
                self._backoff = 0.0
                self._warnings.passed("relay")
            except BrokerFullError as error:
                self._make_room(error)
                self._wait_longer()
            except BrokerError as error:
                if not self._stop.is_set():  # else the connection was aborted here
                    self._warnings.warn("broker", str(error))
                self._run_id = ""  # the server that answers next may have forgotten everything
                self._wait_without_broker()
            except Exception as error:  # noqa: BLE001 - logged with its traceback
                self._warn_unexpected(error)
                self._wait_longer()
        try:
            self._drain()
        except BrokerError as error:
            self._warnings.warn("broker", str(error))
        except Exception as error:  # noqa: BLE001 - logged with its traceback
            self._warn_unexpected(error)

    def _warn_unexpected(self, error: Exception) -> None:
        self._warnings.warn("relay", f"unexpected error in the relay of {self._root.directory}; it goes on", error)

    def _make_room(self, error: BrokerFullError) -> None:
        try:
            self._windows.make_room(str(error))
        except BrokerError as other:
            self._warnings.warn("broker", str(other))
            self._run_id = ""

    def _wait_without_broker(self) -> None:
        """Wait before the next attempt; note meanwhile how far the logs may be shown."""
        try:
            self._logs.vouch(self._stop.is_set)
        except Exception as error:  # noqa: BLE001 - logged with its traceback
            self._warn_unexpected(error)
        self._wait_longer()

    def _wait_longer(self) -> None:
        self._backoff = min(max(self._backoff * 2, 0.05), _MAX_BACKOFF_SECONDS)
        deadline = time.monotonic() + self._backoff
        while not self._stop.is_set() and (left := deadline - time.monotonic()) > 0:
            self._logs.mark_changed(self._watcher.wait(left))

    def _turn(self) -> None:
        """Sweep if it is time, wait for changes if nothing is left to do, and publish a batch of each changed log."""
        if not self._run_id:
            self._connect()
        now = time.monotonic()
        if now >= self._next_sweep:
            self._sweep()
            self._next_sweep = now + self._sweep_seconds
        if now >= self._next_windows:
            self._logs.publish_windows()
            self._logs.look_at_edited()
            self._next_windows = now + _HEARTBEAT_SECONDS
        due = min(self._next_sweep, self._next_heartbeat, self._next_windows)
        self._logs.mark_changed(self._watcher.wait(0 if self._logs.has_work else due - time.monotonic()))
        self._logs.publish(self._is_over)
        self._logs.cover(self._is_over)
        self._send_heartbeat_if_due()

    def _send_heartbeat_if_due(self) -> None:
        """Send a heartbeat if one is due. An error is only logged: a full server may still accept a batch."""
        now = time.monotonic()
        if now < self._next_heartbeat:
            return
        self._next_heartbeat = now + _HEARTBEAT_SECONDS
        try:
            self._publisher.send_heartbeat(self._root.ensure_origin())
        except BrokerFullError as error:
            self._make_room(error)
        except (BrokerError, OSError) as error:
            self._warnings.warn("heartbeat", str(error))
        else:
            self._warnings.passed("heartbeat")

    def _drain(self) -> None:
        """Publish what is left, for as long as :meth:`stop` allows."""
        if time.monotonic() >= self._drain_until:
            return
        if not self._run_id:
            self._connect()
        self._logs.mark_changed(self._logs.ids())
        while self._logs.has_changed and not self._is_over():
            self._logs.publish(self._is_over)

    def _is_over(self) -> bool:
        return self._stop.is_set() and time.monotonic() >= self._drain_until

    def _connect(self) -> None:
        run_id = self._publisher.prepare()
        if self._warnings.passed("broker"):
            logger.warning("Redis is back; relaying goes on")
        self._next_heartbeat = 0.0
        self._logs.attach(self._is_over)
        self._run_id = run_id

    def _sweep(self) -> None:
        if self._publisher.prepare() != self._run_id:
            self._run_id = ""
            raise BrokerError("another Redis server answers now; comparing the logs with it")
        self._logs.sweep()
        self._windows.sweep()


def close_all(relays: Sequence[Relay], drain_seconds: float = 0.0) -> None:
    """Close relays at the same time: all of them take as long as one."""
    for relay in relays:
        relay.stop(drain_seconds)
    for relay in relays:
        relay.close()
