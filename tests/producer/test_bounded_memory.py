"""What adapters and readers of transcripts remember does not grow with a run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast

import pytest

from support.recorded import of
from support.transcripts import reader_of
from workcast.broker.names import PROOF_FILE
from workcast.events.models import BaseEvent, Completed, FileWrite, PromptSent, ToolCall, ToolResult, Unknown
from workcast.producer.adapters import adapter_for
from workcast.producer.adapters.base import Exit, close_calls, optional
from workcast.producer.adapters.gemini_tools import Calls
from workcast.producer.calls import OpenCall
from workcast.producer.open_calls import MAX_OPEN_CALLS, OpenCalls
from workcast.producer.proof import ProofKeeper
from workcast.producer.recent import REMEMBERED
from workcast.producer.transcripts.base import Links, SourcedEvent
from workcast.producer.transcripts.disk_set import IN_MEMORY
from workcast.producer.transcripts.logged_events import LoggedEvents

AT: Final = datetime(2026, 1, 1, tzinfo=UTC)
TIME: Final = "2026-01-01T00:00:00.000Z"
CLAUDE_RESULT: Final = {"type": "tool_result", "tool_use_id": "c0"}


def held(value: object) -> int:
    """How many items the containers hold that can be reached from an object of ours."""
    if isinstance(value, dict):
        items = cast("dict[object, object]", value)
        return len(items) + sum(map(held, items.keys())) + sum(map(held, items.values()))
    if isinstance(value, list | set | frozenset | tuple):
        items_of = cast("list[object]", value)
        return len(items_of) + sum(map(held, items_of))
    if is_dataclass(value) and not isinstance(value, type):
        return sum(held(getattr(value, field.name)) for field in fields(value))
    return sum(map(held, vars(value).values())) if type(value).__module__.startswith("workcast.producer") else 0


def claude_call(number: int) -> dict[str, Any]:
    block = {"type": "tool_use", "id": f"c{number}", "name": "Bash", "input": {"command": "x"}}
    message = {"id": f"m{number}", "content": [block], "usage": {"input_tokens": 1}}
    return {"type": "assistant", "parent_tool_use_id": f"p{number}", "message": message}


def claude_block(number: int) -> dict[str, Any]:
    return {"type": "stream_event", "event": {"type": "content_block_start", "index": number}}


def claude_sub_agent(number: int) -> dict[str, Any]:
    event = {"type": "message_start", "message": {"id": f"m{number}", "usage": {"input_tokens": 1}}}
    return {"type": "stream_event", "parent_tool_use_id": f"p{number}", "event": event}


def claude_result(number: int) -> dict[str, Any]:
    share = {f"m{number}": {"inputTokens": 1, "costUSD": 0.5}}
    return {"type": "result", "subtype": "success", "is_error": False, "model_usage_since_last_result": share}


def codex_call(number: int) -> dict[str, Any]:
    return {"type": "item.started", "item": {"type": "command_execution", "id": f"i{number}", "command": "x"}}


def codex_plan(number: int) -> dict[str, Any]:
    return {"type": "item.completed", "item": {"type": "todo_list", "id": f"i{number}", "items": [number]}}


def gemini_call(number: int) -> dict[str, Any]:
    return {"type": "tool_use", "tool_id": f"t{number}", "tool_name": "read_file", "parameters": {"file_path": "/f"}}


def opencode_text(number: int) -> dict[str, Any]:
    part = {"id": f"p{number}", "messageID": f"m{number}", "text": "x"}
    return {"type": "text", "part": part}


def opencode_call(number: int) -> dict[str, Any]:
    state: dict[str, Any] = {"status": "running", "input": {}}
    return {"type": "tool_use", "part": {"id": f"p{number}", "callID": f"c{number}", "tool": "read", "state": state}}


@pytest.mark.parametrize(
    ("agent", "line"),
    [
        ("claude", claude_call),
        ("claude", claude_block),
        ("claude", claude_sub_agent),
        ("claude", claude_result),
        ("codex", codex_call),
        ("codex", codex_plan),
        ("gemini", gemini_call),
        ("opencode", opencode_text),
        ("opencode", opencode_call),
    ],
)
def test_an_adapter_remembers_no_more_of_a_longer_run(agent: str, line: Callable[[int], dict[str, Any]]) -> None:
    adapter = adapter_for(agent)()
    sizes: list[int] = []
    for number in range(3 * REMEMBERED + 1):
        adapter.feed(json.dumps(line(number)).encode(), AT)
        if number in {2 * REMEMBERED, 3 * REMEMBERED}:
            sizes.append(held(adapter))
    assert sizes[1] <= sizes[0]


def test_the_tokens_of_many_models_are_all_counted() -> None:
    adapter = adapter_for("claude")()
    for number in range(100):
        adapter.feed(json.dumps(claude_result(number)).encode(), AT)
    (completed,) = [event for event in adapter.end(Exit(0), AT) if isinstance(event, Completed)]
    assert completed.models is not None
    assert completed.usage is not None
    assert {model.model for model in completed.models} == {*(f"m{number}" for number in range(64)), "other"}
    assert (completed.usage.input_tokens, completed.cost_usd) == (100, 50.0)


def test_a_proof_lists_a_bounded_number_of_files_and_counts_the_others(tmp_path: Path) -> None:
    keeper = ProofKeeper(tmp_path, tmp_path, "exec", None, AT)
    for number in range(10_003):
        keeper.add(FileWrite(path=f"f{number}"))
    keeper.add(FileWrite(path="f0"))
    keeper.add(FileWrite(path="x" * 5000))
    keeper.write(Completed(timestamp=AT, status="success"))
    proof = json.loads((tmp_path / PROOF_FILE).read_bytes())
    assert len(proof["files_changed"]) == 10_000
    assert proof["files_changed_note"].startswith("4 changes are not listed")


def test_calls_of_gemini_with_one_id_are_bounded_too() -> None:
    calls = Calls(limit=10)
    displaced = [call for number in range(100) for call in calls.open("t", f"tool{number}", None, AT)[1]]
    assert len(displaced) == 90
    assert len(calls.take_all()) == 10
    assert len({call.call_id for call in displaced}) == 90


def claude_transcript_call(number: int) -> dict[str, Any]:
    block = {"type": "tool_use", "id": f"c{number}", "name": "Task", "input": {"prompt": f"look {number}"}}
    message = {"id": f"m{number}", "content": [block], "stop_reason": "tool_use", "usage": {"input_tokens": 1}}
    base = {"uuid": f"u{number}", "timestamp": TIME, "sessionId": "s", "parentUuid": f"u{number - 1}"}
    return {"type": "assistant", "message": message, **base}


def claude_chain(number: int) -> dict[str, Any]:
    line = claude_transcript_call(number)
    return {**line, "isSidechain": True, "agentId": "a"}


def codex_rollout_item(number: int) -> dict[str, Any]:
    item = {"type": f"Kind{number}", "id": f"i{number}"}
    return {"type": "event_msg", "timestamp": TIME, "n": number, "payload": {"type": "item_completed", "item": item}}


@pytest.mark.parametrize(
    ("agent", "line"),
    [("claude", claude_transcript_call), ("claude", claude_chain), ("codex", codex_rollout_item)],
)
def test_a_reader_of_transcripts_remembers_no_more_of_a_longer_session(
    agent: str, line: Callable[[int], dict[str, Any]]
) -> None:
    links = Links()
    links.started("a", "call")
    reader = reader_of(agent, links)
    sizes: list[int] = []
    for number in range(3 * REMEMBERED + 1):
        reader.feed(json.dumps(line(number)).encode())
        if number in {2 * REMEMBERED, 3 * REMEMBERED}:
            sizes.append(held(reader))
    assert sizes[1] <= sizes[0]


def hook_events(count: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        yield {"type": "tool_call", "call_id": f"c{number}", "source": "hook"}
        yield {"type": "tool_result", "call_id": f"c{number}", "source": "hook"}
        yield {"type": "prompt_sent", "prompt": f"p{number}", "prompt_id": f"i{number}", "source": "hook"}
        yield {"type": "completed", "prompt_id": f"i{number}", "source": "hook"}
        yield {"type": "response_complete", "source": f"u{number}:0"}


def test_a_longer_log_takes_no_more_memory(tmp_path: Path) -> None:
    sizes: list[int] = []
    for count in (2 * IN_MEMORY, 3 * IN_MEMORY):
        log = tmp_path / "telemetry.jsonl"
        log.write_bytes(b"".join(json.dumps(event).encode() + b"\n" for event in hook_events(count)))
        logged = LoggedEvents()
        logged.scan(log, 0, log.stat().st_size)
        sizes.append(held(logged))
        assert logged.has_source("u0:0")
        assert logged.has_source(f"u{count - 1}:0")
    assert sizes[1] <= sizes[0]


def test_thousands_of_turns_that_hooks_recorded_are_known_when_their_lines_come(tmp_path: Path) -> None:
    log = tmp_path / "telemetry.jsonl"
    log.write_bytes(b"".join(json.dumps(event).encode() + b"\n" for event in hook_events(IN_MEMORY)))
    logged = LoggedEvents()
    logged.scan(log, 0, log.stat().st_size)
    for number in range(IN_MEMORY):
        prompt = PromptSent(timestamp=AT, prompt=f"p{number}", **optional(prompt_id=f"i{number}"))
        end = Completed(timestamp=AT, status="success", exit_code=None, **optional(prompt_id=f"i{number}"))
        for event in (prompt, end):
            assert logged.take(SourcedEvent(f"line{number}:0", event, None))
            assert not logged.take(SourcedEvent(f"line{number}:0", event, None))


# ── calls beyond the limit ───────────────────────────────────────────────────────────────────────────────────────────
def test_the_oldest_call_makes_room_for_one_beyond_the_limit() -> None:
    calls = OpenCalls(limit=2)
    assert [calls.open(key, OpenCall(key, "t", AT)) for key in "ab"] == [None, None]
    displaced = calls.open("c", OpenCall("c", "t", AT))
    assert displaced is not None
    assert displaced.call_id == "a"
    assert calls.was_closed("a")
    assert [call.call_id for call in calls.take_all()] == ["b", "c"]


@pytest.mark.parametrize(
    ("agent", "line", "result"),
    [
        (
            "claude",
            claude_call,
            {"type": "user", "message": {"content": [{"type": "tool_result", "tool_use_id": "c0"}]}},
        ),
        ("codex", codex_call, {"type": "item.completed", "item": {"type": "command_execution", "id": "i0"}}),
        ("gemini", gemini_call, {"type": "tool_result", "tool_id": "t0", "status": "success"}),
    ],
)
def test_a_call_that_was_displaced_is_unanswered_and_its_late_result_unknown(
    agent: str, line: Callable[[int], dict[str, Any]], result: dict[str, Any]
) -> None:
    adapter = adapter_for(agent)()
    events: list[BaseEvent] = []
    for number in range(MAX_OPEN_CALLS + 1):
        events += adapter.feed(json.dumps(line(number)).encode(), AT)
    unanswered = of(ToolResult, events)
    assert [one.unanswered for one in unanswered] == [True]
    assert unanswered[0].call_id == of(ToolCall, events)[0].call_id
    assert [event.type for event in adapter.feed(json.dumps(result).encode(), AT)] == ["unknown"]
    events += adapter.end(Exit(0), AT)
    calls = [call.call_id for call in of(ToolCall, events)]
    assert sorted(map(str, calls)) == sorted(str(one.call_id) for one in of(ToolResult, events))
    assert of(Unknown, events) == []


def test_a_call_without_a_result_is_marked_as_unanswered() -> None:
    closed = of(ToolResult, close_calls([OpenCall("c", "Bash", AT)], AT))
    assert [(result.unanswered, result.error) for result in closed] == [(True, "no result: the agent ended")]
