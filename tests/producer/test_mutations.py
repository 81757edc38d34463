"""Every adapter on recorded lines that were damaged: nothing raises, and its promises still hold."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.damage import changed, damaged
from support.recorded import RECORDED, events_from, of, recorded_events
from workcast.events.codec import build, dump
from workcast.events.models import (
    BaseEvent,
    Completed,
    ResponseChunk,
    ResponseComplete,
    ToolCall,
    ToolResult,
    UsageEvent,
)
from workcast.events.usage import Usage
from workcast.events.wire import wire
from workcast.producer.adapters.base import Command, Exit
from workcast.producer.adapters.claude import ClaudeAdapter
from workcast.producer.adapters.gemini import GeminiAdapter
from workcast.producer.adapters.json_lines import JsonLines

LINES = {
    agent: sorted({timed.line for r in RECORDED.values() if r.agent == agent for timed in r.lines})
    for agent in ("claude", "codex", "gemini", "opencode")
}


@st.composite
def changed_lines(draw: st.DrawFn, agent: str, start: bytes = b"") -> bytes:
    """A recorded line with this beginning, in which one value was replaced by any other, or removed."""
    raw = draw(st.sampled_from([line for line in LINES[agent] if line.startswith(start)]))
    return json.dumps(draw(changed(raw)), separators=(",", ":")).encode()  # as the agents print them


def damaged_lines(agent: str) -> st.SearchStrategy[bytes]:
    """A recorded line in which some bytes were replaced."""
    return st.sampled_from(LINES[agent]).flatmap(damaged)


def assert_fits_its_model(event: BaseEvent) -> None:
    """Check that an event, which adapters build on a fast path, is the same when built with strict validation."""
    fields = {name: getattr(event, name) for name in event.model_fields_set}
    checked = type(event).model_validate(fields, strict=True)
    assert (checked, checked.model_fields_set) == (event, event.model_fields_set)


@pytest.mark.parametrize("name", RECORDED)
def test_the_events_of_a_recording_fit_the_models(name: str) -> None:
    events = recorded_events(RECORDED[name])
    assert events
    for event in events:
        assert_fits_its_model(event)


@pytest.mark.parametrize("agent", LINES)
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_line_breaks_an_adapter(agent: str, data: st.DataObject) -> None:
    line = changed_lines(agent) | damaged_lines(agent) | st.sampled_from(LINES[agent])
    lines = data.draw(st.lists(line, min_size=1, max_size=12))
    events = events_from(agent, lines, Exit(1))
    assert [event.type for event in events].count("completed") == 1
    assert isinstance(events[-1], Completed)
    calls = [call.call_id for call in of(ToolCall, events)]
    assert len(calls) == len(set(calls))
    assert sorted(map(str, calls)) == sorted(str(result.call_id) for result in of(ToolResult, events))
    for event in events:
        build(json.loads(dump(event)))
        assert_fits_its_model(event)


@pytest.mark.parametrize("adapter", [ClaudeAdapter, GeminiAdapter])
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_the_fast_path_of_frequent_lines_gives_the_same_events(adapter: type[JsonLines], data: st.DataObject) -> None:
    agent, common = adapter.name, adapter.common
    assert common is not None
    lines = data.draw(st.lists(changed_lines(agent, common.start) | st.sampled_from(LINES[agent]), min_size=1))
    spaced = [line.replace(b'{"type":', b'{ "type":', 1) if line.startswith(common.start) else line for line in lines]
    found, expected = ([dump(event) for event in events_from(agent, way, Exit(0))] for way in (lines, spaced))
    assert found == [event.replace(rb"{ \"type\":", rb"{\"type\":", 1) for event in expected]


@pytest.mark.parametrize("agent", ["gemini", "opencode"])
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_the_pieces_of_damaged_lines_add_up_to_their_texts(agent: str, data: st.DataObject) -> None:
    line = changed_lines(agent) | damaged_lines(agent) | st.sampled_from(LINES[agent])
    events = events_from(agent, data.draw(st.lists(line, min_size=1, max_size=12)), Exit(0))
    pieces: dict[str | None, str] = {}
    for chunk in of(ResponseChunk, events):
        pieces[chunk.message_id] = pieces.get(chunk.message_id, "") + chunk.content
    whole = {complete.message_id: complete.content for complete in of(ResponseComplete, events)}
    assert pieces == {message_id: whole[message_id] for message_id in pieces}
    total = sum((event.usage for event in of(UsageEvent, events)), Usage())
    assert total == (of(Completed, events)[0].usage or Usage())


@pytest.mark.parametrize("agent", LINES)
@settings(max_examples=100, deadline=None)
@given(words=st.lists(st.text(max_size=5) | st.sampled_from(["--", "-m", "-c", "model=", "resume", "--model="])))
def test_no_command_line_breaks_an_adapter(agent: str, words: list[str]) -> None:
    assert events_from(agent, [], command=Command(tuple(words)))[-1].type == "completed"


@pytest.mark.parametrize("depth", [150, 180, 260, 700, 900, 5000])
@pytest.mark.parametrize("agent", LINES)
def test_a_deeply_nested_line_does_not_end_a_run(agent: str, depth: int) -> None:
    call = {
        "claude": '{"type":"assistant","message":{"content":[{"type":"tool_use","id":"c","name":"t","input":[]}]}}',
        "codex": '{"type":"item.started","item":{"id":"c","type":"mcp_tool_call","tool":"t","arguments":[]}}',
        "gemini": '{"type":"tool_use","tool_id":"c","tool_name":"t","parameters":[]}',
        "opencode": '{"type":"tool_use","part":{"id":"p","callID":"c","tool":"t","state":{"input":[]}}}',
    }[agent]
    line = call.replace("[]", "[" * depth + "]" * depth).encode()
    events = events_from(agent, [line, b'{"type":"new"}'], Exit(0))
    types = [event.type for event in events]
    assert types[-1] == "completed"
    assert ("tool_call" in types) == (depth <= 900)
    assert types.count("unknown") == (1 if depth <= 900 else 2)
    for event in events:
        shown = json.loads(wire(dump(event)))
        assert shown["type"] == event.type
        if event.type == "tool_call":
            assert json.dumps(shown["args"]).replace('"', "") == "[" * depth + "]" * depth
