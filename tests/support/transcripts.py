"""Transcripts kept by real agents, and the events that are made of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from workcast.broker.root import Root
from workcast.events.codec import dump
from workcast.producer.transcripts.base import Links, SourcedEvent, TranscriptReader
from workcast.producer.transcripts.claude_transcript import ClaudeTranscript
from workcast.producer.transcripts.codex_rollout import CodexRollout
from workcast.producer.transcripts.discovery import Transcript, identify
from workcast.producer.transcripts.session_log import SessionLog

FOLDER: Final = Path(__file__).parent.parent / "recordings"
SESSIONS: Final = {
    path.name.removesuffix(".session.jsonl"): [path, *sorted(FOLDER.glob(f"{path.stem}.[0-9].jsonl"))]
    for path in sorted(FOLDER.glob("*.session.jsonl"))
    if re.match("claude|codex", path.name)
}
"""By name: a session's main file, and the files of its sub-agents."""
LONG_AFTER: Final = datetime(2030, 1, 1, tzinfo=UTC)
BEGAN: Final = datetime(2026, 11, 22, tzinfo=UTC)


def reader_of(agent: str, links: Links | None = None, sub_agent: str | None = None) -> TranscriptReader:
    """Return a new reader of an agent's transcripts."""
    kind = ClaudeTranscript if agent == "claude" else CodexRollout
    return kind(Links() if links is None else links, BEGAN, sub_agent)


def transcript_events(
    agent: str, lines: Iterable[bytes | dict[str, Any]], *, settle: bool = True
) -> list[dict[str, Any]]:
    """Return the events that a reader makes of lines, as a log holds them."""
    reader = reader_of(agent)
    events: list[SourcedEvent] = []
    for line in lines:
        raw = line if isinstance(line, bytes) else json.dumps(line).encode()
        events += reader.feed(raw)
    return as_logged([*events, *(reader.settle() if settle else [])])


def as_logged(events: Sequence[SourcedEvent]) -> list[dict[str, Any]]:
    """Return events as JSON values, each with its source."""
    return [{**json.loads(dump(one.event)), "source": one.source} for one in events]


def lines_of(path: Path) -> list[bytes]:
    """Return a file's complete lines, without their newlines."""
    return path.read_bytes().split(b"\n")[:-1]


def transcript_at(path: Path) -> Transcript:
    """Identify a file as a transcript."""
    transcript = identify(path)
    assert transcript is not None
    return transcript


def import_session(root: Root, *paths: Path, clock: datetime = LONG_AFTER, final: bool = True) -> list[dict[str, Any]]:
    """Import a session's files into a root; return the events of its log."""
    transcripts = [transcript_at(path) for path in paths]
    session = SessionLog(root, transcripts[0].workcell, lambda: clock)
    for transcript in transcripts:
        session.add(transcript)
    while session.sync():
        pass
    session.settle(final=final)
    return logged(root, session.workcell)


def logged(root: Root, workcell: str) -> list[dict[str, Any]]:
    """Return the events of a workcell's log."""
    path = root.log(workcell)
    return [json.loads(line) for line in lines_of(path)] if path.exists() else []
