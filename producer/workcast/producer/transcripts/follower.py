"""Following the transcripts of agents: past sessions, the newest first, and current ones as they are written."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from workcast.broker.files import lock_file
from workcast.broker.names import watch_lock_file
from workcast.broker.root import Root
from workcast.producer.errors import WorkcellBusyError
from workcast.producer.transcripts.discovery import NO_TRANSCRIPTS, Agent, Transcript, files_of, identify
from workcast.producer.transcripts.forks import Forks
from workcast.producer.transcripts.run_sessions import Owner, RunSessions
from workcast.producer.transcripts.session_log import RETRY, SessionLog
from workcast.producer.transcripts.tree_watch import SUFFIX, tree_watcher

SWEEP_S: Final = 5.0
"""How often all files are checked, whatever the watcher reports."""
MISSING_S: Final = 1.0
"""How often a missing directory is looked for."""
RUNS_S: Final = 0.25
"""The maximum age of what is known about the root's runs."""
LOCK_WAIT_S: Final = 10.0
"""For the lock of an agent's transcripts, which hooks hold for moments."""
MAX_BUILT: Final = 64
"""Sessions whose readers are kept; the others are read again when they change."""

logger = logging.getLogger("workcast.transcripts")


class Follower:
    """Keeps the logs of a root up to date with the transcripts in some directories.

    Args:
        root: where the workcells are.
        directories: the directory of each agent; it may be missing at first.
        since: sessions that have not changed for longer are ignored until they change; None: none are ignored.
        clock: returns the time.
    """

    def __init__(
        self,
        root: Root,
        directories: Mapping[Agent, Path],
        since: timedelta | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._root = root
        self._directories = directories
        self._since = since
        self._clock = clock
        self._watcher = tree_watcher()
        self._watching: set[Path] = set()
        self._runs = RunSessions(root)
        self._runs_at = -RUNS_S
        self._forks = Forks()
        self._stamps: dict[Path, tuple[int, int]] = {}
        self._transcripts: dict[Path, Transcript] = {}
        self._sessions: dict[str, SessionLog] = {}
        self._hot: OrderedDict[str, None] = OrderedDict()
        """Sessions that changed while we watched."""
        self._backlog: OrderedDict[str, None] = OrderedDict()
        """Sessions from before the start; the newest is the last."""
        self._built: OrderedDict[str, None] = OrderedDict()
        self._due: dict[str, datetime] = {}
        self._swept_at = -SWEEP_S
        self._stop = threading.Event()

    def stop(self) -> None:
        """Make :meth:`run` return; may be called from any thread."""
        self._stop.set()
        self._watcher.wake()

    def run(self, *, until_caught_up: bool = False) -> None:
        """Follow until :meth:`stop`; with ``until_caught_up``, only until all sessions are in their logs.

        Raises:
            RootError: the root cannot be written.
        """
        self._root.prepare()
        try:
            with self._hold_locks():
                while not self._stop.is_set() and self._step(until_caught_up=until_caught_up):
                    pass
        finally:
            self._watcher.close()

    def _step(self, *, until_caught_up: bool) -> bool:
        """Wait for work and do some of it; False: caught up."""
        now = time.monotonic()
        if now - self._swept_at >= SWEEP_S or self._watch_new():
            self._sweep()
            self._swept_at = now
        if until_caught_up and not self._hot and not self._backlog:
            return False
        busy = bool(self._hot or self._backlog)
        for path in self._watcher.wait(0 if busy else self._patience(now)):
            self._note(path)
        self._settle()
        for workcell in list(self._hot):
            del self._hot[workcell]
            self._sync(workcell)
        if self._backlog and not self._hot:
            self._sync(self._backlog.popitem()[0])
        return True

    def _patience(self, now: float) -> float:
        """Return for how long nothing has to be done, unless a file changes."""
        seconds = self._swept_at + SWEEP_S - now
        if len(self._watching) < len(self._directories):
            seconds = min(seconds, MISSING_S)
        if self._due:
            seconds = min(seconds, (min(self._due.values()) - self._clock()).total_seconds())
        return max(seconds, 0.0)

    def _watch_new(self) -> bool:
        """Watch directories that have appeared; return whether there are any."""
        new = [one for one in self._directories.values() if one not in self._watching and one.is_dir()]
        for directory in new:
            self._watcher.watch(directory)
            self._watching.add(directory)
        return bool(new)

    # ── finding sessions ────────────────────────────────────────────────────────────────────────────────────────────
    def _sweep(self) -> None:
        """Check all transcripts: at the start they are the backlog; later, those that were missed are hot."""
        self._watch_new()
        first = self._swept_at < 0
        for _, path in sorted((changed, path) for path, changed in self._changed_files()):
            workcell = self._add(path)
            if workcell is None or self._sessions[workcell].is_current():
                continue
            if not first:
                self._hot[workcell] = None
            else:
                self._backlog[workcell] = None
                self._backlog.move_to_end(workcell)

    def _changed_files(self) -> Iterator[tuple[Path, float]]:
        oldest = 0.0 if self._since is None else (self._clock() - self._since).timestamp()
        for directory in self._directories.values():
            for path, status in _files_below(directory):
                stamp = (status.st_size, status.st_mtime_ns)
                if status.st_mtime >= oldest and self._stamps.get(path) != stamp:
                    self._stamps[path] = stamp
                    yield path, status.st_mtime

    def _note(self, path: Path) -> None:
        """Note that a file changed."""
        workcell = self._add(path)
        if workcell is not None:
            self._hot[workcell] = None

    def _add(self, path: Path) -> str | None:
        """Return the workcell of a file's session; None if the session is not known yet."""
        transcript = self._transcripts.get(path)
        if transcript is None:
            transcript = identify(path)
            if transcript is None or transcript.agent not in self._directories:
                self._stamps.pop(path, None)  # the next sweep tries again
                return None
            self._transcripts[path] = transcript
        session = self._sessions.get(transcript.workcell)
        if session is None:
            session = SessionLog(self._root, self._root.id_of(transcript.workcell), self._clock, self._forks)
            self._sessions[transcript.workcell] = session
            for other in files_of(transcript, thorough=False):
                session.add(other)
        session.add(transcript)
        return transcript.workcell

    # ── writing sessions ────────────────────────────────────────────────────────────────────────────────────────────
    def _sync(self, workcell: str) -> None:
        """Write new events of a session, as many as take a moment."""
        session = self._sessions[workcell]
        if session.is_removed():
            self._drop(workcell)
            return
        first = session.transcripts[0]
        match self._owner_of(first):
            case "run":
                self._drop(workcell)
                return
            case "unknown":
                self._due[workcell] = self._clock() + RETRY / 2
                return
            case "free":
                pass
        try:
            if session.sync():
                self._backlog[workcell] = None
            else:
                session.settle()
        except WorkcellBusyError:
            pass  # tried again when it is due
        except OSError as error:
            logger.warning("%s cannot be written now: %s; trying again", workcell, error)
            session.forget()
            self._due[workcell] = self._clock() + timedelta(seconds=SWEEP_S)
            return
        except Exception:  # one session that cannot be read must not stop the others
            logger.exception("%s cannot be read; it is ignored until it changes", workcell)
            self._drop(workcell)
            return
        self._keep_built(workcell)

    def _owner_of(self, transcript: Transcript) -> Owner:
        if time.monotonic() - self._runs_at >= RUNS_S:
            self._runs.refresh()
            self._runs_at = time.monotonic()
        return self._runs.owner_of(transcript.agent, transcript.session)

    def _settle(self) -> None:
        """Mark the sessions as hot whose time has come."""
        now = self._clock()
        for workcell in [workcell for workcell, due in self._due.items() if due <= now]:
            del self._due[workcell]
            self._hot[workcell] = None

    def _keep_built(self, workcell: str) -> None:
        due = self._sessions[workcell].due
        if due is None:
            self._due.pop(workcell, None)
        else:
            self._due[workcell] = due
        self._built.pop(workcell, None)
        self._built[workcell] = None
        idle = [name for name in self._built if name not in self._backlog]
        for name in idle[: max(0, len(self._built) - MAX_BUILT)]:
            del self._built[name]
            if not self._sessions[name].is_unwritten:
                self._sessions[name].forget()

    def _drop(self, workcell: str) -> None:
        self._due.pop(workcell, None)
        self._built.pop(workcell, None)
        self._sessions[workcell].forget()

    @contextlib.contextmanager
    def _hold_locks(self) -> Generator[None]:
        """Hold the locks by which hooks leave the ends of turns to us."""
        with contextlib.ExitStack() as stack:
            for agent in self._directories:
                stack.enter_context(lock_file(self._root.state / watch_lock_file(agent), shared=True, wait=LOCK_WAIT_S))
            yield


def _files_below(directory: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Find the transcripts in a directory and below, with their status; what cannot be read is skipped."""
    pending = [str(directory)]
    while pending:
        try:
            with os.scandir(pending.pop()) as scan:
                entries = list(scan)
        except OSError:
            continue
        for entry in entries:
            with contextlib.suppress(OSError):  # a link to nothing, or a file that has just been removed
                if entry.is_dir(follow_symlinks=False):
                    if entry.name not in NO_TRANSCRIPTS:
                        pending.append(entry.path)
                elif entry.name.endswith(SUFFIX):
                    yield Path(entry.path), entry.stat()
