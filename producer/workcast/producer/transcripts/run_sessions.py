"""The sessions that ``workcast run`` started in a root: their runs tell of them."""

from __future__ import annotations

import fcntl
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydantic_core import from_json

from workcast.broker.names import LOG_FILE, RUN_LOCK_FILE
from workcast.broker.root import Root
from workcast.events.json_value import as_object
from workcast.producer.transcripts.discovery import SESSION

_MARKS: Final = re.compile(rb'"type":\s*"(?:started|prompt_sent|completed)"')
_MARK_BYTES: Final = 4096
"""An event's type stands at its beginning."""
_SCAN_BYTES: Final = 4 << 20

Whose = Literal["run", "free", "unknown"]
"""``unknown``: a run of this agent is just starting, and has not said yet which session is its own."""


@dataclass(slots=True)
class _Log:
    """A run's log, as far as it was looked at."""

    inode: int = -1
    position: int = 0
    starting: str | None = None
    """The agent that was given its prompt and has not started yet."""


class RunSessions:
    """Reads the logs of a root's runs, and what was added to them since.

    A run writes the prompt before it starts the agent, and ``started`` with the session's id after it. In between its
    transcript may be there already: as long as some run is between the two, no session of that agent can be told from
    a run's.
    """

    def __init__(self, root: Root) -> None:
        self._root = root
        self._logs: dict[str, _Log] = {}
        self._sessions: set[str] = set()

    def refresh(self) -> None:
        """Look at the logs again."""
        try:
            names = os.listdir(self._root.workcells)  # noqa: PTH208 - only names, and often
        except OSError:
            return
        for name in names:
            if not SESSION.fullmatch(name) and not name.startswith("."):
                self._look(self._logs.setdefault(name, _Log()), self._root.workcells / name / LOG_FILE)

    def whose(self, agent: str, session: str) -> Whose:
        """Whose a session is, as far as the logs told at the last :meth:`refresh`."""
        if session in self._sessions:
            return "run"
        starting = [name for name, log in self._logs.items() if log.starting == agent]
        return "unknown" if any(map(self._is_running, starting)) else "free"

    def _is_running(self, name: str) -> bool:
        """Whether a run holds the workcell; what was killed holds nothing."""
        try:
            descriptor = os.open(self._root.workcells / name / RUN_LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def _look(self, log: _Log, path: Path) -> None:
        try:
            status = path.stat()
            if status.st_ino != log.inode or status.st_size < log.position:
                log.inode, log.position = status.st_ino, 0
            if status.st_size == log.position:
                return
            with path.open("rb") as file:
                file.seek(log.position)
                while lines := file.readlines(_SCAN_BYTES):
                    for line in lines:
                        if not line.endswith(b"\n"):
                            return
                        log.position += len(line)
                        if _MARKS.search(line, 0, _MARK_BYTES):
                            self._take(log, line)
        except OSError:
            return  # it is gone

    def _take(self, log: _Log, line: bytes) -> None:
        try:
            event = as_object(from_json(line))
        except ValueError:
            return
        if event is None or "source" in event:
            return  # a transcript's or a hook's own
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
