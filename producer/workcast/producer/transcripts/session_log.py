"""Writing one session's transcripts to its workcell's log: each event once, whichever process is killed or writes too.

The log contains the source of every event, so what was written is found there. A checkpoint beside it saves reading:
it says how far the files were read, and how long the log was then. It is written after the log, and is only used while
both are what it was made of; otherwise everything is read again, and events that are in the log are skipped.
"""

from __future__ import annotations

import heapq
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from workcast.broker.appender import Appender
from workcast.broker.below import open_below, stat_below
from workcast.broker.log import parse_header
from workcast.broker.names import SESSION_INDEX_SUFFIX, state_file
from workcast.broker.root import Root
from workcast.events.codec import dump
from workcast.events.cut_line import size_of
from workcast.producer.session_index import SessionIndex
from workcast.producer.transcripts.base import Links, SourcedEvent
from workcast.producer.transcripts.checkpoint import Checkpoint, load, save
from workcast.producer.transcripts.discovery import Transcript
from workcast.producer.transcripts.forks import Forks
from workcast.producer.transcripts.logged_events import LoggedEvents
from workcast.producer.transcripts.session_file import MAIN, SessionFile
from workcast.producer.transcripts.session_lock import hold_session
from workcast.producer.transcripts.tail import Tail

SETTLE: Final = timedelta(seconds=2)
"""A turn is over once nothing has followed its end for so long."""
SILENCE: Final = timedelta(hours=1)
"""A turn in which nothing happens for so long is cancelled: its agent was probably killed."""
UNLINKED: Final = timedelta(seconds=3)
"""How long a sub-agent's file waits for the line with the call that started it."""
RETRY: Final = timedelta(seconds=0.5)
SLICE_BYTES: Final = 8 << 20
APPEND_BYTES: Final = 1 << 20

logger = logging.getLogger("workcast.transcripts")


def _now() -> datetime:
    return datetime.now(UTC)


