"""Reports which workcells' logs changed, from the notifications of the file system.

On Linux one inotify descriptor watches the workcells' directory and each workcell in it, and nothing deeper: an agent
may churn a whole worktree in there. Elsewhere (macOS) ``watchfiles`` stands in, with a wake-up within 5 ms.
(``watchfiles`` on Linux with ``step=0`` keeps a core busy: 2.0 s of CPU in 2.0 s of waiting, measured.)
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from workcast.broker.bell import Bell
from workcast.broker.inotify import Inotify
from workcast.broker.names import LOG_FILE
from workcast.broker.root import Root

if TYPE_CHECKING:
    from watchfiles._rust_notify import RustNotify  # its public functions make a new one for each wait


class Watcher(Protocol):
    """Waits for changes of logs."""

    def wait(self, seconds: float) -> set[str]:
        """Block until a log may have changed, :meth:`wake` is called, or time is up; return the workcells to check."""
        ...

    def wake(self) -> None:
        """End the current wait, or the next one; may be called from any thread."""

    def close(self) -> None:
        """Release descriptors and watches."""


class Alarm:
    """A watcher of one log, for its writer: a wait ends when :meth:`wake` is called."""

    def __init__(self, workcell: str) -> None:
        self._workcell = workcell
        self._bell = Bell()

    def wait(self, seconds: float) -> set[str]:
        return {self._workcell} if self._bell.wait(seconds) else set()

    def wake(self) -> None:
        self._bell.ring()

    def close(self) -> None:
        """Nothing to release."""


def watch(root: Root) -> Watcher:
    """Return the best watcher that this system has for the workcells of ``root``; their directory must exist."""
    return InotifyWatcher(root) if sys.platform == "linux" else PortableWatcher(root)


class InotifyWatcher:
    """inotify: costs nothing while nothing happens."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._inotify = Inotify()
        self._flags = flags = self._inotify.flags
        self._watched: dict[int, str] = {}
        self._parent = self._inotify.add(root.workcells, flags.CREATE | flags.MOVED_TO | flags.ONLYDIR | flags.DELETE)
        for workcell in root.ids():
            self._add(workcell)

    def wait(self, seconds: float) -> set[str]:
        changed: set[str] = set()
        for event in self._inotify.wait(seconds):
            if event.mask & self._flags.Q_OVERFLOW:
                changed.update(self._root.ids())
            elif event.wd == self._parent:
                # Watched first, read afterwards, so that what was written in between is seen.
                workcell = self._root.id_of(event.name)
                if event.mask & (self._flags.CREATE | self._flags.MOVED_TO) and self._add(workcell):
                    changed.add(workcell)
            elif event.mask & self._flags.IGNORED:
                self._watched.pop(event.wd, None)
            elif event.name == LOG_FILE and event.wd in self._watched:
                changed.add(self._watched[event.wd])
        return changed

    def _add(self, workcell: str) -> bool:
        flags = self._flags
        try:
            if not self._root.holds(workcell):
                return False
            watch = self._inotify.add(
                self._root.workcell(workcell), flags.MODIFY | flags.CREATE | flags.MOVED_TO | flags.DELETE
            )
        except (OSError, ValueError):
            return False  # removed, not a workcell, or out of watches: the relay's sweep reads its log all the same
        self._watched[watch] = workcell
        return True

    def wake(self) -> None:
        self._inotify.wake()

    def close(self) -> None:
        self._inotify.close()


class PortableWatcher:
    """watchfiles: a list of directories that is built again when a workcell is added."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._stop = threading.Event()
        self._known: list[str] = []
        self._notify = self._arm()

    def _arm(self) -> RustNotify:
        from watchfiles._rust_notify import RustNotify

        self._known = self._root.ids()
        paths = [str(self._root.workcells), *(str(self._root.workcell(workcell)) for workcell in self._known)]
        return RustNotify(paths, False, False, 0, False, True)  # noqa: FBT003 - the library takes them by position

    def wait(self, seconds: float) -> set[str]:
        found = self._notify.watch(0, 5, max(int(seconds * 1000), 1), self._stop)
        self._stop.clear()
        if isinstance(found, str):
            return set()
        changed = {self._root.id_of(Path(path).parent.name) for _, path in found if Path(path).name == LOG_FILE}
        if self._root.ids() != self._known:
            before = set(self._known)
            self._notify.close()
            self._notify = self._arm()
            changed |= set(self._known) - before
        return changed

    def wake(self) -> None:
        self._stop.set()

    def close(self) -> None:
        self._notify.close()
