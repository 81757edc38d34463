"""Gemini CLI's adapter on lines that were not recorded."""

from __future__ import annotations

from typing import Any

import pytest

from support.recorded import START, events_from, line, of
from workcast.events.models import (
    BaseEvent,
    BashOutput,
    Completed,
    ErrorEvent,
    FileWrite,
    PromptSent,
    ResponseChunk,
    ResponseComplete,
    Started,
    ToolCall,
    ToolResult,
    Unknown,
    UsageEvent,
)
from workcast.producer.adapters.base import MAX_ARGUMENT_BYTES, NO_RESULT, Exit
from workcast.producer.adapters.gemini import GeminiAdapter


def spoken(content: str, role: str = "assistant") -> bytes:
    return line(type="message", role=role, content=content, **({"delta": True} if role == "assistant" else {}))


def tool_use(tool: str, tool_id: str = "a", **parameters: Any) -> bytes:
    return line(type="tool_use", tool_name=tool, tool_id=tool_id, parameters=parameters)


def tool_result(tool_id: str = "a", status: str | None = "success", **more: Any) -> bytes:
    return line(type="tool_result", tool_id=tool_id, status=status, **more)


def result(status: str | None = "success", **more: Any) -> bytes:
    return line(type="result", status=status, **more)


INIT = line(type="init", session_id="s", model="m")
STATS = {"input_tokens": 100, "output_tokens": 20, "cached": 60, "input": 40, "total_tokens": 125}


def gemini_events(*lines: bytes, exit_: Exit | None = None) -> list[BaseEvent]:
    return events_from("gemini", lines, exit_)


def test_only_the_first_init_is_a_start() -> None:
    events = gemini_events(INIT, INIT)
    assert [(event.session_id, event.model) for event in of(Started, events)] == [("s", "m")]


@pytest.mark.parametrize(
    "after",
    [tool_use("glob"), spoken("Go on.", "user"), result(), line(type="error", severity="warning", message="x")],
)
def test_a_text_is_whole_once_something_else_is_printed(after: bytes) -> None:
    events = gemini_events(spoken("Hel"), spoken("lo"), after, spoken("again"))
    assert [event.content for event in of(ResponseComplete, events)] == ["Hello", "again"]
    types = [event.type for event in events]
    assert types[:3] == ["response_chunk", "response_chunk", "response_complete"]
    first, second = of(ResponseComplete, events)
    assert [(chunk.message_id, chunk.block) for chunk in of(ResponseChunk, events)] == [
        (first.message_id, 0), (first.message_id, 0), (second.message_id, 0),
    ]  # fmt: skip
    assert first.message_id != second.message_id


def test_a_result_of_a_tool_ends_a_text_too() -> None:
    events = gemini_events(tool_use("glob"), spoken("Hello"), tool_result())
    assert [event.type for event in events][:4] == ["tool_call", "response_chunk", "response_complete", "tool_result"]


def test_a_text_that_is_printed_whole_has_no_pieces() -> None:
    events = gemini_events(spoken("Hel"), line(type="message", role="assistant", content="Whole."))
    assert [event.content for event in of(ResponseComplete, events)] == ["Hel", "Whole."]
    assert len(of(ResponseChunk, events)) == 1


def test_a_line_without_a_rule_does_not_end_a_text() -> None:
    assert [event.content for event in of(ResponseComplete, gemini_events(spoken("a"), b"?", spoken("b")))] == ["ab"]


def test_texts_of_two_runs_have_no_id_in_common() -> None:
    one, other = GeminiAdapter(), GeminiAdapter()
    ids = [
        event.message_id
        for adapter, at in ((one, START), (other, START.replace(microsecond=1)))
        for event in of(ResponseChunk, adapter.feed(spoken("x"), at))
    ]
    assert len(set(ids)) == 2


@pytest.mark.parametrize("echo", ["Do it.", "<hook_context>be kind</hook_context>\n\nDo it."])
def test_the_prompt_is_emitted_once_although_it_is_echoed(echo: str) -> None:
    adapter = GeminiAdapter()
    events = [*adapter.begin("Do it.", START), *adapter.feed(INIT, START), *adapter.feed(spoken(echo, "user"), START)]
    assert [event.prompt for event in of(PromptSent, events)] == ["Do it."]


def test_without_a_known_prompt_its_echo_is_emitted() -> None:
    assert [event.prompt for event in of(PromptSent, gemini_events(INIT, spoken("Do it.", "user")))] == ["Do it."]


def test_an_id_that_comes_again_is_another_call() -> None:
    events = gemini_events(
        tool_use("glob", "a", pattern="1"),
        tool_use("glob", "a", pattern="2"),
        tool_use("glob", "a", pattern="2"),  # printed again
        tool_result("a", output="one"),
        tool_result("a", output="two"),
        tool_use("glob", "a", pattern="1"),
        tool_use("glob", "a.2"),
    )
    calls = [(call.call_id, call.args) for call in of(ToolCall, events)]
    assert calls == [
        ("a", {"pattern": "1"}), ("a.2", {"pattern": "2"}), ("a.3", {"pattern": "1"}), ("a.2.2", {}),
    ]  # fmt: skip
    results = [(event.call_id, event.result, event.error) for event in of(ToolResult, events)]
    assert results == [("a", "one", None), ("a.2", "two", None), ("a.3", None, NO_RESULT), ("a.2.2", None, NO_RESULT)]


