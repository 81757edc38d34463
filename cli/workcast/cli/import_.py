"""``import``: a session that an agent has kept on disk becomes a workcell."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import tenacity
import typer

from workcast.broker.root import Root
from workcast.broker.running import find_up, served
from workcast.events.errors import WorkcastError
from workcast.producer.errors import WorkcellBusyError
from workcast.producer.transcripts.checkpoint import load
from workcast.producer.transcripts.discovery import Transcript, files_of, identify
from workcast.producer.transcripts.run_sessions import RunSessions
from workcast.producer.transcripts.session_log import SessionLog

BUSY_S: Final = 10.0
T = TypeVar("T")


class TranscriptError(WorkcastError):
    """A file is no transcript, or its session is told elsewhere."""


def import_transcript(root: Root, file: Path, workcell: str | None) -> None:
    """Bring a session into a root, with its sub-agents' files; prints the workcell's id.

    Raises:
        WorkcastError: the root is not there, the file is no transcript, the log cannot be written, or a run of this
            root tells of the session.
    """
    root.check()
    root = served(root)
    transcript = _identify(file)
    runs = RunSessions(root)
    runs.refresh()
    if runs.owner_of(transcript.agent, transcript.session) == "run":
        raise TranscriptError(
            f"expected a session that workcast did not start, got {transcript.session}, of which a run in "
            f"{root.directory} tells already; name another --root to import it once more"
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
    typer.echo(session.workcell)
    running = find_up(root)
    where = f"{running.http_url}/#/w/{session.workcell}" if running else str(root.log(session.workcell))
    typer.echo(f"{session.workcell}: {where}", err=True)


def _identify(file: Path) -> Transcript:
    if not file.is_file():
        raise TranscriptError(f"expected a transcript, got {file}, which is no file; name one")
    found = identify(file.absolute())
    if found is None:
        raise TranscriptError(
            f"expected a transcript of Claude Code (projects/**/*.jsonl) or Codex (sessions/**/rollout-*.jsonl), "
            f"got {file}, in whose first lines no session is named"
        )
    return found


def _family(root: Root, transcript: Transcript, workcell: str) -> list[Transcript]:
    """The session's files: those beside this one, and those that were imported earlier."""
    kept = load(root, workcell)
    paths = [Path(state.path) for state in kept.files.values()] if kept is not None else []
    earlier = [identify(path) for path in paths if path.is_file()]
    same = [one for one in earlier if one is not None and one.session == transcript.session]
    return sorted([transcript, *files_of(transcript), *same], key=lambda one: one.sub_agent is not None)


@tenacity.retry(
    stop=tenacity.stop_after_delay(BUSY_S),
    wait=tenacity.wait_fixed(0.05),
    retry=tenacity.retry_if_exception_type(WorkcellBusyError),
    reraise=True,
    sleep=time.sleep,
)
def _patiently(step: Callable[[], T]) -> T:
    """Somebody may follow the same session just now: they hold its log for moments."""
    return step()
