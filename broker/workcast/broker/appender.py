"""Appending to a log: the one way to write to it. Apart from the reader, because a hook that writes must load fast."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from workcast.broker.environment import DEFAULT_LOCK_TIMEOUT_S
from workcast.broker.errors import LogLockedError
from workcast.broker.files import LockedError, check_regular, lock_descriptor

_OPEN: Final = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
"""Non-blocking, so that a FIFO in the log's place is refused at once."""


class Appender:
    """Appends whole lines to one log; safe for several threads, for several processes, and in signal handlers.

    An append holds the file's exclusive lock, reopens the path if the file was unlinked or replaced, closes a torn tail
    that another writer left, and finishes short writes. If the disk fills up, the file is cut back to whole lines.

    An exception that a signal handler raises during an append leaves no lock held: CPython runs handlers only after a
    call and at the start of a function or of a loop's round, so locks are taken first in a ``try``, and released first
    in its ``finally``. An append in a handler that interrupted another one is written right after that one.

    Args:
        path: the log; its directory must exist.
        lock_timeout: seconds for which an append waits for other writers.
    """

    def __init__(self, path: Path, *, lock_timeout: float = DEFAULT_LOCK_TIMEOUT_S) -> None:
        self._path = path
        self._name = str(path)  # cheaper than a Path at each append
        self._lock_timeout = lock_timeout
        self._lock = threading.RLock()  # flock belongs to the open file, which this process's threads share
        self._writer = 0
        """The thread that is using the file, of which it holds the lock; a handler in that thread must not; or 0."""
        self._written = False
        """Whether the last lines are in the file, whole."""
        self._deferred: list[bytes] = []
        """Lines of handlers that interrupted an append."""
        self._descriptor = -1
        self._end = -1
        self._process = os.getpid()

    def _after_fork(self) -> None:
        """Open the file again: a forked child shares the parent's open file, and with it the lock."""
        self._lock = threading.RLock()
        self._writer, self._deferred = 0, []  # the parent writes them
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._process = -1, os.getpid()

    def append(self, lines: bytes) -> None:
        """Append one line, or several, each with its newline.

        Raises:
            ValueError: ``lines`` does not end with a newline.
            LogLockedError: another writer held the log's lock for too long; nothing of ``lines`` is in the log.
            OSError: the file cannot be opened or written; nothing of ``lines`` is then in the log.
        """
        if not lines.endswith(b"\n"):
            raise ValueError("expected whole lines, each ending with a newline")
        if os.getpid() != self._process:
            self._after_fork()
        try:
            self._append_or_defer(lines)
        finally:
            if self._deferred and self._writer != threading.get_ident():
                self._append_deferred()

    def close(self) -> None:
        """Close the file; a later append opens it again. In a handler that interrupted an append, it stays open."""
        if self._deferred and self._writer != threading.get_ident():
            self._append_deferred()
        with self._lock:
            if not self._writer:
                self._close_file()

    def _append_or_defer(self, lines: bytes) -> None:
        try:
            deadline: float | None = None  # of the wait, which hardly ever begins: the clock is read only then
            if not self._lock.acquire(blocking=False):
                deadline = time.monotonic() + self._lock_timeout
                if not self._lock.acquire(timeout=self._lock_timeout):
                    raise self._locked("thread")
            if self._writer:
                self._deferred.append(lines)
            else:
                self._append_alone(lines, deadline)
        finally:
            try:  # noqa: SIM105 - a call before the release would let a handler run there
                self._lock.release()
            except RuntimeError:  # it was not acquired
                pass

    def _append_alone(self, lines: bytes, deadline: float | None) -> None:
        self._written, self._writer = False, threading.get_ident()
        try:
            size = self._lock_file(deadline)
            if size and size != self._end and os.pread(self._descriptor, 1, size - 1) != b"\n":
                lines = b"\n" + lines
            self._write(lines, size)
        finally:
            self._writer = 0
            try:  # noqa: SIM105
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            except (OSError, ValueError):  # it could not be opened
                pass

    def _append_deferred(self) -> None:
        """Append what handlers deferred; if the file cannot be written, the next append tries again."""
        while self._deferred:
            lines, self._deferred = self._deferred, []
            self._written = False
            try:
                self._append_or_defer(b"".join(lines))
            except BaseException as error:
                if not self._written:
                    self._deferred[:0] = lines
                if isinstance(error, OSError):
                    return
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _lock_file(self, deadline: float | None) -> int:
        """Lock the file that the path names now; return its size."""
        while True:
            if self._descriptor < 0:
                self._descriptor = os.open(self._path, _OPEN, 0o644)
                self._end = -1
                check_regular(self._descriptor, self._path)
            try:
                lock_descriptor(self._descriptor)
            except LockedError:
                deadline = time.monotonic() + self._lock_timeout if deadline is None else deadline
                self._wait_for_lock(deadline)
            here = os.fstat(self._descriptor)
            try:
                there = os.stat(self._name)  # noqa: PTH116
            except FileNotFoundError:
                there = None
            if there is not None and (there.st_ino, there.st_dev) == (here.st_ino, here.st_dev):
                return here.st_size
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

    def _write(self, data: bytes, size: int) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except BaseException:
            self._end = -1
            self._written = os.fstat(self._descriptor).st_size >= size + len(data)
            if not self._written:  # whole lines stay, though a handler raised: readers may have seen them
                os.ftruncate(self._descriptor, size)
            raise
        self._written, self._end = True, size + len(data)
