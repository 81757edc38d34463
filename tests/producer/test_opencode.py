"""opencode's adapter on lines that were not recorded."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.recorded import START, events_from, of
from workcast.events.models import (
    BaseEvent,
    BashCommand,
    BashOutput,
    Completed,
    ErrorEvent,
    FileWrite,
    ResponseComplete,
    Started,
    Thinking,
    ToolCall,
    ToolResult,
    UsageEvent,
)
from workcast.events.usage import Usage
from workcast.producer.adapters.base import NO_RESULT, Command, Exit
from workcast.producer.adapters.opencode import OpencodeAdapter


def line(kind: str, /, **part: Any) -> bytes:
    return json.dumps({"type": kind, "timestamp": 1, "sessionID": "s", "part": part}).encode()


def text(content: str, kind: str = "text", part_id: str | None = None, **more: Any) -> bytes:
    return line(kind, id=part_id or f"p-{content}", messageID="m", text=content, **more)


def tool(name: str, part_id: str = "p", call_id: str | None = "c", status: str = "completed", **state: Any) -> bytes:
    return line("tool_use", id=part_id, callID=call_id, tool=name, state={"status": status, **state})


def start(message_id: str = "m") -> bytes:
    return line("step_start", id=f"start-{message_id}", messageID=message_id)


def finish(reason: str | None = "stop", part_id: str = "f", message_id: str = "m", **more: Any) -> bytes:
    return line("step_finish", id=part_id, messageID=message_id, reason=reason, **more)


def error(**said: Any) -> bytes:
    return json.dumps({"type": "error", "sessionID": "s", "error": said}).encode()


ERROR = error(name="APIError", data={"message": "no"})


def opencode_events(*lines: bytes, exit_: Exit | None = None, argv: tuple[str, ...] = ()) -> list[BaseEvent]:
    return events_from("opencode", lines, exit_, Command(argv) if argv else None)


@pytest.mark.parametrize("first", [start(), ERROR, text("Hello."), finish()])
def test_whatever_is_printed_first_is_the_start(first: bytes) -> None:
    events = opencode_events(first, start("other"), argv=("opencode", "run", "-m", "a/b", "--model=c/d"))
    assert [(event.session_id, event.model) for event in of(Started, events)] == [("s", "c/d")]
    assert isinstance(events[0], Started)


def test_a_part_printed_again_is_emitted_once() -> None:
    events = opencode_events(
        text("a"), text("a"), tool("bash"), tool("bash", metadata={"late": 1}), finish(cost=1), finish(cost=1)
    )
    assert len(of(ResponseComplete, events)) == len(of(ToolCall, events)) == len(of(ToolResult, events)) == 1
    assert of(Completed, events)[0].cost_usd == 1


def test_a_part_whose_text_has_changed_is_emitted_again() -> None:
    events = opencode_events(text("a", part_id="p"), text("ab", part_id="p"))
    assert [event.content for event in of(ResponseComplete, events)] == ["a", "ab"]


def test_the_texts_of_a_message_are_numbered() -> None:
    events = opencode_events(text("hm", "reasoning"), text("a"), text("b"))
    assert [(event.content, event.message_id, event.block) for event in of(Thinking, events)] == [("hm", "m", 0)]
    assert [(event.content, event.block) for event in of(ResponseComplete, events)] == [("a", 1), ("b", 2)]


def test_opencodes_own_words_to_the_model_are_not_an_answer() -> None:
    assert of(ResponseComplete, opencode_events(text("Go on.", synthetic=True))) == []


def test_a_call_id_that_comes_again_is_another_call() -> None:
    events = opencode_events(tool("bash", "p1"), tool("bash", "p2"), tool("bash", "p3", None))
    assert [call.call_id for call in of(ToolCall, events)] == ["c", "p2", "p3"]
    assert [result.call_id for result in of(ToolResult, events)] == ["c", "p2", "p3"]


def test_a_call_printed_before_it_is_done_is_open_until_then() -> None:
    running = tool("bash", status="running", input={"command": "ls"})
    assert [result.error for result in of(ToolResult, opencode_events(running))] == [NO_RESULT]
    events = opencode_events(running, running, tool("bash", output="x"))
    assert [event.command for event in of(BashCommand, events)] == ["ls"]
    assert [(result.result, result.error) for result in of(ToolResult, events)] == [("x", None)]


@pytest.mark.parametrize(
    ("state", "exit_code", "failure", "output"),
    [
        ({"output": "x", "metadata": {"exit": 0, "output": "x"}}, 0, None, "x"),
        ({"output": "cut", "metadata": {"exit": 7, "output": "more"}}, 7, "exit code 7", "more"),
        ({"output": "x", "metadata": {"exit": None}}, None, None, "x"),
        ({"output": "x", "metadata": {"exit": True}}, None, None, "x"),
        ({"output": "x"}, None, None, "x"),
        ({"metadata": {"exit": 0}}, 0, None, None),
        ({"status": "error", "error": "no"}, None, "no", None),
        ({"status": "error"}, None, "the tool failed without a message", None),
    ],
)
def test_a_command_has_its_output_and_exit_code_as_far_as_known(
    state: dict[str, Any], exit_code: int | None, failure: str | None, output: str | None
) -> None:
    events = opencode_events(tool("bash", **state))
    assert [(result.exit_code, result.error) for result in of(ToolResult, events)] == [(exit_code, failure)]
    outputs = [(event.output, event.exit_code) for event in of(BashOutput, events)]
    assert outputs == ([] if output is None else [(output, exit_code)])


@pytest.mark.parametrize(
    ("time", "duration_ms"),
    [({"start": 5, "end": 9}, 4), ({"start": 9, "end": 5}, 0), ({"start": 5}, None), ({"start": "5", "end": 9}, None)],
)
def test_a_call_has_the_duration_that_opencode_reports(time: dict[str, Any], duration_ms: int | None) -> None:
    assert [result.duration_ms for result in of(ToolResult, opencode_events(tool("x", time=time)))] == [duration_ms]


@pytest.mark.parametrize(
    ("state", "written"),
    [
        ({"input": {"filePath": "f"}}, [("f", None, None)]),
        ({"input": {"filePath": "f"}, "metadata": {"filepath": "/f"}}, [("/f", None, None)]),
        ({"input": {"filePath": "f", "content": "a\nb"}, "metadata": {"exists": False}}, [("f", 2, 0)]),
        ({"input": {"filePath": "f", "content": ""}, "metadata": {"exists": False}}, [("f", 0, 0)]),
        ({"input": {"filePath": "f", "content": "a\n"}, "metadata": {"exists": True}}, [("f", None, None)]),
        ({"metadata": {"filediff": {"file": "f", "additions": 3, "deletions": 1}}}, [("f", 3, 1)]),
        (
            {"metadata": {"files": [{"filePath": "a", "additions": 1, "deletions": 2}, {"movePath": "b"}, 7, {}]}},
            [("a", 1, 2), ("b", None, None)],
        ),
        ({"status": "error", "input": {"filePath": "f"}}, []),
        ({}, []),
    ],
)
@pytest.mark.parametrize("name", ["write", "edit", "apply_patch"])
def test_a_tool_that_writes_reports_its_files(
    name: str, state: dict[str, Any], written: list[tuple[str, int | None, int | None]]
) -> None:
    events = opencode_events(tool(name, **state))
    assert [(event.path, event.lines_added, event.lines_removed) for event in of(FileWrite, events)] == written


@pytest.mark.parametrize(
    ("said", "message", "kind"),
    [
        ({"name": "APIError", "data": {"message": "no", "isRetryable": True}}, "no", "APIError"),
        ({"name": "APIError", "message": "no"}, "no", "APIError"),
        ({"name": "MessageAbortedError"}, "MessageAbortedError", "MessageAbortedError"),
        ({"data": {"message": "no"}}, "no", None),
    ],
)
def test_an_error_has_the_best_available_message(said: dict[str, Any], message: str, kind: str | None) -> None:
    errors = of(ErrorEvent, opencode_events(error(**said)))
    assert [(event.error, event.kind, event.retryable) for event in errors] == [(message, kind, False)]


@pytest.mark.parametrize(
    ("lines", "exit_", "status"),
    [
        ([start(), finish()], Exit(0), "success"),
        ([start(), finish()], Exit(None), "success"),
        ([finish(), start("m")], Exit(0), "failed"),
        ([start(), finish(), text("late")], Exit(0), "success"),
        ([start(), finish("length")], Exit(0), "success"),
        ([start(), finish("other")], Exit(0), "success"),
        ([start(), finish("tool-calls")], Exit(0), "failed"),
        ([start(), finish("unknown")], Exit(0), "failed"),
        ([start(), finish("unknown", "f1"), start("n"), finish("stop", "f2", "n")], Exit(0), "success"),
        ([start(), finish("content-filter")], Exit(0), "failed"),
        ([start(), finish(None)], Exit(0), "failed"),
        ([start()], Exit(0), "failed"),
        ([], Exit(0), "failed"),
        ([], Exit(1), "failed"),
        ([ERROR], Exit(1), "failed"),
        ([ERROR], Exit(0), "failed"),
        ([start(), finish(), ERROR], Exit(0), "failed"),
        ([ERROR, start(), finish()], Exit(0), "success"),
        ([ERROR, start(), finish()], Exit(1), "failed"),
        ([ERROR, start(), finish()], Exit(None), "failed"),
        ([start()], Exit(143), "cancelled"),
        ([start()], Exit(130), "cancelled"),
        ([start()], Exit(137), "failed"),
        ([start(), finish()], Exit(0, "timeout"), "timeout"),
        ([start()], Exit(137, "cancelled"), "cancelled"),
    ],
)
def test_a_run_ends_according_to_its_last_step_and_its_exit_code(lines: list[bytes], exit_: Exit, status: str) -> None:
    completed = of(Completed, opencode_events(*lines, exit_=exit_))
    assert [(event.status, event.exit_code) for event in completed] == [(status, exit_.exit_code)]


def test_a_step_that_starts_again_before_its_end_is_a_retry() -> None:
    assert [event.retryable for event in of(ErrorEvent, opencode_events(start(), start(), finish()))] == [True]
    assert of(ErrorEvent, opencode_events(start(), finish("tool-calls"), start("n"), finish("stop", "g", "n"))) == []


def test_cached_input_and_thoughts_are_counted_in() -> None:
    tokens = {"total": 33, "input": 1, "output": 2, "reasoning": 10, "cache": {"read": 4, "write": 16}}
    events = opencode_events(finish("tool-calls", "f1", tokens=tokens, cost=0.1), finish(tokens=tokens, cost=0.2))
    usage = Usage(input_tokens=21, output_tokens=12, cache_read_tokens=4, cache_write_tokens=16, reasoning_tokens=10)
    assert [event.usage for event in of(UsageEvent, events)] == [usage, usage]
    completed = of(Completed, events)[0]
    assert (completed.usage, completed.cost_usd) == (usage + usage, 0.3)


def test_without_counts_the_usage_is_unknown() -> None:
    completed = of(Completed, opencode_events(start(), finish()))[0]
    assert (completed.usage, completed.cost_usd) == (None, None)


def test_a_run_completes_once() -> None:
    adapter = OpencodeAdapter()
    assert len(adapter.end(Exit(0), START)) == 1
    assert adapter.end(Exit(0), START) == []


def test_the_prompt_goes_through_stdin_and_not_on_the_command_line() -> None:
    command = OpencodeAdapter.command('say "hi"', ["--agent", "plan"], "a/b")
    assert command.argv == (
        "opencode", "run", "--format", "json", "--thinking", "--auto", "-m", "a/b", "--agent", "plan",
    )  # fmt: skip
    assert command.prompt_on_stdin
