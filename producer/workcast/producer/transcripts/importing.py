"""Importing one session: everything that an agent has kept of it on disk, at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import tenacity

from workcast.broker.root import Root
from workcast.events.errors import WorkcastError
from workcast.producer.errors import WorkcellBusyError
from workcast.producer.transcripts.checkpoint import load
from workcast.producer.transcripts.discovery import Transcript, files_of, identify
from workcast.producer.transcripts.run_sessions import RunSessions
from workcast.producer.transcripts.session_log import SessionLog

BUSY_S: Final = 10.0
T = TypeVar("T")


class TranscriptError(WorkcastError):
    """A file is not a transcript, its session belongs to a run, or its log cannot be written."""


def import_session(root: Root, file: Path, workcell: str | None = None) -> str:
    """Write a session to a root's log, with its sub-agents' files; return the workcell's id.

    Args:
        root: where the workcell is.
        file: any transcript of the session.
        workcell: the workcell's id; None: made from the session's.

    Raises:
        TranscriptError: the file is not a transcript, a run of this root has the session, or the log cannot be written.
        WorkcellBusyError: another process has been writing the session's log for 10 s.
    """
    transcript = _identify(file)
    runs = RunSessions(root)
    runs.refresh()
    if runs.owner_of(transcript.agent, transcript.session) == "run":
        raise TranscriptError(
            f"expected a session that workcast did not start, got {transcript.session}, whose events a run in "
            f"{root.directory} has recorded; name another --root to import it once more"
        )
    session = SessionLog(root, root.id_of(workcell or transcript.workcell))
    for one in _family(root, transcript, session.workcell):
        session.add(one)
    try:
        while _patiently(session.sync):
            pass
        _patiently(lambda: session.settle(final=True))
    except OSError as error:
        raise TranscriptError(f"cannot write {root.log(session.workcell)}: {error.strerror}") from error
    return session.workcell


def _identify(file: Path) -> Transcript:
    if not file.is_file():
        raise TranscriptError(f"expected a transcript, got {file}, which is not a file; name one")
    found = identify(file.absolute())
    if found is None:
        raise TranscriptError(
            f"expected a transcript of Claude Code (projects/**/*.jsonl) or Codex (sessions/**/rollout-*.jsonl), "
            f"got {file}, whose first lines name no session"
        )
    return found


def _family(root: Root, transcript: Transcript, workcell: str) -> list[Transcript]:
    """Return the session's files: those beside this one, and those that were imported earlier."""
    kept = load(root, workcell)
    paths = [Path(state.path) for state in kept.files.values()] if kept is not None else []
    earlier = [identify(path) for path in paths if _is_file(path)]
    same = [one for one in earlier if one is not None and one.session == transcript.session]
    return sorted([transcript, *files_of(transcript), *same], key=lambda one: one.sub_agent is not None)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a path that no file can have
        return False


@tenacity.retry(
    stop=tenacity.stop_after_delay(BUSY_S),
    wait=tenacity.wait_fixed(0.05),
    retry=tenacity.retry_if_exception_type(WorkcellBusyError),
    reraise=True,
)
def _patiently(step: Callable[[], T]) -> T:
    """Repeat a step while another process, such as a follower, holds the session's log for a moment."""
    return step()
