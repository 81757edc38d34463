"""Retention: which workcells of a root may go, by the age of their last run and by the size of all records."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

from workcast.broker import names
from workcast.broker.below import open_below
from workcast.broker.files import is_locked
from workcast.broker.records import find_records
from workcast.broker.root import Root
from workcast.broker.run_lock import writer_signs
from workcast.events.timestamp import Timestamp
from workcast.events.wire import inspect
from workcast.ledger.lost import OPEN, is_lost
from workcast.ledger.summary import Fold, WorkcellStatus

FAILED: Final[frozenset[WorkcellStatus]] = frozenset({"failed", "timeout", "lost"})
"""Statuses of workcells whose last run is worth a look."""
QUIET_S: Final = 3600.0
"""A log whose run has no end, and that no lock shows to be written, is left alone for so long after its last line."""
_TAIL_BYTES: Final = 1 << 14
"""At the end of a log: where the end of its last run is looked for."""
_LONG_TAIL_BYTES: Final = 1 << 18
"""Where it is looked for next."""
_TIMESTAMP: Final = TypeAdapter[datetime](Timestamp)


@dataclass(frozen=True, slots=True)
class Rules:
    """What may go."""

    older_than: float | None = None
    """Seconds since the end of the last run, from which a workcell goes; None: age does not matter."""
    max_bytes: int | None = None
    """While the root's records have more bytes, the oldest workcell goes; None: size does not matter."""
    keep_failed: bool = False
    """Keep the workcells whose last run failed, timed out or was lost, whatever the other rules say."""

    @property
    def are_empty(self) -> bool:
        """Whether nothing would ever go."""
        return self.older_than is None and self.max_bytes is None


@dataclass(frozen=True, slots=True)
class StoredWorkcell:
    """A workcell as its files describe it."""

    workcell: str
    status: WorkcellStatus
    ended: float
    """When its last run ended, else when its log was last written: seconds since 1970."""
    size: int
    """Bytes of its records."""
    is_held: bool = False
    """Whether a run, or a process that records a session, holds one of its locks."""
    may_grow: bool = False
    """Whether its last run has no end and its log was written within the last hour, with a lock or without one."""


def choose(stored: Iterable[StoredWorkcell], rules: Rules, now: float) -> list[StoredWorkcell]:
    """Return the workcells that the rules let go, the oldest first."""
    everything = sorted(stored, key=lambda one: (one.ended, one.workcell))
    total = sum(one.size for one in everything)
    going: list[StoredWorkcell] = []
    for one in everything:
        if one.is_held or one.may_grow or not one.size or (rules.keep_failed and one.status in FAILED):
            continue
        is_old = rules.older_than is not None and now - one.ended > rules.older_than
        is_too_much = rules.max_bytes is not None and total > rules.max_bytes
        if is_old or is_too_much:
            going.append(one)
            total -= one.size
    return going


def examine(root: Root, workcell: str, now: float) -> StoredWorkcell:
    """Find out what the rules depend on, without reading more than the end of the log.

    Raises:
        OSError: the workcells' directory is a link, or cannot be opened.
    """
    signs = writer_signs(root.workcell(workcell))  # before the log is read, as a run may end in between
    records = find_records(root, workcell)
    status, ended, written = _end_of(root.log(workcell))
    if is_lost(status, signs):
        status = "lost"
    return StoredWorkcell(
        workcell, status, ended, records.size,
        is_held=(signs is not None and signs.lock_is_held)
        or is_locked(root.state / names.state_file(root.local(workcell), names.SESSION_LOCK_SUFFIX)),
        may_grow=status in OPEN and now - written < QUIET_S,
    )  # fmt: skip


def _end_of(path: Path) -> tuple[WorkcellStatus, float, float]:
    """Return the status of a log's last run, when that ended, else was last written, and when the log was last written.

    Without a log, the second is the time of the directory, and the third is 0.
    """
    try:
        descriptor = open_below(path, os.O_RDONLY)
    except OSError:
        return "new", _written(path.parent), 0.0
    try:
        found = os.fstat(descriptor)
        status, ended = _fold_end(descriptor, found.st_size, _TAIL_BYTES)
        if status in OPEN and found.st_size > _TAIL_BYTES:
            status, ended = _fold_end(descriptor, found.st_size, _LONG_TAIL_BYTES)
    finally:
        os.close(descriptor)
    written = found.st_mtime
    return status, min(written, written if ended is None else ended), written


def _fold_end(descriptor: int, end: int, size: int) -> tuple[WorkcellStatus, float | None]:
    """Fold the last lines of a log; return the status and the time of the last end."""
    start = max(0, end - size)
    lines = os.pread(descriptor, end - start, start).split(b"\n")[1 if start else 0 : -1]
    fold, ended = Fold(), None
    for line in lines:
        event = inspect(line)[1]
        fold.add(event)
        if event is not None and event["type"] == "completed":
            ended = _seconds(event.get("timestamp"))
    return fold.status, ended if fold.status not in OPEN else None


def _seconds(timestamp: object) -> float | None:
    try:
        return _TIMESTAMP.validate_python(timestamp).timestamp()
    except (ValueError, OverflowError):
        return None


def _written(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0.0
