"""Claude Code's stream, transcripts and hooks report the same call with the same fields."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.recorded import CLAUDE, claude_events
from support.transcripts import FOLDER, lines_of, transcript_events
from workcast.events.codec import dump
from workcast.events.json_value import as_array, as_object
from workcast.producer.adapters.base import Exit
from workcast.producer.claude.tools import Fields
from workcast.producer.hooks.payload import events_of

AT: Final = datetime(2026, 11, 22, 8, tzinfo=UTC)
CALL_TYPES: Final = {"tool_call", "bash_command", "tool_result", "bash_output", "file_read", "file_write"}
NOT_COMPARED: Final = {"timestamp", "toolchain", "source", "duration_ms", "message_id", "workcell_id", "model"}
"""The context, the time, and what only the stream knows."""
PATCH: Final = {"oldStart": 3, "oldLines": 2, "newStart": 3, "newLines": 2, "lines": [" a", "-b", "+c"]}


class Log:
    """A log that contains some calls and nothing else."""

    is_open = False

    def __init__(self, *calls: str) -> None:
        self._calls = calls
        self._results: tuple[str, ...] = ()

    def has_call(self, call_id: str) -> bool:
        return call_id in self._calls

    def has_result(self, call_id: str) -> bool:
        return call_id in self._results

    def has_prompt(self, prompt: str, prompt_id: object, at: datetime) -> bool:
        raise AssertionError(f"no call needs to know whether {prompt!r} ({prompt_id}) was given at {at}")


def recorded_calls() -> list[tuple[dict[str, Any], dict[str, Any], Any]]:
    """The block of each recorded call, that of its result, and the result's structured form."""
    found: list[tuple[dict[str, Any], dict[str, Any], Any]] = []
    for recording in CLAUDE.values():
        called: dict[str, dict[str, Any]] = {}
        for line in (json.loads(timed.line) for timed in recording.lines):
            content = as_array(line["message"]["content"]) if line["type"] in {"assistant", "user"} else None
            for block in content or []:
                if block["type"] == "tool_use":
                    called[block["id"]] = block
                if block["type"] == "tool_result" and "tool_use_result" in line and len(content or []) == 1:
                    found.append((called[block["tool_use_id"]], block, line["tool_use_result"]))
    return found


RECORDED: Final = recorded_calls()
texts = st.text(max_size=20)
structures = st.fixed_dictionaries(
    {},
    optional={
        "stdout": texts | st.none(),
        "stderr": texts,
        "interrupted": st.booleans(),
        "backgroundTaskId": texts,
        "type": st.sampled_from(["create", "update", "text"]),
        "filePath": texts,
        "content": texts,
        "structuredPatch": st.lists(st.just(PATCH), max_size=2) | st.just([5]),
        "file": st.just({"filePath": "/f", "content": "x\n"}) | st.integers(),
    },
)


def compared(events: list[Fields]) -> list[Fields]:
    """The events of calls, without what the three sources cannot have in common, in one order."""
    calls = [event for event in events if event["type"] in CALL_TYPES]
    return [{key: value for key, value in event.items() if key not in NOT_COMPARED} for event in calls]


def from_stream(call: dict[str, Any], result: dict[str, Any], structured: Any) -> list[Fields]:
    lines = [
        {"type": "assistant", "message": {"id": "m", "content": [call]}},
        {"type": "user", "message": {"content": [result]}, "tool_use_result": structured},
    ]
    return [json.loads(dump(event)) for event in claude_events((json.dumps(line).encode() for line in lines), Exit(0))]


def from_transcript(call: dict[str, Any], result: dict[str, Any], structured: Any) -> list[Fields]:
    context = {"sessionId": "s", "timestamp": AT.isoformat()}
    lines: list[bytes | dict[str, Any]] = [
        {"type": "assistant", "uuid": "a", **context, "message": {"id": "m", "content": [call]}},
        {"type": "user", "uuid": "b", **context, "message": {"content": [result]}, "toolUseResult": structured},
    ]
    return transcript_events("claude", lines)