class SessionLog:
    """Writes the events of one session's files to the log of its workcell.

    Args:
        root: where the workcell is.
        workcell: its id.
        clock: returns the time.
        forks: finds the sessions that are copies; shared by the logs of many sessions.
    """

    def __init__(
        self, root: Root, workcell: str, clock: Callable[[], datetime] = _now, forks: Forks | None = None
    ) -> None:
        self.workcell = workcell
        self._root = root
        self._log = root.log(workcell)
        self._clock = clock
        self._forks = forks or Forks()
        self._transcripts: dict[str, Transcript] = {}
        self._files: dict[str, SessionFile] = {}
        self._links = Links()
        self._built = False
        self._logged = LoggedEvents()
        self._scanned: tuple[int, int] = (0, 0)
        """The log's inode and how much of it was read."""
        self._safe = 0
        self._kept: Checkpoint | None = None
        self._waiting: list[SourcedEvent] = []
        """Read, but not in the log yet. While another process writes to the log, nothing more is read."""

    @property
    def transcripts(self) -> Sequence[Transcript]:
        """The session's files."""
        return tuple(self._transcripts.values())

    def add(self, transcript: Transcript) -> None:
        """Add a file of the session; of two with the same name, the first one stays."""
        name = transcript.sub_agent or MAIN
        if name not in self._transcripts:
            self._transcripts[name] = transcript
            if self._kept is not None and name in self._kept.files:
                self.forget()  # it was written in part: reading everything again finds how far
            elif self._built:
                self._files[name] = SessionFile(transcript, self._links)

    @property
    def is_unwritten(self) -> bool:
        """Whether events were read that could not be written yet."""
        return bool(self._waiting)

    @property
    def is_open(self) -> bool:
        """Whether a turn or a call waits for its end, or an event for the log."""
        return bool(self._waiting) or any(file.reader.busy for file in self._files.values())

    @property
    def due(self) -> datetime | None:
        """When to call :meth:`sync` and :meth:`settle` next; None: when a file has changed."""
        readers = [file.reader for file in self._files.values() if file.reader.busy]
        if self._waiting or any(not file.is_linked() for file in self._files.values()):
            return self._clock() + RETRY
        over = [reader.last_at + SETTLE for reader in readers if reader.turn == "over"]
        silent = max((reader.last_at + SILENCE for reader in readers), default=None)
        return min(over) if over else silent

    def is_current(self) -> bool:
        """Whether, according to the checkpoint, the log contains everything, so that nothing has to be read."""
        kept = self._kept or load(self._root, self.workcell)
        return (
            kept is not None
            and kept.settled
            and self._log_stamp() == (kept.inode, kept.size)
            and kept.files.keys() >= self._transcripts.keys()
            and all(kept.files[name].stamp == Tail(t.path).current_stamp() for name, t in self._transcripts.items())
        )

    def is_removed(self) -> bool:
        """Whether the workcell was removed, and no transcript has changed since: it must not be written again."""
        at = self._root.removed_at(self.workcell)
        return at is not None and all(_changed_at(one.path) <= at for one in self._transcripts.values())

    def forget(self) -> None:
        """Drop what was read; a later :meth:`sync` reads it again."""
        self._files.clear()
        self._waiting.clear()
        self._built, self._logged, self._links = False, LoggedEvents(), Links()

    def sync(self, limit: int = SLICE_BYTES) -> bool:
        """Write new events, reading about ``limit`` bytes; return whether there is more to read.

        Raises:
            WorkcellBusyError: another process is writing the log; nothing is lost, call again.
            OSError: the log cannot be written; nothing is lost, call again.
        """
        if self._built and not (self._log_continues() and all(f.tail.continues() for f in self._files.values())):
            logger.info("%s: a transcript or the log was cut back or replaced; everything is read again", self.workcell)
            self.forget()
            self._build(None)
        if not self._built:
            self._build(load(self._root, self.workcell))
        more = False
        if not self._waiting:
            more = self._read(limit)
        self._write()
        return more

    def settle(self, *, final: bool = False) -> None:
        """Write what is inferred from silence. ``final``: no more lines will come.

        Raises:
            WorkcellBusyError, OSError: as from :meth:`sync`.
        """
        now = self._clock()
        files = list(self._files.values())
        silent = all(now - file.reader.last_at >= SILENCE for file in files)
        for reader in (file.reader for file in files):
            if reader.turn == "over" and (final or now - reader.last_at >= SETTLE):
                self._waiting += reader.settle()
            if silent and reader.busy:
                self._waiting += reader.abandon()
        self._write()

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def _read(self, limit: int) -> bool:
        """Feed the readers, in the order of the lines' times over all files; return whether there is more."""
        young = self._clock() - UNLINKED
        # A line of one file may be what another file is waiting for.
        while queue := _queue(f for f in self._files.values() if f.is_ready() and (f.next_at < young or f.is_linked())):
            while queue and limit > 0:
                _, number, file = queue[0]
                limit -= self._feed(file)
                if not file.is_ready():
                    heapq.heappop(queue)
                elif len(queue) > 1:
                    heapq.heapreplace(queue, (file.next_at, number, file))
            if limit <= 0:
                return True
        return False

    def _feed(self, file: SessionFile) -> int:
        known = file.tail.position < file.known
        if not known and self._logged.has_source(file.reader.silence_source):
            file.reader.was_abandoned()
        line = file.tail.take()
        events = file.reader.feed(line)
        if not known:
            self._waiting += events
        return size_of(line) + 1

    def _build(self, kept: Checkpoint | None) -> None:
        """Restore the readers' state by reading what is in the log already: up to the checkpoint, if it is valid."""
        for name, transcript in self._transcripts.items():
            self._files[name] = SessionFile(transcript, self._links, self._forks.copied(transcript))
        if kept is not None and not self._is_valid(kept):
            kept = None
        inode = self._log_stamp()[0]
        self._safe = kept.safe if kept is not None and kept.inode == inode else 0
        self._logged, self._scanned = LoggedEvents(), (inode, self._safe)
        self._scan_log()
        self._kept, self._built = kept, True
        if kept is None:
            return
        for name, state in kept.files.items():
            if name in self._files:
                self._files[name].known = state.position
        self._skip_known()
        for file in self._files.values():
            if file.name in kept.abandoned:
                file.reader.was_abandoned()
            elif file.known and file.name not in kept.ending:
                file.reader.settle()  # the log contains this

    def _is_valid(self, kept: Checkpoint) -> bool:
        inode, size = self._log_stamp()
        if (inode != kept.inode or size < kept.size) and not self._is_rewritten():
            return False
        return all(f.tail.matches(kept.files[name]) for name, f in self._files.items() if name in kept.files)

    def _log_continues(self) -> bool:
        inode, size = self._log_stamp()
        return (self._scanned[0] in {0, inode} and size >= self._scanned[1]) or self._is_rewritten()

    def _is_rewritten(self) -> bool:
        """Whether workcast rewrote the log, perhaps without its oldest events."""
        try:
            with os.fdopen(open_below(self._log, os.O_RDONLY), "rb") as log:
                return parse_header(log.readline(512).rstrip(b"\n")) is not None
        except OSError:
            return False

    def _skip_known(self) -> None:
        queue = _queue(f for f in self._files.values() if f.tail.position < f.known and f.is_ready())
        while queue:
            _, number, file = heapq.heappop(queue)
            self._feed(file)
            if file.tail.position < file.known and file.is_ready():
                heapq.heappush(queue, (file.next_at, number, file))

    # ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def _write(self) -> None:
        if self._waiting:
            with hold_session(self._root, self.workcell):
                try:
                    self._scan_log()
                    self._append([sourced for sourced in self._waiting if not self._logged.take(sourced)])
                    self._logged.end_batch()
                    self._index()
                except BaseException:
                    self.forget()  # the log will show what of it was written
                    raise
        if self._built:
            self._keep()

    def _append(self, waiting: Iterable[SourcedEvent]) -> None:
        with Appender(self._log) as appender:
            batch = bytearray()
            for sourced in waiting:
                batch += self._line(sourced)
                if len(batch) >= APPEND_BYTES:
                    appender.append(bytes(batch))
                    batch.clear()
            if batch:
                appender.append(bytes(batch))
        self._waiting = []
        self._scanned = self._log_stamp()  # only our lines were added, as we hold the session's lock

    def _index(self) -> None:
        """Update the index of hooks, if a hook has made one."""
        path = self._root.state / state_file(self._root.local(self.workcell), SESSION_INDEX_SUFFIX)
        if stat_below(path) is not None:
            SessionIndex(path, self._log).catch_up()

    def _line(self, sourced: SourcedEvent) -> bytes:
        context: dict[str, Any] = {"workcell_id": self.workcell, "source": sourced.source}
        if sourced.event.toolchain is None:
            context["toolchain"] = self.transcripts[0].agent
        if sourced.model is not None:
            context["model"] = sourced.model
        return dump(sourced.event.model_copy(update=context)) + b"\n"

    def _scan_log(self) -> None:
        """Read what other processes have written since the last time."""
        inode, size = self._log_stamp()
        seen_inode, position = self._scanned
        if inode != seen_inode or size < position:
            position, self._logged, self._safe = 0, LoggedEvents(), 0
        if size > position:
            self._logged.scan(self._log, position, size)
        self._scanned = (inode, size)

    def _log_stamp(self) -> tuple[int, int]:
        status = stat_below(self._log)
        return (0, 0) if status is None else (status.st_ino, status.st_size)

    def _keep(self) -> None:
        """Write the checkpoint if the log exists, after everything that it says is in there."""
        inode, size = self._scanned
        if not inode:
            return
        if not self._logged:
            self._safe = size
        files = self._files.values()
        before = {} if self._kept is None else self._kept.files
        kept = Checkpoint(
            inode=inode,
            size=size,
            safe=self._safe,
            settled=not self.is_open and all(file.tail.is_at_end for file in files),
            ending=[file.name for file in files if file.reader.turn == "over"],
            abandoned=[file.name for file in files if file.reader.abandoned],
            files={**before, **{file.name: file.tail.to_state() for file in files}},
        )
        if kept != self._kept:
            save(self._root, self.workcell, kept)
            self._kept = kept


def _queue(files: Iterable[SessionFile]) -> list[tuple[datetime, int, SessionFile]]:
    """Return the files by the time of their next line; the number orders files with the same time."""
    queue = [(file.next_at, number, file) for number, file in enumerate(files)]
    heapq.heapify(queue)
    return queue


def _changed_at(path: Path) -> int:
    status = stat_below(path)
    return 0 if status is None else status.st_mtime_ns