@pytest.mark.parametrize(
    ("fields", "error", "written"),
    [
        ({"status": "success"}, None, ["f"]),
        ({"status": None}, None, ["f"]),
        ({"status": "error", "error": {"type": "t", "message": "no"}}, "no", []),
        ({"status": "success", "error": {"type": "t", "message": "no"}}, "no", []),
        ({"status": "error", "output": "no"}, "no", []),
        ({"status": "error", "error": {"type": "t"}}, "t", []),
        ({"status": "error"}, "the tool failed without a message", []),
    ],
)
@pytest.mark.parametrize("tool", ["write_file", "replace"])
def test_a_file_is_written_if_the_tool_did_not_fail(
    tool: str, fields: dict[str, Any], error: str | None, written: list[str]
) -> None:
    events = gemini_events(tool_use(tool, file_path="f"), tool_result(**fields))
    assert [event.error for event in of(ToolResult, events)] == [error]
    assert [event.path for event in of(FileWrite, events)] == written


@pytest.mark.parametrize(
    ("output", "exit_code"),
    [("two", None), ("", None), ("Command exited with code: 3", 3), ("x\nCommand exited with code: 3", None)],
)
def test_a_command_has_an_exit_code_only_if_it_printed_nothing(output: str, exit_code: int | None) -> None:
    events = gemini_events(tool_use("run_shell_command", command="x"), tool_result(output=output))
    assert [(event.output, event.exit_code) for event in of(BashOutput, events)] == [(output, exit_code)]
    error = None if exit_code is None else f"exit code {exit_code}"
    assert [(event.exit_code, event.error) for event in of(ToolResult, events)] == [(exit_code, error)]


@pytest.mark.parametrize(
    ("parameters", "more"),
    [
        ({"is_background": True}, {"output": "Command moved to background"}),
        ({}, {"status": "error", "output": "no"}),
        ({}, {}),
    ],
)
def test_a_command_without_output_has_no_output_event(parameters: dict[str, Any], more: dict[str, Any]) -> None:
    events = gemini_events(tool_use("run_shell_command", command="x", **parameters), tool_result(**more))
    assert of(BashOutput, events) == []


API_ERROR = {"type": "unknown", "message": "no"}
WARNING = line(type="error", severity="warning", message="a loop")
BROKEN = line(type="error", severity="error", message="broken")


@pytest.mark.parametrize(
    ("lines", "exit_", "status", "errors"),
    [
        ([result()], Exit(0), "success", []),
        ([result()], Exit(None), "success", []),
        ([result(None)], Exit(0), "success", []),
        ([result()], Exit(1), "failed", []),
        ([result("error", error=API_ERROR)], Exit(145), "failed", ["no"]),
        ([result(None, error=API_ERROR)], Exit(0), "failed", ["no"]),
        ([result("error")], Exit(0), "failed", ["the run failed without a message"]),
        ([BROKEN, result("error")], Exit(0), "failed", ["broken"]),
        ([BROKEN, result()], Exit(0), "failed", ["broken"]),
        ([BROKEN, spoken("Again."), result()], Exit(0), "success", ["broken"]),
        ([WARNING, result()], Exit(0), "success", ["a loop"]),
        ([], Exit(0), "failed", []),
        ([], Exit(None), "failed", []),
        ([], Exit(137), "failed", []),
        ([], Exit(0, "cancelled"), "cancelled", []),
        ([], Exit(0, "timeout"), "timeout", []),
        ([result()], Exit(0, "timeout"), "timeout", []),
        ([result("error", error={"type": "FatalCancellationError", "message": "no"})], Exit(130), "cancelled", ["no"]),
    ],
)
def test_a_run_ends_according_to_its_result_and_its_exit_code(
    lines: list[bytes], exit_: Exit, status: str, errors: list[str]
) -> None:
    events = gemini_events(INIT, *lines, exit_=exit_)
    assert [(event.status, event.exit_code) for event in of(Completed, events)] == [(status, exit_.exit_code)]
    assert [event.error for event in of(ErrorEvent, events)] == errors


def test_a_warning_is_not_a_failure_and_is_marked_as_a_warning() -> None:
    warning, broken = of(ErrorEvent, gemini_events(WARNING, BROKEN))
    assert (warning.kind, warning.retryable) == ("warning", None)
    assert (broken.kind, broken.retryable) == (None, False)


def test_the_input_includes_cached_input() -> None:
    events = gemini_events(result(stats=STATS))
    usage = of(UsageEvent, events)[0].usage
    assert (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens) == (100, 20, 60)
    assert of(Completed, events)[0].usage == usage


def test_a_second_result_is_kept_as_it_was_printed() -> None:
    events = gemini_events(result(stats=STATS), result("error", stats=STATS))
    assert len(of(UsageEvent, events)) == 1
    assert [event.raw.encode() for event in of(Unknown, events)] == [result("error", stats=STATS)]
    assert of(Completed, events)[0].status == "success"


def test_a_run_completes_once() -> None:
    adapter = GeminiAdapter()
    assert len(adapter.end(Exit(0), START)) == 1
    assert adapter.end(Exit(0), START) == []


def test_a_prompt_that_fits_no_argument_goes_through_stdin() -> None:
    short, long = (GeminiAdapter.command("x" * size, ["--sandbox"], "m") for size in (1, MAX_ARGUMENT_BYTES + 1))
    assert short.argv[-4:] == ("-m", "m", "--sandbox", "--prompt=x")
    assert not short.prompt_on_stdin
    assert long.argv == short.argv[:-1]
    assert long.prompt_on_stdin


@pytest.mark.parametrize("option", [["--yolo"], ["-y"], ["--approval-mode", "plan"], ["--approval-mode=plan"]])
def test_the_users_approval_mode_replaces_the_default(option: list[str]) -> None:
    assert "yolo" in GeminiAdapter.command("x").argv
    assert "yolo" not in GeminiAdapter.command("x", option).argv
