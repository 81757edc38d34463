"""Appending to a log: the one way to write to it. Apart from the reader, because a hook that writes must load fast."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Self


class Appender:
    """Appends whole lines to one log; safe for several threads and several processes at once.

    An append holds ``flock(LOCK_EX)``, reopens the path if the file was unlinked or replaced, closes a torn tail that
    another writer left, and finishes short writes. If the disk fills up, the file is cut back to whole lines.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()  # flock belongs to the open file, which this process's threads share
        self._descriptor = -1
        self._end = -1
        self._process = os.getpid()

    def _after_fork(self) -> None:
        """A forked child shares the open file, and with it the lock, which would then exclude nobody."""
        self._lock = threading.Lock()
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._process = -1, os.getpid()

    def append(self, lines: bytes) -> None:
        """Append one line, or several, each with its newline.

        Raises:
            ValueError: ``lines`` does not end with a newline.
            OSError: the file cannot be opened or written; nothing of ``lines`` is then in the log.
        """
        if not lines.endswith(b"\n"):
            raise ValueError("expected whole lines, each ending with a newline")
        if os.getpid() != self._process:
            self._after_fork()
        with self._lock:
            size = self._lock_file()
            try:
                if size and size != self._end and os.pread(self._descriptor, 1, size - 1) != b"\n":
                    lines = b"\n" + lines
                self._write(lines, size)
            finally:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

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

    def _lock_file(self) -> int:
        """Hold the lock on the file that the path names now; return its size."""
        while True:
            if self._descriptor < 0:
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
                self._end = -1
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            here = os.fstat(self._descriptor)
            try:
                there = self._path.stat()
            except FileNotFoundError:
                there = None
            if there is not None and (there.st_ino, there.st_dev) == (here.st_ino, here.st_dev):
                return here.st_size
            os.close(self._descriptor)  # and with it the lock on a file that nobody will read
            self._descriptor = -1

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
