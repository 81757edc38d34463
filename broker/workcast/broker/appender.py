"""Appending to a log: the one way to write to it. Apart from the reader, because a hook that writes must load fast."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from workcast.broker.below import open_below
from workcast.broker.environment import DEFAULT_LOCK_TIMEOUT_S
from workcast.broker.errors import LogLockedError
from workcast.broker.files import LockedError, lock_descriptor

_OPEN: Final = os.O_RDWR | os.O_CREAT | os.O_APPEND


class _Record:
    """Lines to be written once, however often writing them is interrupted."""

    __slots__ = ("data", "is_queued", "place")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.is_queued = False
        self.place: tuple[int, int] | None = None
        """The file's inode and the position where they were, or would have been, written."""


class Appender:
    """Appends whole lines to one log; safe for several threads, for several processes, and in signal handlers.

    An append holds the file's exclusive lock, reopens the path if the file was unlinked or replaced, closes a torn tail
    that another writer left, and finishes short writes. If the disk fills up, the file is cut back to whole lines.

    A signal handler may append, and raise, in the middle of an append. CPython runs handlers only after a call and at
    the start of a function or of a loop's round, so locks are taken first in a ``try``, and released first in its
    ``finally``. Records go through a queue: an append in a handler only joins it, and the interrupted append writes
    both. One that an exception interrupts is completed before the exception goes on, unless it would have to wait.

    Args:
        path: the log; its directory must exist.
        lock_timeout: seconds for which an append waits for other writers.
    """

    def __init__(self, path: Path, *, lock_timeout: float = DEFAULT_LOCK_TIMEOUT_S) -> None:
        self._path = path
        self._name = str(path)  # cheaper than a Path at each append
        self._lock_timeout = lock_timeout
        self._lock = threading.RLock()  # flock belongs to the open file, which this process's threads share
        self._queue: list[_Record] = []
        """The record of the append that holds the lock, and those of handlers that have interrupted one."""
        self._is_draining = False
        """Whether the thread that holds the lock is writing the queue: a handler in it must not."""
        self._descriptor = -1
        self._end = -1
        self._process = os.getpid()

    def _after_fork(self) -> None:
        """Open the file again: a forked child shares the parent's open file, and with it the lock."""
        self._lock = threading.RLock()
        self._queue, self._is_draining = [], False  # the parent writes them
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._process = -1, os.getpid()

    def append(self, lines: bytes) -> None:
        """Append one line, or several, each with its newline.

        If a handler's exception interrupts the append while it waits for other writers, ``lines`` are not in the log,
        or, if handlers raise one exception upon another, they are written by the next append or by closing.

        Raises:
            ValueError: ``lines`` does not end with a newline.
            LogLockedError: another writer held the log's lock for too long; nothing of ``lines`` is in the log.
            OSError: the file cannot be opened or written; nothing of ``lines`` is then in the log. An
            :class:`~workcast.broker.below.OddFileError` if it was replaced by a link, a FIFO or another user's file.
        """
        if not lines.endswith(b"\n"):
            raise ValueError("expected whole lines, each ending with a newline")
        if os.getpid() != self._process:
            self._after_fork()
        record = _Record(lines)
        try:
            self._drain(record, self._lock_timeout)
        except BaseException as error:
            # After an error of the file there may still be records of handlers. (A handler's may be an OSError too.)
            unfinished = None if isinstance(error, OSError) else record
            try:  # noqa: SIM105 - no more calls than needed: a handler may raise after each
                self._drain(unfinished, 0.0)
            except OSError:
                pass
            raise

    def close(self) -> None:
        """Close the file; a later append opens it again. In a handler that interrupted an append, it stays open."""
        if self._queue:
            with suppress(OSError):  # the next append tries again
                self._drain(None, self._lock_timeout)
        with self._lock:
            if not self._is_draining:
                self._close_file()

    def _drain(self, record: _Record | None, wait: float) -> None:
        """Put a record into the queue, and write the queue, unless an append that was interrupted by us does."""
        is_ours = False
        try:
            deadline: float | None = None  # of the wait, which hardly ever begins: the clock is read only then
            if not self._lock.acquire(blocking=False):
                deadline = time.monotonic() + wait
                if not self._lock.acquire(timeout=wait):
                    raise self._locked("thread")
            if record is not None and not record.is_queued:
                record.is_queued = True
                self._queue.append(record)
            if not self._is_draining:
                self._is_draining = is_ours = True
                while self._queue:
                    self._write(self._queue[0], deadline, wait)
                    del self._queue[0]
        except OSError:
            if is_ours and record in self._queue:
                self._queue.remove(record)  # it fails with its append; those of handlers wait for the next one
            raise
        finally:
            if is_ours:
                self._is_draining = False
            try:  # noqa: SIM105 - a call before the release would let a handler run there
                self._lock.release()
            except RuntimeError:  # it was not acquired
                pass

    def _write(self, record: _Record, deadline: float | None, wait: float) -> None:
        """Write a record, unless an attempt that was interrupted has written it."""
        try:
            file = self._lock_file(deadline, wait)
            size, data = file.st_size, record.data
            if record.place is not None and self._has_written(record, file):
                return
            if size and size != self._end and os.pread(self._descriptor, 1, size - 1) != b"\n":
                data = b"\n" + data
            record.place = file.st_ino, size + len(data) - len(record.data)
            rest = memoryview(data)
            try:
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
            except BaseException:
                self._end = -1
                if os.fstat(self._descriptor).st_size < size + len(data):
                    os.ftruncate(self._descriptor, size)
                    record.place = None
                raise
            self._end = size + len(data)
        finally:
            try:  # noqa: SIM105
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            except (OSError, ValueError):  # it could not be opened
                pass

    def _has_written(self, record: _Record, file: os.stat_result) -> bool:
        inode, position = record.place or (0, 0)
        return inode == file.st_ino and os.pread(self._descriptor, len(record.data), position) == record.data

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _lock_file(self, deadline: float | None, wait: float) -> os.stat_result:
        """Lock the file that the path names now; return its status."""
        while True:
            if self._descriptor < 0:
                self._descriptor = open_below(self._path, _OPEN)
                self._end = -1
            try:
                lock_descriptor(self._descriptor)
            except LockedError:
                deadline = time.monotonic() + wait if deadline is None else deadline
                self._wait_for_lock(deadline)
            here = os.fstat(self._descriptor)
            try:
                # By its path, which only shows that it was replaced: it is never opened so.
                there = os.lstat(self._name)
            except (FileNotFoundError, NotADirectoryError):
                there = None
            if there is not None and (there.st_ino, there.st_dev) == (here.st_ino, here.st_dev):
                return here
            self._close_file()  # and with it the lock on a file that is no longer the log

    def _close_file(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _wait_for_lock(self, deadline: float) -> None:
        try:
            lock_descriptor(self._descriptor, wait=deadline - time.monotonic())
        except LockedError:
            raise self._locked("process") from None

    def _locked(self, holder: str) -> LogLockedError:
        return LogLockedError(
            f"expected the lock of {self._path} within {self._lock_timeout:g} s, but another {holder} holds it; "
            f"nothing was written; end or continue that {holder}, or raise WORKCAST_LOCK_TIMEOUT"
        )
