"""What the logs of a root say now: as far as they are indexed from the index, and from there on from the logs."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field

from workcast.broker.root import Root
from workcast.broker.run_lock import writer_signs
from workcast.index.database import open_to_read
from workcast.index.followed_log import FollowedLog, file_state
from workcast.index.store import FileChanges, Store, StoredLog
from workcast.ledger.figures import Change, RunFigures
from workcast.ledger.lost import writer_is_gone
from workcast.ledger.prices import PriceTable


@dataclass(slots=True)
class LogView:
    """One log, to its end, or to ``missing`` lines before it."""

    workcell: str
    epoch: int
    base: int
    runs: list[RunFigures]
    changes: list[FileChanges]
    """By run and path; ``log`` is 0."""
    missing: int = 0


@dataclass(slots=True)
class _Loaded:
    """What an index has of all logs."""

    logs: dict[str, StoredLog] = field(default_factory=dict[str, StoredLog])
    """By the workcell's directory."""
    unchanged: set[str] = field(default_factory=set[str])
    """The directories of those that are indexed to their ends."""
    runs: dict[int, list[RunFigures]] = field(default_factory=dict[int, list[RunFigures]])
    changes: dict[int, list[FileChanges]] = field(default_factory=dict[int, list[FileChanges]])


class View:
    """A consistent view of the index of one root, and what its logs have beyond; not safe for several threads.

    Args:
        root: whose logs.
        prices: by which costs are computed; an index with others is not used.
    """

    def __init__(self, root: Root, prices: PriceTable) -> None:
        self._root = root
        self._prices = prices
        connection = open_to_read(root.state, prices.fingerprint)
        self._store = Store(connection) if connection is not None else None

    def close(self) -> None:
        """Close the index."""
        if self._store is not None:
            self._store.connection.close()
            self._store = None

    @property
    def has_index(self) -> bool:
        """Whether there is an index to read."""
        return self._store is not None

    def heads(self) -> dict[str, tuple[int, int]]:
        """Return epoch and head of each log in the index, by the workcell's id."""
        heads: dict[str, tuple[int, int]] = {}
        with self._using() as store:
            if store is not None:
                heads = store.heads()
        return {self._root.id_of(name): head for name, head in heads.items()}

    def logs(self, until: float, *, with_changes: bool) -> Iterator[LogView]:
        """Yield all logs of the root.

        Args:
            until: by ``time.monotonic``; what is not read from logs by then is missing.
            with_changes: whether to yield the changes of files too.
        """
        loaded = _Loaded()
        with self._using() as store:
            if store is not None:
                loaded = self._load(store, with_changes=with_changes)
        for workcell in self._root.ids():
            log = loaded.logs.get(self._root.local(workcell))
            number = 0 if log is None else log.log
            its_runs, its_changes = loaded.runs.get(number, []), loaded.changes.get(number, [])
            if log is not None and log.name in loaded.unchanged:
                mark = log.progress.watermark
                yield LogView(workcell, mark.epoch, mark.base, self._judged(workcell, its_runs), its_changes)
            else:
                yield self._read(workcell, log, its_runs, its_changes, until)

    def follow(self, workcell: str, until: float) -> tuple[FollowedLog, StoredLog | None]:
        """Return the fold of one log, and where it went on from; None if it began at the log's start.

        Raises:
            OSError: the log cannot be read.
        """
        stored: StoredLog | None = None
        with self._using() as store:
            if store is not None:
                stored = store.log(self._root.local(workcell))
        log = FollowedLog(self._root, workcell, self._prices, stored.progress if stored is not None else None)
        _advance(log, until)
        return log, None if log.begun_anew else stored

    def _load(self, store: Store, *, with_changes: bool) -> _Loaded:
        logs = {log.name: log for log in store.logs()}
        unchanged = {name for name, log in logs.items() if self._is_unchanged(log)}
        for name in logs.keys() - unchanged:
            if (log := store.log(name)) is not None:
                logs[name] = log
        loaded = _Loaded(logs, unchanged)
        for number, run in store.runs():
            loaded.runs.setdefault(number, []).append(run)
        for change in store.file_changes() if with_changes else ():
            loaded.changes.setdefault(change.log, []).append(change)
        return loaded

    def _is_unchanged(self, log: StoredLog) -> bool:
        """Whether a log is indexed to its end."""
        file = log.progress.file
        return bool(file.inode) and file == file_state(self._root, self._root.id_of(log.name))

    def _read(
        self, workcell: str, stored: StoredLog | None, runs: list[RunFigures], changes: list[FileChanges], until: float
    ) -> LogView:
        """Read what a log has beyond the index."""
        log = FollowedLog(self._root, workcell, self._prices, stored.progress if stored is not None else None)
        with contextlib.suppress(OSError):
            _advance(log, until)
        if log.begun_anew:
            runs, changes = [], []
        ended, new_changes = log.figures.take()
        current = log.figures.current()
        newest = {run.run: run for run in (*runs, *ended, *(() if current is None else (current,)))}
        if len(newest) > 1:
            newest.pop(0, None)  # lines that had no run then
        found = self._judged(workcell, [newest[run] for run in sorted(newest)])
        return LogView(workcell, log.epoch, log.base, found, [*changes, *_by_file(new_changes)], log.missing)

    def _judged(self, workcell: str, runs: list[RunFigures]) -> list[RunFigures]:
        """Give a last run whose writer is gone the status ``lost``."""
        if runs and runs[-1].status == "running" and writer_is_gone(writer_signs(self._root.workcell(workcell))):
            runs[-1].status = "lost"
        return runs

    @contextlib.contextmanager
    def _using(self) -> Generator[Store | None]:
        """Read the index in one transaction; if it is damaged or busy, all is read from the logs from then on."""
        store = self._store
        if store is None:
            yield None
            return
        try:
            store.connection.execute("BEGIN")
            yield store
            store.connection.execute("ROLLBACK")
        except (sqlite3.Error, ValueError):
            self.close()


def _advance(log: FollowedLog, until: float) -> None:
    """Read a log to its end, or until it is time."""
    while log.advance() and time.monotonic() < until:
        pass


def _by_file(changes: Iterable[Change]) -> list[FileChanges]:
    sums: dict[tuple[int, str], FileChanges] = {}
    for change in changes:
        key = (change.run, change.path)
        before = sums.get(key) or FileChanges(0, change.run, change.path, 0, 0, 0)
        sums[key] = before._replace(
            changes=before.changes + 1,
            lines_added=before.lines_added + change.lines_added,
            lines_removed=before.lines_removed + change.lines_removed,
        )
    return list(sums.values())
