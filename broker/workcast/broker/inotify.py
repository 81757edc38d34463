"""Waiting for events of Linux's inotify, in a way that another thread can end."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from pathlib import Path
from typing import Any


class Inotify:
    """An inotify instance, and a pipe that wakes the thread that waits for it."""

    def __init__(self) -> None:
        from inotify_simple import INotify, flags

        self.flags: Any = flags
        self._inotify: Any = INotify(nonblocking=True)
        self._woken, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._lock = threading.RLock()  # a signal handler may wake it during a wake
        self._poll = select.poll()  # select() refuses descriptors from 1024 on
        for descriptor in (self._inotify.fileno(), self._woken):
            self._poll.register(descriptor, select.POLLIN)

    def add(self, path: Path, mask: Any) -> int:
        """Watch a path for the events of a mask; return the watch's number.

        Raises:
            OSError: the path cannot be watched, or there are no watches left.
        """
        number: int = self._inotify.add_watch(path, mask)
        return number

    def remove(self, number: int) -> None:
        """Stop watching; does nothing if the watch has ended with its path."""
        with contextlib.suppress(OSError):
            self._inotify.rm_watch(number)

    def wait(self, seconds: float) -> list[Any]:
        """Block until there are events, :meth:`wake` is called, or time is up; return the events."""
        ready = {descriptor for descriptor, _ in self._poll.poll(max(seconds, 0) * 1000)}
        if self._woken in ready:
            os.read(self._woken, 4096)
        events: list[Any] = self._inotify.read(timeout=0) if self._inotify.fileno() in ready else []
        return events

    def wake(self) -> None:
        """End the current wait, or the next one; does nothing once closed. May be called from any thread."""
        with self._lock, contextlib.suppress(BlockingIOError):  # the pipe is full of wake-ups already
            if self._waker >= 0:
                os.write(self._waker, b"\0")

    def close(self) -> None:
        """Release the descriptors."""
        with self._lock:
            self._inotify.close()
            os.close(self._woken)
            os.close(self._waker)
            self._waker = -1
