"""Every reader on transcripts of its real agent.

``WORKCAST_WRITE_GOLDEN=1 pytest tests/producer/test_transcript_recordings.py`` rewrites the golden files: read the
difference line by line before it is committed.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from support.transcripts import LONG_AFTER, SESSIONS, import_session, lines_of
from workcast.broker.root import Root
from workcast.events.codec import build

GOLDEN = Path(__file__).parent / "golden"

sessions = pytest.mark.parametrize("name", SESSIONS)


def of(kind: str, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if event["type"] == kind]


@sessions
def test_a_session_becomes_the_events_of_its_golden_file(name: str, root: Root) -> None:
    golden = GOLDEN / f"{name}.session.events.jsonl"
    workcell = import_session(root, *SESSIONS[name])[0]["workcell_id"]
    got = root.log(workcell).read_bytes()
    if os.environ.get("WORKCAST_WRITE_GOLDEN"):
        golden.write_bytes(got)
    assert got.decode().split("\n") == golden.read_bytes().decode().split("\n")


@sessions
def test_no_line_is_unknown_and_every_event_fits_its_model(name: str, root: Root) -> None:
    events = import_session(root, *SESSIONS[name])
    assert of("unknown", events) == []
    assert [build(event).type for event in events] == [event["type"] for event in events]


@sessions
def test_a_session_starts_once_and_ends_with_its_last_turn(name: str, root: Root) -> None:
    events = import_session(root, *SESSIONS[name])
    assert [event["type"] for event in events].count("started") == 1
    assert events[0]["type"] == "started"
    assert events[-1]["type"] == "completed"
    assert len(of("completed", events)) == len(of("prompt_sent", events))


@sessions
def test_every_call_has_one_result_and_a_sub_agents_parent_was_called(name: str, root: Root) -> None:
    events = import_session(root, *SESSIONS[name])
    calls = [(event["call_id"], event["tool"], event.get("parent_call_id")) for event in of("tool_call", events)]
    results = [(event["call_id"], event["tool"], event.get("parent_call_id")) for event in of("tool_result", events)]
    assert Counter(calls) == Counter(results)
    assert all(count == 1 for count in Counter(calls).values())
    parents = {event["parent_call_id"] for event in events if "parent_call_id" in event}
    assert parents <= {call[0] for call in calls}
    assert (len(SESSIONS[name]) > 1) == bool(parents)


@sessions
def test_a_message_reports_its_usage_once(name: str, root: Root) -> None:
    ids = [event.get("message_id") for event in of("usage", import_session(root, *SESSIONS[name]))]
    named = [message_id for message_id in ids if message_id is not None]
    assert len(named) == len(set(named))
    assert name.startswith("codex") or None not in ids


@sessions
def test_each_event_has_a_source_of_its_own_and_the_time_it_happened(name: str, root: Root) -> None:
    events = import_session(root, *SESSIONS[name])
    sources = [event["source"] for event in events]
    assert len(sources) == len(set(sources))
    assert all(event["timestamp"].startswith("2026-11-22T") for event in events)


@sessions
def test_a_session_read_line_by_line_gives_the_same_events_as_one_read_at_once(
    name: str, root: Root, tmp_path: Path
) -> None:
    main, *rest = SESSIONS[name]
    copy = tmp_path / main.name
    lines = lines_of(main)
    for number in range(1, len(lines) + 1):
        copy.write_bytes(b"".join(line + b"\n" for line in lines[:number]) + b'{"torn')
        if b'"sessionId"' in copy.read_bytes() or b"session_meta" in copy.read_bytes():
            import_session(root, copy, clock=time_of(lines[:number]), final=False)
    grown = import_session(root, copy, *rest)
    once = tmp_path / "once"
    once.mkdir()
    copy.write_bytes(main.read_bytes())
    whole = import_session(Root(once), copy, *rest)
    assert sorted(event["source"] for event in grown) == sorted(event["source"] for event in whole)


def time_of(lines: list[bytes]) -> datetime:
    """Return the time of the last line with a time."""
    times = [found for line in lines if (found := json.loads(line).get("timestamp"))]
    return datetime.fromisoformat(times[-1]) if times else LONG_AFTER


@sessions
def test_every_prefix_of_a_transcript_gives_valid_events(name: str, tmp_path: Path) -> None:
    main = SESSIONS[name][0]
    lines = lines_of(main)
    for end in range(2, len(lines) + 1):
        part = tmp_path / main.name
        part.write_bytes(b"".join(line + b"\n" for line in lines[:end]))
        directory = tmp_path / str(end)
        directory.mkdir()
        root = Root(directory)
        root.prepare()
        events = import_session(root, part)
        assert of("unknown", events) == []
        calls = [event["call_id"] for event in of("tool_call", events)]
        assert sorted(calls) == sorted(event["call_id"] for event in of("tool_result", events))
