"""The indexer: follows all logs of a root into its index, in turns, until it is stopped."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import OrderedDict
from contextlib import ExitStack
from typing import Final

from workcast.broker.below import make_directory
from workcast.broker.files import LockedError, lock_file
from workcast.broker.names import INDEX_LOCK_FILE
from workcast.broker.root import Root
from workcast.broker.warn_once import WarnOnce
from workcast.broker.watch import watch
from workcast.index.database import index_path, is_damage, open_to_write, place_of, remove, transaction
from workcast.index.errors import IndexUnusableError
from workcast.index.followed_log import TURN_BYTES, FollowedLog, file_state
from workcast.index.store import Store
from workcast.ledger.prices import PriceTable

_SWEEP_SECONDS: Final = 5.0
"""How often every log is checked, whatever notifications came."""
_TURN_SECONDS: Final = 0.25
"""The least time between two turns of a log that grows: what is newer is read from the log."""
_MAX_FOLLOWED: Final = 48
"""Logs whose folds are kept in memory, those used last; each takes up to 400 KB."""
_MAX_BACKOFF_SECONDS: Final = 5.0

logger = logging.getLogger("workcast.index")


class Indexer:
    """Indexes the logs of one root.

    Args:
        root: whose logs.
        prices: by which costs are computed.
        sweep_seconds: between two sweeps.
        turn_bytes: about so much of a log is read before the others have their turn, and before it is committed.
    """

    def __init__(
        self,
        root: Root,
        prices: PriceTable,
        *,
        sweep_seconds: float = _SWEEP_SECONDS,
        turn_bytes: int = TURN_BYTES,
    ) -> None:
        self._root = root
        self._prices = prices
        self._sweep_seconds = sweep_seconds
        self._turn_bytes = turn_bytes
        self._watcher = watch(root)
        self._warnings = WarnOnce(logger)
        self._stop = threading.Event()
        self._store: Store | None = None
        self._place = (0, 0)
        self._followed: OrderedDict[str, tuple[FollowedLog, int]] = OrderedDict()
        """And how often its log had begun anew when it was stored."""
        self._changed: set[str] = set()
        self._missing: set[str] = set()
        """Logs in the index that the last sweep found no workcell of."""

    def stop(self) -> None:
        """Ask :meth:`run` to end; may be called from any thread and from a signal handler."""
        self._stop.set()
        self._watcher.wake()

    def run(self) -> None:
        """Index until :meth:`stop` is called. Each problem is logged once, and tried again."""
        backoff = 0.0
        next_sweep = 0.0
        try:
            with ExitStack() as lock:
                while not self._stop.is_set():
                    try:
                        if self._store is None:
                            lock.close()
                            self._open(lock)
                            next_sweep = 0.0
                        if time.monotonic() >= next_sweep:
                            self.sweep()
                            next_sweep = time.monotonic() + self._sweep_seconds
                        self._turn(next_sweep)
                        backoff = 0.0
                        self._warnings.passed("index")
                    except Exception as error:  # noqa: BLE001 - logged, and tried again
                        self._fail(error)
                        backoff = min(max(2 * backoff, 0.2), _MAX_BACKOFF_SECONDS)
                        self._stop.wait(backoff)
        finally:
            self.close()

    def close(self) -> None:
        """Close index and watcher."""
        self._close_store()
        self._watcher.close()

    def open(self) -> None:
        """Open the index without taking its lock, for tests and measurements that call :meth:`sweep` and :meth:`step`.

        Raises:
            OSError: the index cannot be made.
            sqlite3.Error: likewise.
        """
        make_directory(self._root.state)
        connection, reason = open_to_write(self._root.state, self._prices.fingerprint)
        self._store, self._place = Store(connection), place_of(index_path(self._root.state))
        if reason:
            logger.warning("the index of %s is made anew: %s", self._root.directory, reason)

    def _open(self, lock: ExitStack) -> None:
        make_directory(self._root.state)
        try:
            lock.enter_context(lock_file(self._root.state / INDEX_LOCK_FILE, mode=0o600))
        except LockedError:
            raise IndexUnusableError(
                f"another process indexes {self._root.directory}; this one waits until that has ended"
            ) from None
        self.open()

    def _close_store(self) -> None:
        if self._store is not None:
            self._store.connection.close()
            self._store = None
        self._followed.clear()

    def _fail(self, error: Exception) -> None:
        """Warn of an error, and begin from what the index has."""
        if isinstance(error, sqlite3.Error) and is_damage(error):
            self._close_store()
            remove(self._root.state)
            logger.warning("the index of %s is made anew: it is damaged: %s", self._root.directory, error)
            return
        self._close_store()
        where = f"the index of {self._root.directory}"
        if isinstance(error, IndexUnusableError):
            self._warnings.warn("index", str(error))
        elif isinstance(error, (sqlite3.Error, OSError)):
            self._warnings.warn("index", f"{where} cannot be written: {error}; what it lacks is read from the logs")
        else:
            self._warnings.warn("index", f"unexpected error while writing {where}; it is tried again", error)

    # ── turns ────────────────────────────────────────────────────────────────────────────────────────────────────────
    def _turn(self, next_sweep: float) -> None:
        """Wait for changes unless there is something to do; index a part of each changed log."""
        if not self._changed:
            self._changed |= self._watcher.wait(max(0.0, next_sweep - time.monotonic()))
            self._stop.wait(_TURN_SECONDS)  # for what follows at once
        self._changed |= self._watcher.wait(0)
        self.step()

    @property
    def has_changed(self) -> bool:
        """Whether any log may have lines to index."""
        return bool(self._changed)

    def sweep(self) -> None:
        """Check every log; forget those whose workcells were gone at the last sweep too.

        Raises:
            OSError: a log cannot be read.
            sqlite3.Error: the index cannot be written.
        """
        store = self._use_store()
        if place_of(index_path(self._root.state)) != self._place:
            raise IndexUnusableError(f"the index of {self._root.directory} was removed; it is made anew")
        present = set(map(self._root.local, self._root.ids()))
        self._changed |= {workcell for workcell in self._root.ids() if self._may_have_changed(store, workcell)}
        if not self._root.workcells.is_dir():
            return  # not mounted, perhaps
        gone = store.names() - present
        for name in gone & self._missing:
            with transaction(store.connection):
                store.remove(name)
            self._followed.pop(self._root.id_of(name), None)
        self._missing = gone - self._missing

    def _may_have_changed(self, store: Store, workcell: str) -> bool:
        followed = self._followed.get(workcell)
        if followed is not None:
            return followed[0].has_changed
        stored = store.file_state(self._root.local(workcell))
        return stored is None or stored != file_state(self._root, workcell)

    def step(self) -> None:
        """Index a part of each changed log, in turn.

        Raises:
            OSError: a log cannot be read.
            sqlite3.Error: the index cannot be written; call :meth:`open` before the next step.
        """
        store = self._use_store()
        for workcell in sorted(self._changed):
            if self._stop.is_set():
                return
            if not self._index(store, workcell):
                self._changed.discard(workcell)

    def _index(self, store: Store, workcell: str) -> bool:
        """Index a part of one log, in one transaction; True if there may be more."""
        if not self._root.holds(workcell):
            return False
        name = self._root.local(workcell)
        log, begun_anew = self._follow(store, workcell)
        try:
            more = log.advance(self._turn_bytes)
        except OSError as error:
            self._warnings.warn(workcell, f"the log of {workcell} is not indexed: {error}")
            self._followed.pop(workcell, None)
            return False
        self._warnings.passed(workcell)
        runs, changes = log.figures.take()
        current = log.figures.current()
        with transaction(store.connection):
            if log.begun_anew != begun_anew:
                store.remove(name)
            store.put(name, log.progress, [*runs, *([] if current is None else [current])], changes)
        self._followed[workcell] = (log, log.begun_anew)
        return more

    def _follow(self, store: Store, workcell: str) -> tuple[FollowedLog, int]:
        found = self._followed.get(workcell)
        if found is not None:
            self._followed.move_to_end(workcell)
            return found
        stored = store.log(self._root.local(workcell))
        log = FollowedLog(self._root, workcell, self._prices, stored.progress if stored is not None else None)
        self._followed[workcell] = (log, 0)
        if len(self._followed) > _MAX_FOLLOWED:
            self._followed.popitem(last=False)
        return log, 0

    def _use_store(self) -> Store:
        if self._store is None:
            raise IndexUnusableError("expected an open index; open it first")
        return self._store
