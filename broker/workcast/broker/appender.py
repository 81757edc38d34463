"""Appending to a log: the one way to write to it. Apart from the reader, because a hook that writes must load fast."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from workcast.broker.environment import DEFAULT_LOCK_TIMEOUT_S
from workcast.broker.errors import LogLockedError
from workcast.broker.files import LockedError, lock_descriptor, unlock_descriptor


class Appender:
    """Appends whole lines to one log; safe for several threads and several processes at once.

    An append holds the file's exclusive lock, reopens the path if the file was unlinked or replaced, closes a torn tail
    that another writer left, and finishes short writes. If the disk fills up, the file is cut back to whole lines.

    Args:
        path: the log; its directory must exist.
        lock_timeout: seconds for which an append waits for other writers.
    """

    def __init__(self, path: Path, *, lock_timeout: float = DEFAULT_LOCK_TIMEOUT_S) -> None:
        self._path = path
        self._lock_timeout = lock_timeout
        self._lock = threading.Lock()  # flock belongs to the open file, which this process's threads share
        self._descriptor = -1
        self._end = -1
        self._process = os.getpid()

    def _after_fork(self) -> None:
        """Open the file again: a forked child shares the parent's open file, and with it the lock."""
        self._lock = threading.Lock()
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
        deadline: float | None = None  # of the wait, which hardly ever begins: the clock is read only then
        if not self._lock.acquire(blocking=False):
            deadline = time.monotonic() + self._lock_timeout
            if not self._lock.acquire(timeout=self._lock_timeout):
                raise self._locked("thread")
        try:
            size = self._lock_file(deadline)
            try:
                if size and size != self._end and os.pread(self._descriptor, 1, size - 1) != b"\n":
                    lines = b"\n" + lines
                self._write(lines, size)
            finally:
                unlock_descriptor(self._descriptor)
        finally:
            self._lock.release()

    def close(self) -> None:
        """Close the file; a later append opens it again."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

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
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
                self._end = -1
            try:
                lock_descriptor(self._descriptor)
            except LockedError:
                deadline = time.monotonic() + self._lock_timeout if deadline is None else deadline
                self._wait_for_lock(deadline)
            here = os.fstat(self._descriptor)
            try:
                there = self._path.stat()
            except FileNotFoundError:
                there = None
            if there is not None and (there.st_ino, there.st_dev) == (here.st_ino, here.st_dev):
                return here.st_size
            os.close(self._descriptor)  # and with it the lock on a file that is no longer the log
            self._descriptor = -1

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
            os.ftruncate(self._descriptor, size)
            raise
        self._end = size + len(data)
