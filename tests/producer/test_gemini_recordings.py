"""Gemini CLI's adapter on recordings of the real agent."""

from __future__ import annotations

import json

import pytest

from support.recorded import GEMINI, of, recorded_events
from workcast.events.models import (
    BaseEvent,
    BashOutput,
    Completed,
    FileRead,
    FileWrite,
    PromptSent,
    ResponseChunk,
    ResponseComplete,
    ToolResult,
    UsageEvent,
)
from workcast.events.usage import Usage

HOME = "/home/dev/workcells"

scenarios = pytest.mark.parametrize("scenario", GEMINI)


def events_of(scenario: str) -> list[BaseEvent]:
    return recorded_events(GEMINI[scenario])


@scenarios
def test_the_pieces_of_a_text_are_the_text(scenario: str) -> None:
    events = events_of(scenario)
    pieces: dict[str | None, str] = {}
    for chunk in of(ResponseChunk, events):
        pieces[chunk.message_id] = pieces.get(chunk.message_id, "") + chunk.content
    assert pieces == {complete.message_id: complete.content for complete in of(ResponseComplete, events)}


@scenarios
def test_the_prompt_is_emitted_once(scenario: str) -> None:
    assert len(of(PromptSent, events_of(scenario))) == 1


@scenarios
def test_the_usage_is_that_of_the_result(scenario: str) -> None:
    events = events_of(scenario)
    completed = of(Completed, events)[0]
    last = json.loads(GEMINI[scenario].lines[-1].line)
    assert sum((event.usage for event in of(UsageEvent, events)), Usage()) == (completed.usage or Usage())
    if last["type"] == "result":
        assert completed.usage is not None
        counted = (completed.usage.input_tokens, completed.usage.output_tokens, completed.usage.cache_read_tokens)
        assert counted == tuple(last["stats"][key] for key in ("input_tokens", "output_tokens", "cached"))
    else:
        assert completed.usage is None


def test_a_command_with_output_has_no_exit_code() -> None:
    outputs = [(event.output, event.exit_code) for event in of(BashOutput, events_of("tools"))]
    assert outputs == [("one", None), ("two", None)]
    assert [event.exit_code for event in of(BashOutput, events_of("nasty"))] == [3]


def test_files_are_reported_when_the_tool_did_not_fail() -> None:
    assert [event.path for event in of(FileWrite, events_of("basic"))] == [f"{HOME}/gemini-basic/notes/hello.txt"]
    assert of(FileRead, events_of("basic")) == []
    assert [event.path for event in of(FileRead, events_of("tools"))] == [f"{HOME}/gemini-tools/README.md"] * 2
    assert [event.path for event in of(FileWrite, events_of("tools"))] == [f"{HOME}/gemini-tools/README.md"]
    assert of(FileWrite, events_of("edges")) == []


def test_a_servers_tool_has_its_text_or_its_error() -> None:
    (echo, fail) = of(ToolResult, events_of("mcp"))
    assert (echo.tool, echo.result, echo.error) == ("mcp_demo_echo", "hi", None)
    assert fail.error is not None
    assert fail.error.startswith("MCP tool 'fail' reported tool error")


def test_a_call_of_an_unknown_tool_fails() -> None:
    (result,) = of(ToolResult, events_of("badtool"))
    assert result.tool == "NoSuchTool"
    assert result.error is not None
    assert result.error.startswith('Tool "NoSuchTool" not found.')
