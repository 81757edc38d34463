"""Reports which workcells' logs changed, from the notifications of the file system.

On Linux one inotify descriptor watches the workcells' directory and each workcell in it, and nothing deeper: an agent
may churn a whole worktree in there. Elsewhere (macOS) ``watchfiles`` stands in, with a wake-up within 5 ms.
(``watchfiles`` on Linux with ``step=0`` keeps a core busy: 2.0 s of CPU in 2.0 s of waiting, measured.)
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from workcast.broker.bell import Bell
from workcast.broker.below import stat_below
from workcast.broker.inotify import Inotify
from workcast.broker.names import LOG_FILE
from workcast.broker.root import Root

if TYPE_CHECKING:
    from watchfiles._rust_notify import RustNotify  # its public functions make a new one for each wait

_Place = tuple[int, int]


def _place_of(directory: Path) -> _Place | None:
    """Return device and inode of a directory; None if it is missing."""
    found = stat_below(directory)
    return None if found is None else (found.st_dev, found.st_ino)


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
    """Return the best watcher that this system has for the workcells of ``root``.

    Their directory may be removed and created again: it is watched again then, and all its workcells are reported.
    """
    return InotifyWatcher(root) if sys.platform == "linux" else PortableWatcher(root)


class InotifyWatcher:
    """inotify: costs nothing while nothing happens."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._inotify = Inotify()
        self._flags = self._inotify.flags
        self._watched: dict[int, str] = {}
        self._parent = -1
        self._place: _Place | None = None
        """The directory that is watched; None: there was none, so its creation is watched."""
        self._is_dead = False
        self._arm()

    def _arm(self) -> None:
        """Watch the workcells' directory and each workcell in it; while it is missing, the directory around it."""
        flags = self._flags
        for watch in (self._parent, *self._watched):
            self._inotify.remove(watch)
        self._watched.clear()
        self._is_dead, self._parent, self._place = False, -1, _place_of(self._root.workcells)
        made = flags.CREATE | flags.MOVED_TO | flags.ONLYDIR
        with contextlib.suppress(OSError):  # removed meanwhile, or out of watches: the relay's sweep finds the logs
            if self._place is None:
                self._parent = self._inotify.add(self._root.directory, made)
            else:
                gone = flags.DELETE | flags.DELETE_SELF | flags.MOVE_SELF | flags.DONT_FOLLOW
                self._parent = self._inotify.add(self._root.workcells, made | gone)
        for workcell in self._root.ids():
            self._add(workcell)

    def wait(self, seconds: float) -> set[str]:
        if self._rearm():
            return set(self._root.ids())
        changed: set[str] = set()
        for event in self._inotify.wait(seconds):
            if event.mask & self._flags.Q_OVERFLOW:
                changed.update(self._root.ids())
            elif event.wd == self._parent:
                # A new directory may have the inode of the old one.
                self._is_dead |= bool(event.mask & (self._flags.IGNORED | self._flags.MOVE_SELF))
                # Watched first, read afterwards, so that what was written in between is seen.
                workcell = self._root.id_of(event.name)
                if event.mask & (self._flags.CREATE | self._flags.MOVED_TO) and self._add(workcell):
                    changed.add(workcell)
            elif event.mask & self._flags.IGNORED:
                self._watched.pop(event.wd, None)
            elif event.name == LOG_FILE and event.wd in self._watched:
                changed.add(self._watched[event.wd])
        return changed.union(self._root.ids()) if self._rearm() else changed

    def _rearm(self) -> bool:
        """Whether another directory is at the path now, which is watched from now on."""
        if not self._is_dead and self._place == _place_of(self._root.workcells):
            return False
        self._arm()
        return True

    def _add(self, workcell: str) -> bool:
        flags = self._flags
        try:
            if not self._root.holds(workcell):
                return False
            watch = self._inotify.add(
                self._root.workcell(workcell),
                flags.MODIFY | flags.CREATE | flags.MOVED_TO | flags.DELETE | flags.DONT_FOLLOW,
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
        self._bell = Bell()
        self._known: list[str] = []
        self._place: _Place | None = None
        self._notify = self._arm()

    def _arm(self) -> RustNotify:
        from watchfiles._rust_notify import RustNotify

        self._known, self._place = self._root.ids(), _place_of(self._root.workcells)
        top = self._root.directory if self._place is None else self._root.workcells
        paths = [str(top), *(str(self._root.workcell(workcell)) for workcell in self._known)]
        return RustNotify(paths, False, False, 0, False, True)  # noqa: FBT003 - the library takes them by position

    def wait(self, seconds: float) -> set[str]:
        found = self._notify.watch(0, 5, max(int(seconds * 1000), 1), self._bell)
        self._bell.clear()
        paths: set[Path] = set() if isinstance(found, str) else {Path(path) for _, path in found}
        changed = {self._root.id_of(path.parent.name) for path in paths if path.name == LOG_FILE}
        is_other = self._root.workcells in paths or self._place != _place_of(self._root.workcells)
        if is_other or self._root.ids() != self._known:
            before: set[str] = set() if is_other else set(self._known)
            self._notify.close()
            self._notify = self._arm()
            changed |= set(self._known) - before
        return changed

    def wake(self) -> None:
        self._bell.ring()

    def close(self) -> None:
        self._notify.close()
