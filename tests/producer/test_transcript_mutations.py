"""Every reader on recorded transcripts that were damaged: nothing raises, and its promises still hold."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.damage import changed, damaged
from support.transcripts import SESSIONS, as_logged, lines_of, reader_of
from workcast.events.codec import build
from workcast.events.cut_line import CutLine
from workcast.producer.decode import parse_object
from workcast.producer.transcripts.base import Links, SourcedEvent

LINES = {
    agent: [lines_of(path) for name, paths in SESSIONS.items() for path in paths if name.startswith(agent)]
    for agent in ("claude", "codex")
}


def is_whole(raw: bytes) -> bool:
    """Whether a line was not damaged yet."""
    return bool(parse_object(raw))


@st.composite
def transcripts(draw: st.DrawFn, agent: str) -> list[bytes]:
    """A transcript in which some lines were changed, damaged, left out, repeated or moved."""
    lines = list(draw(st.sampled_from(LINES[agent])))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        match draw(st.integers(0, 4)):
            case 0 if is_whole(lines[at]):
                lines[at] = json.dumps(draw(changed(lines[at]))).encode()
            case 1:
                lines[at] = draw(damaged(lines[at])).replace(b"\n", b"")
            case 2 if len(lines) > 2:
                del lines[at]
            case 3:
                lines.insert(draw(st.integers(0, len(lines))), lines[at])
            case _:
                lines.insert(draw(st.integers(0, len(lines) - 1)), lines.pop(at))
    return lines


@pytest.mark.parametrize("agent", LINES)
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_transcript_breaks_a_reader(agent: str, data: st.DataObject) -> None:
    lines = data.draw(transcripts(agent))
    sub_agent = data.draw(st.none() | st.just("a1"))
    found: list[SourcedEvent] = []
    reader = reader_of(agent, Links(), sub_agent)
    for raw in lines:
        found += reader.feed(raw)
    found += data.draw(st.sampled_from([reader.settle, reader.abandon]))()
    found += reader.settle() + reader.abandon()
    events = as_logged(found)
    for event in events:
        build(event)
    sources = [event["source"] for event in events]
    assert len(sources) == len(set(sources))
    calls = [event["call_id"] for event in events if event["type"] == "tool_call"]
    assert len(calls) == len(set(calls))
    assert sorted(calls) == sorted(event["call_id"] for event in events if event["type"] == "tool_result")
    usage = [event["message_id"] for event in events if event["type"] == "usage" and "message_id" in event]
    assert len(usage) == len(set(usage))
    assert [event for event in events if event["type"] == "started"][1:] == []
    assert sub_agent is None or not {"started", "prompt_sent", "completed"} & {event["type"] for event in events}


def test_a_line_that_is_too_long_is_unknown_and_has_its_size() -> None:
    events = as_logged(reader_of("claude").feed(CutLine(b'{"type":"user"', 20_000_000)))
    assert [(event["type"], event["truncated"]) for event in events] == [("unknown", {"bytes": 20_000_000})]
