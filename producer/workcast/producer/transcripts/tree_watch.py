"""Tells which transcripts changed, by the file system's own events, in directories that come and go.

A hint: whoever uses it looks at everything now and then all the same.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from workcast.producer.transcripts.discovery import NO_TRANSCRIPTS

if TYPE_CHECKING:
    from watchfiles._rust_notify import RustNotify

SUFFIX = ".jsonl"


class TreeWatcher(Protocol):
    """What a follower waits on."""

    def watch(self, directory: Path) -> None:
        """Watch a directory and what is below it, if it is there."""

    def wait(self, seconds: float) -> set[Path]:
        """Block until a transcript may have changed, :meth:`wake` is called, or time is up; those to look at."""
        ...

    def wake(self) -> None:
        """End the wait that goes on, or the next one; may be called from any thread."""

    def close(self) -> None:
        """Give back what the system lent."""


def tree_watcher() -> TreeWatcher:
    """The best watcher this system has."""
    return InotifyTree() if sys.platform == "linux" else PortableTree()


class InotifyTree:
    """inotify, one watch a directory."""

    def __init__(self) -> None:
        from inotify_simple import INotify, flags

        self._flags: Any = flags
        self._mask: Any = flags.MODIFY | flags.CREATE | flags.MOVED_TO | flags.ONLYDIR
        self._inotify: Any = INotify(nonblocking=True)
        self._woken, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._watched: dict[int, Path] = {}

    def watch(self, directory: Path) -> None:
        """Watch it; where the system lends no more watches, the sweep has to do."""
        self._add(directory)

    def _add(self, directory: Path) -> set[Path]:
        """Watch a directory and those below it; the transcripts that are in them already."""
        found: set[Path] = set()
        try:
            # Watched first, looked at afterwards: what was written in between is seen.
            number: int = self._inotify.add_watch(directory, self._mask)
            with os.scandir(directory) as entries:
                listed = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        except OSError:
            return found
        self._watched[number] = directory
        for name, is_directory in listed:
            if is_directory and name not in NO_TRANSCRIPTS:
                found |= self._add(directory / name)
            elif name.endswith(SUFFIX):
                found.add(directory / name)
        return found

    def wait(self, seconds: float) -> set[Path]:
        ready, _, _ = select.select([self._inotify.fileno(), self._woken], [], [], max(seconds, 0))
        if self._woken in ready:
            os.read(self._woken, 4096)
        return self._changes() if self._inotify.fileno() in ready else set()

    def _changes(self) -> set[Path]:
        changed: set[Path] = set()
        for event in self._inotify.read(timeout=0):
            if event.mask & self._flags.IGNORED:
                self._watched.pop(event.wd, None)
                continue
            directory = self._watched.get(event.wd)
            if directory is None or not event.name:
                continue
            if event.mask & self._flags.ISDIR:
                if event.name not in NO_TRANSCRIPTS:
                    changed |= self._add(directory / event.name)
            elif event.name.endswith(SUFFIX):
                changed.add(directory / event.name)
        return changed

    def wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # it is full of wake-ups already
            os.write(self._waker, b"\0")

    def close(self) -> None:
        self._inotify.close()
        os.close(self._woken)
        os.close(self._waker)


class PortableTree:
    """watchfiles, for systems without inotify."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._directories: list[str] = []
        self._notify: RustNotify | None = None

    def watch(self, directory: Path) -> None:
        from watchfiles._rust_notify import RustNotify

        if directory.is_dir() and str(directory) not in self._directories:
            self._directories.append(str(directory))
            self.close()
            self._notify = RustNotify(self._directories, False, False, 0, True, True)  # noqa: FBT003 - by position

    def wait(self, seconds: float) -> set[Path]:
        if self._notify is None:
            self._stop.wait(seconds)
            found: Any = "timeout"
        else:
            found = self._notify.watch(0, 5, max(int(seconds * 1000), 1), self._stop)
        self._stop.clear()
        return set() if isinstance(found, str) else {Path(path) for _, path in found if path.endswith(SUFFIX)}

    def wake(self) -> None:
        self._stop.set()

    def close(self) -> None:
        if self._notify is not None:
            self._notify.close()
            self._notify = None
