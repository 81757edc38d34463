"""The sessions that ``workcast run`` started in a root, whose events are in the logs of their runs."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydantic_core import from_json

from workcast.broker.below import list_directory, open_below, stat_below
from workcast.broker.files import is_locked
from workcast.broker.names import LOG_FILE, RUN_LOCK_FILE
from workcast.broker.root import Root
from workcast.events.json_value import as_object
from workcast.producer.transcripts.discovery import SESSION

_RELEVANT: Final = re.compile(rb'"type":\s*"(?:started|prompt_sent|completed)"')
_TYPE_BYTES: Final = 4096
"""An event's type is within its first bytes."""
_SCAN_BYTES: Final = 4 << 20

Owner = Literal["run", "free", "unknown"]
"""``unknown``: a run of this agent is just starting, and has not printed its session yet."""


@dataclass(slots=True)
class _Log:
    """How far a run's log was read."""

    inode: int = -1
    position: int = 0
    starting: str | None = None
    """The agent whose prompt was sent and which has not started yet."""


class RunSessions:
    """Reads the logs of a root's runs, and later what was added to them.

    A run writes the prompt before it starts the agent, and ``started`` with the session's id after that. The transcript
    may exist in between: while any run is between the two, a new session of that agent may be the run's.
    """

    def __init__(self, root: Root) -> None:
        self._root = root
        self._logs: dict[str, _Log] = {}
        self._sessions: set[str] = set()

    def refresh(self) -> None:
        """Read what was added to the logs."""
        try:
            names = list_directory(self._root.workcells).directories
        except OSError:
            return
        for name in names:
            if not SESSION.fullmatch(name) and not name.startswith("."):
                self._read(self._logs.setdefault(name, _Log()), self._root.workcells / name / LOG_FILE)

    def owner_of(self, agent: str, session: str) -> Owner:
        """Return who owns a session, according to the last :meth:`refresh`: a run, or no run (``free``)."""
        if session in self._sessions:
            return "run"
        starting = [name for name, log in self._logs.items() if log.starting == agent]
        return "unknown" if any(map(self._is_running, starting)) else "free"

    def _is_running(self, name: str) -> bool:
        """Whether a run holds the workcell; one that was killed does not."""
        return is_locked(self._root.workcells / name / RUN_LOCK_FILE)

    def _read(self, log: _Log, path: Path) -> None:
        try:
            status = stat_below(path)
            if status is None:
                return
            if status.st_ino != log.inode or status.st_size < log.position:
                log.inode, log.position = status.st_ino, 0
            if status.st_size == log.position:
                return
            with os.fdopen(open_below(path, os.O_RDONLY), "rb") as file:
                file.seek(log.position)
                while lines := file.readlines(_SCAN_BYTES):
                    for line in lines:
                        if not line.endswith(b"\n"):
                            return
                        log.position += len(line)
                        if _RELEVANT.search(line, 0, _TYPE_BYTES):
                            self._apply(log, line)
        except OSError:
            return  # the log is gone

    def _apply(self, log: _Log, line: bytes) -> None:
        try:
            event = as_object(from_json(line))
        except ValueError:
            return
        if event is None or "source" in event:
            return  # an event from a transcript or a hook
        match event:
            case {"type": "prompt_sent"}:
                agent = event.get("toolchain")
                log.starting = agent if isinstance(agent, str) else None
            case {"type": "started"}:
                log.starting = None
                if isinstance(session := event.get("session_id"), str):
                    self._sessions.add(session)
            case {"type": "completed"}:
                log.starting = None
            case _:
                pass