def from_hooks(call: dict[str, Any], result: dict[str, Any], structured: Any) -> list[Fields]:
    failed = result.get("is_error") is True
    base = {"session_id": "s", "tool_name": call["name"], "tool_input": call["input"], "tool_use_id": call["id"]}
    before = {**base, "hook_event_name": "PreToolUse"}
    after = {**base, "hook_event_name": "PostToolUse", "tool_response": structured}
    if failed:
        after = {**base, "hook_event_name": "PostToolUseFailure", "error": result["content"]}
    events = events_of(before, AT, Log(), None, is_new=False, followed=False)
    events += events_of(after, AT, Log(call["id"]), None, is_new=False, followed=False)
    return [json.loads(json.dumps(event)) for event in events]


def assert_same(call: dict[str, Any], result: dict[str, Any], structured: Any) -> None:
    stream, transcript, hooks = (
        compared(source(call, result, structured)) for source in (from_stream, from_transcript, from_hooks)
    )
    assert stream == transcript
    # A hook gets a result in the tool's own form; the text that the model is given is elsewhere alone.
    own = as_object(structured) or {}
    worded = call["name"] != "Bash" or own.get("stdout") is None or own.get("backgroundTaskId") is not None
    if worded and result.get("is_error") is not True:
        assert [event["type"] for event in hooks] == [event["type"] for event in stream]
        for event in (*hooks, *stream):
            event.pop("result", None)
            if event["type"] == "bash_output":
                event.pop("output")
    assert hooks == stream


def test_there_are_recorded_calls_of_many_tools_with_successes_and_failures() -> None:
    assert {call["name"] for call, _, _ in RECORDED} >= {"Bash", "Write", "Edit", "Read"}
    assert {result.get("is_error", False) for _, result, _ in RECORDED} == {True, False}


@pytest.mark.parametrize("number", range(len(RECORDED)))
def test_a_recorded_call_has_the_same_fields_from_stream_transcript_and_hooks(number: int) -> None:
    assert_same(*RECORDED[number])


@given(
    tool=st.sampled_from(["Bash", "Read", "Write", "Edit", "NotebookEdit", "mcp__x__y"]),
    arguments=st.fixed_dictionaries({}, optional={"command": texts, "file_path": texts, "notebook_path": texts}),
    structured=structures,
    printed=texts,
)
def test_any_successful_call_has_the_same_fields_from_stream_transcript_and_hooks(
    tool: str, arguments: dict[str, Any], structured: dict[str, Any], printed: str
) -> None:
    call = {"type": "tool_use", "id": "c", "name": tool, "input": arguments}
    stdout = structured.get("stdout")
    content = printed if stdout is None else "\n".join(part for part in (stdout, structured.get("stderr")) if part)
    assert_same(call, {"type": "tool_result", "tool_use_id": "c", "content": content}, structured)


@given(
    tool=st.sampled_from(["Bash", "Read", "Write", "mcp__x__y"]),
    error=texts | st.just("Exit code 7\ntwo") | st.just("<tool_use_error>no such tool</tool_use_error>"),
)
def test_any_failed_call_has_the_same_fields_from_stream_transcript_and_hooks(tool: str, error: str) -> None:
    call = {"type": "tool_use", "id": "c", "name": tool, "input": {"command": "x", "file_path": "/f"}}
    result = {"type": "tool_result", "tool_use_id": "c", "content": error, "is_error": True}
    assert_same(call, result, f"Error: {error}")


def test_recorded_hooks_report_what_the_stream_beside_them_reports() -> None:
    payloads = [json.loads(line) for line in lines_of(FOLDER / "claude-2.1.330-basic-hooks.hooks.jsonl") if line]
    events = claude_events(lines_of(FOLDER / "claude-2.1.330-basic-hooks.jsonl"))
    stream = compared([json.loads(dump(event)) for event in events])
    hooks: list[Fields] = []
    for payload in (payload for payload in payloads if "tool_use_id" in payload):
        log = Log() if payload["hook_event_name"] == "PreToolUse" else Log(payload["tool_use_id"])
        hooks += events_of(payload, AT, log, None, is_new=False, followed=False)
    hooks = compared(hooks)
    assert len(hooks) == 9
    for event in (*hooks, *stream):
        if event.get("tool") == "Write":
            event.pop("result", None)
    assert hooks == stream
