"""Watching directories for changed transcripts by the file system's events; the directories may come and go.

This is a hint: the caller has to check everything from time to time all the same.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from workcast.broker.inotify import Inotify
from workcast.producer.transcripts.discovery import NO_TRANSCRIPTS

if TYPE_CHECKING:
    from watchfiles._rust_notify import RustNotify

SUFFIX = ".jsonl"


class TreeWatcher(Protocol):
    """What a follower waits for."""

    def watch(self, directory: Path) -> None:
        """Watch a directory and those below it, if it exists."""

    def wait(self, seconds: float) -> set[Path]:
        """Block until a transcript may have changed, :meth:`wake` is called, or time is up; return the changed ones."""
        ...

    def wake(self) -> None:
        """End the current wait, or the next one; may be called from any thread."""

    def close(self) -> None:
        """Release the system's resources."""


def tree_watcher() -> TreeWatcher:
    """Return the best watcher for this system."""
    return InotifyTree() if sys.platform == "linux" else PortableTree()


class InotifyTree:
    """Watches with inotify, one watch for each directory."""

    def __init__(self) -> None:
        self._inotify = Inotify()
        self._flags = flags = self._inotify.flags
        self._mask = flags.MODIFY | flags.CREATE | flags.MOVED_TO | flags.ONLYDIR
        self._watched: dict[int, Path] = {}

    def watch(self, directory: Path) -> None:
        """Watch a directory and those below it; without watches left, the caller's checks have to do."""
        self._add(directory)

    def _add(self, directory: Path) -> set[Path]:
        """Watch a directory and those below it; return the transcripts that are in them already."""
        found: set[Path] = set()
        try:
            # Watched first, listed afterwards: what is written in between is found.
            number = self._inotify.add(directory, self._mask)
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
        changed: set[Path] = set()
        for event in self._inotify.wait(seconds):
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
        self._inotify.wake()

    def close(self) -> None:
        self._inotify.close()


class PortableTree:
    """Watches with watchfiles, on systems without inotify."""

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
