"""Follows the transcripts of agents: what their sessions did, newest first, and what they do, as it is written."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from workcast.broker.root import Root
from workcast.producer.errors import WorkcellBusyError
from workcast.producer.transcripts.discovery import NO_TRANSCRIPTS, Agent, Transcript, files_of, identify
from workcast.producer.transcripts.forks import Forks
from workcast.producer.transcripts.run_sessions import RunSessions, Whose
from workcast.producer.transcripts.session_log import RETRY, SessionLog
from workcast.producer.transcripts.tree_watch import SUFFIX, tree_watcher

SWEEP_S: Final = 5.0
"""How often everything is looked at, whatever the watcher says."""
MISSING_S: Final = 1.0
"""How often a directory that is not there yet is looked for."""
RUNS_S: Final = 0.25
"""How old may be what is known of the root's runs."""
MAX_BUILT: Final = 64
"""Sessions whose readers are kept; the one that changed longest ago is read again when it changes."""

logger = logging.getLogger("workcast.transcripts")


def watch_lock(agent: Agent) -> str:
    """The state file that is locked while somebody follows an agent's transcripts: then hooks leave ends to them."""
    return f"watch-{agent}.lock"


class Follower:
    """Keeps the logs of a root up to what the transcripts in some directories say.

    Args:
        root: where the workcells are made.
        directories: of which agent, and where; one that is not there yet may come.
        since: sessions that have not changed for longer are left alone until they do; None: none are.
        clock: the time now.
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
        """Changed while we watched."""
        self._backlog: OrderedDict[str, None] = OrderedDict()
        """There when we came; the newest is the last."""
        self._built: OrderedDict[str, None] = OrderedDict()
        self._due: dict[str, datetime] = {}
        self._swept_at = -SWEEP_S
        self._stop = threading.Event()

    def stop(self) -> None:
        """Let :meth:`run` return; may be called from any thread."""
        self._stop.set()
        self._watcher.wake()

    def run(self, *, until_told: bool = False) -> None:
        """Follow until :meth:`stop`; with ``until_told``, only until all that there is has been told.

        Raises:
            RootError: the root cannot be written.
        """
        self._root.prepare()
        try:
            with self._hold_locks():
                while not self._stop.is_set() and self._step(until_told=until_told):
                    pass
        finally:
            self._watcher.close()

    def _step(self, *, until_told: bool) -> bool:
        """Wait for something to do, and do some of it; False: there was nothing, and nothing was waited for."""
        now = time.monotonic()
        if now - self._swept_at >= SWEEP_S or self._watch_new():
            self._sweep()
            self._swept_at = now
        if until_told and not self._hot and not self._backlog:
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
        """How long nothing needs to be done, if nothing changes."""
        seconds = self._swept_at + SWEEP_S - now
        if len(self._watching) < len(self._directories):
            seconds = min(seconds, MISSING_S)
        if self._due:
            seconds = min(seconds, (min(self._due.values()) - self._clock()).total_seconds())
        return max(seconds, 0.0)

    def _watch_new(self) -> bool:
        """Watch the directories that have come; True: one has."""
        new = [one for one in self._directories.values() if one not in self._watching and one.is_dir()]
        for directory in new:
            self._watcher.watch(directory)
            self._watching.add(directory)
        return bool(new)

    # ── what there is ───────────────────────────────────────────────────────────────────────────────────────────────
    def _sweep(self) -> None:
        """Look at all transcripts: at first those that are there are the backlog, later what was missed is hot."""
        self._watch_new()
        first = self._swept_at < 0
        for _, path in sorted((changed, path) for path, changed in self._changed_files()):
            workcell = self._take(path)
            if workcell is None or self._sessions[workcell].is_told():
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
        """A file changed."""
        workcell = self._take(path)
        if workcell is not None:
            self._hot[workcell] = None

    def _take(self, path: Path) -> str | None:
        """The workcell of a file's session; None if it cannot be told yet whose it is."""
        transcript = self._transcripts.get(path)
        if transcript is None:
            transcript = identify(path)
            if transcript is None or transcript.agent not in self._directories:
                self._stamps.pop(path, None)  # the next sweep asks again
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

    # ── what is told ────────────────────────────────────────────────────────────────────────────────────────────────
    def _sync(self, workcell: str) -> None:
        """Tell what is new of a session, as much as takes a moment."""
        session = self._sessions[workcell]
        first = session.transcripts[0]
        match self._whose(first):
            case "run":
                self._let_go(workcell)
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
            logger.warning("%s cannot be written now: %s; it is tried again", workcell, error)
            session.forget()
            self._due[workcell] = self._clock() + timedelta(seconds=SWEEP_S)
            return
        except Exception:  # one session that we cannot read must not keep all others from being told
            logger.exception("%s cannot be told; it is left alone until it changes", workcell)
            self._let_go(workcell)
            return
        self._keep_built(workcell)

    def _whose(self, transcript: Transcript) -> Whose:
        if time.monotonic() - self._runs_at >= RUNS_S:
            self._runs.refresh()
            self._runs_at = time.monotonic()
        return self._runs.whose(transcript.agent, transcript.session)

    def _settle(self) -> None:
        """Tell the ends that nothing but time tells."""
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

    def _let_go(self, workcell: str) -> None:
        self._due.pop(workcell, None)
        self._built.pop(workcell, None)
        self._sessions[workcell].forget()

    @contextlib.contextmanager
    def _hold_locks(self) -> Generator[None]:
        """Let hooks know that the ends of turns are told by us."""
        with contextlib.ExitStack() as stack:
            for agent in self._directories:
                lock = stack.enter_context((self._root.state / watch_lock(agent)).open("a"))
                fcntl.flock(lock, fcntl.LOCK_SH)
            yield


def _files_below(directory: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """The transcripts in a directory and below, as they are now."""
    pending = [str(directory)]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if entry.name not in NO_TRANSCRIPTS:
                            pending.append(entry.path)
                    elif entry.name.endswith(SUFFIX):
                        yield Path(entry.path), entry.stat()
        except OSError:
            continue
