"""Codex's adapter on lines that were not recorded."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from support.recorded import START, events_from, line, of
from workcast.events.models import (
    BaseEvent,
    BashOutput,
    Completed,
    ErrorEvent,
    FileWrite,
    Started,
    ToolCall,
    ToolResult,
    UsageEvent,
)
from workcast.events.usage import Usage
from workcast.producer.adapters.base import MAX_ARGUMENT_BYTES, NO_RESULT, Command, Exit
from workcast.producer.adapters.codex import CodexAdapter


def item(phase: str, kind: str, item_id: str = "item_0", **fields: Any) -> bytes:
    return line(type=f"item.{phase}", item={"id": item_id, "type": kind, **fields})


def turn_completed(**usage: int) -> bytes:
    return line(type="turn.completed", usage=usage)


TURN = line(type="turn.started")
FAILED = line(type="turn.failed", error={"message": "no"})


def codex_events(*lines: bytes, exit_: Exit | None = None, argv: tuple[str, ...] = ()) -> list[BaseEvent]:
    return events_from("codex", lines, exit_, Command(argv) if argv else None)


def test_only_the_first_thread_is_a_start() -> None:
    events = codex_events(line(type="thread.started", thread_id="a"), line(type="thread.started", thread_id="b"))
    assert [event.session_id for event in of(Started, events)] == ["a"]


@pytest.mark.parametrize(
    ("words", "model"),
    [
        ((), None),
        (("-m", "a"), "a"),
        (("--model", "a", "-m", "b"), "b"),
        (("--model=a",), "a"),
        (("-c", 'model="a"'), "a"),
        (("--config", "model = a"), "a"),
        (("-c", "model_provider=x"), None),
        (("-m",), None),
    ],
)
def test_the_model_is_the_one_on_the_command_line(words: tuple[str, ...], model: str | None) -> None:
    argv = ("codex", "exec", "--json", *words, "--", "-m")
    events = codex_events(line(type="thread.started"), argv=argv)
    assert [event.model for event in of(Started, events)] == [model]


def test_an_item_printed_when_it_is_done_is_a_call_and_its_result() -> None:
    events = codex_events(item("completed", "command_execution", command="ls", aggregated_output="a\n", exit_code=0))
    assert [event.type for event in events] == ["tool_call", "bash_command", "tool_result", "bash_output", "completed"]


def test_a_call_printed_twice_is_one_call_and_a_second_result_is_unknown() -> None:
    started = item("started", "command_execution", command="ls")
    done = item("completed", "command_execution", command="ls", exit_code=0)
    events = codex_events(started, started, done, done, started)
    assert [event.type for event in events] == [
        "tool_call", "bash_command", "tool_result", "bash_output", "unknown", "unknown", "completed",
    ]  # fmt: skip


def test_calls_without_a_result_are_closed_when_the_agent_ends() -> None:
    adapter = CodexAdapter()
    adapter.feed(item("started", "web_search", "item_1", query=""), START)
    ending = adapter.end(Exit(137), START + timedelta(seconds=2))
    assert [(event.tool, event.error, event.duration_ms) for event in of(ToolResult, ending)] == [
        ("web_search", NO_RESULT, 2000)
    ]
    assert adapter.end(Exit(137), START) == []


def test_each_new_state_of_a_plan_is_a_call_that_returned_at_once() -> None:
    first = [{"text": "look", "completed": False}]
    second = [{"text": "look", "completed": True}]
    events = codex_events(
        item("started", "todo_list", items=first),
        item("updated", "todo_list", items=first),
        item("updated", "todo_list", items=second),
        item("completed", "todo_list", items=second),
    )
    assert [event.type for event in events] == ["tool_call", "tool_result"] * 2 + ["completed"]
    assert [event.args for event in of(ToolCall, events)] == [{"items": first}, {"items": second}]
    ids = [event.call_id for event in of(ToolCall, events)]
    assert len(set(ids)) == 2
    assert [event.call_id for event in of(ToolResult, events)] == ids


def test_a_search_reports_its_query_once_it_is_known() -> None:
    events = codex_events(item("started", "web_search", query=""), item("completed", "web_search", query="snow"))
    assert [event.args for event in of(ToolCall, events)] == [{"query": ""}]
    assert [event.result for event in of(ToolResult, events)] == [{"query": "snow"}]


def test_a_message_between_agents_is_a_call() -> None:
    said: dict[str, Any] = {"tool": "wait", "sender_thread_id": "a", "receiver_thread_ids": ["b"], "prompt": None}
    states = {"b": {"status": "completed"}}
    events = codex_events(
        item("started", "collab_tool_call", agents_states={}, status="in_progress", **said),
        item("completed", "collab_tool_call", agents_states=states, status="completed", **said),
    )
    del said["tool"]
    assert [(event.tool, event.args) for event in of(ToolCall, events)] == [("wait", said)]
    assert [(event.result, event.error) for event in of(ToolResult, events)] == [(states, None)]


@pytest.mark.parametrize(
    ("fields", "error", "outputs"),
    [
        ({"aggregated_output": "x", "exit_code": 0, "status": "completed"}, None, [("x", 0)]),
        ({"aggregated_output": "", "exit_code": 7, "status": "failed"}, "exit code 7", [("", 7)]),
        ({"aggregated_output": "x", "exit_code": -1, "status": "failed"}, "exit code -1", [("x", -1)]),
        ({"aggregated_output": "", "exit_code": None, "status": "declined"}, "declined", []),
        ({"aggregated_output": "x", "exit_code": None, "status": "failed"}, "failed", [("x", None)]),
        ({}, None, []),
    ],
)
def test_a_command_reports_how_it_ended(
    fields: dict[str, Any], error: str | None, outputs: list[tuple[str, int | None]]
) -> None:
    events = codex_events(item("started", "command_execution"), item("completed", "command_execution", **fields))
    assert [event.error for event in of(ToolResult, events)] == [error]
    assert [(event.output, event.exit_code) for event in of(BashOutput, events)] == outputs


def test_a_patch_reports_each_file_and_a_failed_one_none() -> None:
    changes = [{"path": "/a", "kind": "add"}, {"path": "/b", "kind": "delete"}, {"kind": "add"}, 7, {"path": "/c"}]
    done = codex_events(item("completed", "file_change", changes=changes, status="completed"))
    assert [(event.path, (event.model_extra or {}).get("kind")) for event in of(FileWrite, done)] == [
        ("/a", "add"), ("/b", "delete"), ("/c", None),
    ]  # fmt: skip
    failed = codex_events(item("completed", "file_change", changes=changes, status="failed"))
    assert of(FileWrite, failed) == []
    assert [event.error for event in of(ToolResult, failed)] == ["failed"]


def test_a_servers_content_that_is_not_text_is_kept_and_its_error_reported() -> None:
    picture = {"content": [{"type": "image", "data": "x"}], "structured_content": {"a": 1}}
    events = codex_events(
        item("completed", "mcp_tool_call", "item_0", server="s", tool="t", result=picture, status="completed"),
        item("completed", "mcp_tool_call", "item_1", server="s", tool="t", error={"message": "no"}, status="failed"),
    )
    assert [(event.result, event.error) for event in of(ToolResult, events)] == [(picture, None), (None, "no")]


@pytest.mark.parametrize(
    ("lines", "exit_", "status"),
    [
        ([TURN, turn_completed()], Exit(0), "success"),
        ([TURN, turn_completed()], Exit(None), "success"),
        ([TURN, turn_completed()], Exit(1), "failed"),
        ([TURN, turn_completed()], Exit(143), "cancelled"),
        ([TURN, FAILED], Exit(1), "failed"),
        ([TURN, FAILED], Exit(0), "failed"),
        ([TURN, FAILED, TURN, turn_completed()], Exit(0), "success"),
        ([TURN], Exit(1), "cancelled"),  # SIGINT
        ([TURN], Exit(0), "failed"),
        ([TURN], Exit(None), "failed"),
        ([TURN], Exit(101), "failed"),  # a panic
        ([TURN], Exit(143), "cancelled"),
        ([TURN], Exit(137), "failed"),
        ([], Exit(1), "failed"),
        ([], Exit(0), "failed"),
        ([TURN, turn_completed()], Exit(143, "timeout"), "timeout"),
        ([TURN], Exit(1, "cancelled"), "cancelled"),
    ],
)
def test_how_a_run_ended_is_decided_by_its_exit_and_its_last_turn(lines: list[bytes], exit_: Exit, status: str) -> None:
    completed = of(Completed, codex_events(*lines, exit_=exit_))
    assert [(event.status, event.exit_code) for event in completed] == [(status, exit_.exit_code)]


def test_an_error_is_not_repeated_when_the_turn_fails() -> None:
    once = codex_events(TURN, line(type="error", message="no"), FAILED, exit_=Exit(1))
    assert [(event.error, event.retryable) for event in of(ErrorEvent, once)] == [("no", False)]
    twice = codex_events(TURN, line(type="error", message="Reconnecting... 2/5 (no)"), FAILED, exit_=Exit(1))
    assert [(event.error, event.retryable) for event in of(ErrorEvent, twice)] == [
        ("Reconnecting... 2/5 (no)", True), ("no", False),
    ]  # fmt: skip


def test_turns_of_one_run_are_counted_separately() -> None:
    events = codex_events(
        turn_completed(input_tokens=100, cached_input_tokens=50, output_tokens=7),
        turn_completed(input_tokens=250, cached_input_tokens=150, output_tokens=9, cache_write_input_tokens=3),
    )
    first = Usage(input_tokens=100, output_tokens=7, cache_read_tokens=50)
    second = Usage(input_tokens=150, output_tokens=2, cache_read_tokens=100, cache_write_tokens=3)
    assert [event.usage for event in of(UsageEvent, events)] == [first, second]
    assert of(Completed, events)[0].usage == first + second


@pytest.mark.parametrize("words", [("resume", "id"), ("resume", "--last"), ("fork", "id")])
def test_the_usage_of_earlier_runs_of_a_thread_is_not_counted_again(words: tuple[str, ...]) -> None:
    argv = ("codex", "exec", "--json", *words, "--", "resume")
    lines = [turn_completed(input_tokens=100), turn_completed(input_tokens=150)]
    events = codex_events(*lines, argv=argv)
    assert [event.usage for event in of(UsageEvent, events)] == [Usage(input_tokens=50)]
    completed = of(Completed, events)[0]
    assert (completed.usage, completed.session_usage) == (None, Usage(input_tokens=150))


@pytest.mark.parametrize("prompt", ["Give me a tour.", "--help", "resume", "two\nlines"])
def test_the_prompt_is_the_last_argument_and_not_an_option(prompt: str) -> None:
    command = CodexAdapter.command(prompt, ["-s", "read-only"], model="gpt-5.5")
    argv = ("codex", "exec", "--json", "--skip-git-repo-check", "-m", "gpt-5.5", "-s", "read-only", "--", prompt)
    assert command == Command(argv)


@pytest.mark.parametrize("prompt", ["x" * (MAX_ARGUMENT_BYTES + 1), "a\0b", "-"])
def test_a_prompt_that_fits_no_argument_goes_through_stdin(prompt: str) -> None:
    assert CodexAdapter.command(prompt) == Command(
        ("codex", "exec", "--json", "--skip-git-repo-check", "--", "-"), prompt_on_stdin=True
    )
