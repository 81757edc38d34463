"""Claude Code's adapter on lines that were not recorded."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from support.recorded import START, claude_events, events_from, line, of
from workcast.events.models import (
    BashOutput,
    Completed,
    ErrorEvent,
    FileRead,
    FileWrite,
    ResponseComplete,
    Started,
    Thinking,
    ToolCall,
    ToolResult,
    UsageEvent,
)
from workcast.events.usage import Usage
from workcast.producer.adapters.base import MAX_ARGUMENT_BYTES, NO_RESULT, Command, Exit
from workcast.producer.adapters.claude import ClaudeAdapter


def call(tool: str, arguments: object, call_id: str = "call-1") -> bytes:
    block = {"type": "tool_use", "id": call_id, "name": tool, "input": arguments}
    return line(type="assistant", message={"id": "m", "content": [block]})


def answer(content: object, structured: object = None, call_id: str = "call-1", **block: object) -> bytes:
    result = {"type": "tool_result", "tool_use_id": call_id, "content": content, **block}
    return line(type="user", message={"content": [result]}, tool_use_result=structured)


def stream(parent: str | None = None, **event: object) -> bytes:
    return line(type="stream_event", event=event, parent_tool_use_id=parent)


def result(**fields: object) -> bytes:
    return line(**{"type": "result", "subtype": "success", "is_error": False, **fields})


def test_known_blocks_beside_an_unknown_one_become_events_and_the_line_is_kept_once() -> None:
    blocks = [{"type": "new"}, {"type": "text", "text": "known"}, {"type": "newer"}]
    events = claude_events([line(type="assistant", message={"id": "m", "content": blocks})])
    assert [event.type for event in events] == ["response_complete", "unknown", "completed"]


def test_half_a_surrogate_pair_becomes_a_replacement_character() -> None:
    said = b'{"type":"assistant","message":{"id":"m","content":[{"type":"text","text":"cut \\ud83e"}]}}'
    assert of(ResponseComplete, claude_events([said]))[0].content == "cut \ufffd"


def test_only_the_first_init_is_a_start() -> None:
    first, second = line(type="system", subtype="init", model="a"), line(type="system", subtype="init", model="b")
    assert [event.model for event in of(Started, claude_events([first, second]))] == ["a"]


def test_a_call_printed_twice_is_one_call() -> None:
    events = claude_events([call("Bash", {"command": "ls"}), call("Bash", {"command": "ls"}), answer("x")])
    assert [event.type for event in events] == ["tool_call", "bash_command", "tool_result", "bash_output", "completed"]


def test_calls_without_a_result_are_closed_when_the_agent_ends() -> None:
    adapter = ClaudeAdapter()
    adapter.feed(call("Read", {"file_path": "/a"}, "one"), START)
    adapter.feed(call("Bash", {}, "two"), START)
    ending = adapter.end(Exit(137), START + timedelta(seconds=2))
    closed = of(ToolResult, ending)
    assert [(event.call_id, event.tool, event.error, event.duration_ms) for event in closed] == [
        ("one", "Read", NO_RESULT, 2000),
        ("two", "Bash", NO_RESULT, 2000),
    ]
    assert isinstance(ending[-1], Completed)


def test_a_run_ends_only_once() -> None:
    adapter = ClaudeAdapter()
    assert len(adapter.end(Exit(0), START)) == 1
    assert adapter.end(Exit(0), START) == []


def test_a_clock_that_is_set_back_gives_no_negative_duration() -> None:
    adapter = ClaudeAdapter()
    adapter.feed(call("Read", {}), START)
    events = adapter.feed(answer("x"), START - timedelta(seconds=5))
    assert of(ToolResult, events)[0].duration_ms == 0


@pytest.mark.parametrize(
    ("content", "structured", "block", "outputs"),
    [
        ("a\nb", {"stdout": "a\nb", "stderr": ""}, {"is_error": False}, [("a\nb", 0)]),
        ("a\nb", {"stdout": "a", "stderr": "b"}, {}, [("a\nb", 0)]),
        ("from a sub-agent", None, {}, [("from a sub-agent", 0)]),
        ("Exit code 7\ntwo", "Error: Exit code 7\ntwo", {"is_error": True}, [("two", 7)]),
        ("Exit code 1", "Error: Exit code 1", {"is_error": True}, [("", 1)]),
        ("The user doesn't want to proceed", "User rejected tool use", {"is_error": True}, []),
        ("in background with ID: x", {"stdout": "", "backgroundTaskId": "x"}, {"is_error": False}, []),
        ("cut", {"stdout": "cut", "interrupted": True}, {"is_error": False}, []),
    ],
)
def test_a_shell_command_has_its_output_and_exit_code(
    content: str, structured: object, block: dict[str, Any], outputs: list[tuple[str, int]]
) -> None:
    events = claude_events([call("Bash", {"command": "x"}), answer(content, structured, **block)])
    assert [(event.output, event.exit_code) for event in of(BashOutput, events)] == outputs
    found = of(ToolResult, events)[0]
    assert found.exit_code == (outputs[0][1] if outputs else None)
    assert (found.error is None) == (block.get("is_error") is not True)


def test_a_written_file_has_its_lines_and_its_diff() -> None:
    patch = [{"oldStart": 3, "oldLines": 2, "newStart": 3, "newLines": 3, "lines": [" same", "-old", "+new", "+more"]}]
    structured = {"filePath": "/w/a.py", "structuredPatch": patch}
    events = claude_events([call("Edit", {"file_path": "/w/a.py"}), answer("ok", structured)])
    written = of(FileWrite, events)[0]
    assert (written.path, written.lines_added, written.lines_removed) == ("/w/a.py", 2, 1)
    assert written.diff == "--- /w/a.py\n+++ /w/a.py\n@@ -3,2 +3,3 @@\n same\n-old\n+new\n+more\n"


@pytest.mark.parametrize(("content", "lines"), [("", 0), ("a", 1), ("a\n", 1), ("a\nb", 2), ("\n", 1), ("a\n\n", 2)])
def test_a_created_file_adds_all_its_lines(content: str, lines: int) -> None:
    structured: dict[str, Any] = {"type": "create", "filePath": "/w/new", "content": content, "structuredPatch": []}
    events = claude_events([call("Write", {"file_path": "/w/new"}), answer("ok", structured)])
    assert [(event.lines_added, event.lines_removed) for event in of(FileWrite, events)] == [(lines, 0)]


def test_a_notebook_cell_is_a_written_file() -> None:
    events = claude_events([call("NotebookEdit", {"notebook_path": "/w/n.ipynb"}), answer("ok", {})])
    assert [event.path for event in of(FileWrite, events)] == ["/w/n.ipynb"]


@pytest.mark.parametrize("tool", ["Read", "Write", "Edit", "NotebookEdit"])
def test_a_failed_file_tool_has_no_file_event(tool: str) -> None:
    events = claude_events([call(tool, {"file_path": "/w/a"}), answer("no", is_error=True)])
    assert of(FileRead, events) == []
    assert of(FileWrite, events) == []


def test_texts_of_a_result_are_one_text_and_a_picture_is_kept_as_it_is() -> None:
    texts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    picture: list[Any] = [{"type": "text", "text": "a"}, {"type": "image", "source": {}}]
    events = claude_events([
        call("mcp__a__b", {}, "1"), answer(texts, [], "1"), call("mcp__a__b", {}, "2"), answer(picture, [], "2"),
    ])  # fmt: skip
    assert [event.result for event in of(ToolResult, events)] == ["a\nb", picture]


def test_the_usage_of_a_message_is_its_last_count_over_its_first() -> None:
    first = {"input_tokens": 5, "cache_read_input_tokens": 100, "output_tokens": 1}
    events = claude_events(
        [
            stream(type="message_start", message={"id": "m", "usage": first}),
            stream(type="message_delta", usage={"output_tokens": 7, "input_tokens": None}),
            stream(type="message_delta", usage={"output_tokens": 9}),
            stream(type="message_stop"),
        ]
    )
    assert [(event.message_id, event.usage) for event in of(UsageEvent, events)] == [
        ("m", Usage(input_tokens=105, output_tokens=9, cache_read_tokens=100)),
    ]


def test_a_message_that_was_counted_and_never_stopped_reports_its_usage_at_the_end() -> None:
    events = claude_events(
        [
            stream(type="message_start", message={"id": "m"}),
            stream(type="message_delta", usage={"output_tokens": 9}),
        ]
    )
    assert [event.type for event in events] == ["usage", "completed"]


def whole_message(message_id: str, usage: object, parent: str | None = None) -> bytes:
    blocks = [{"type": "text", "text": "x"}]
    message = {"id": message_id, "model": "opus", "content": blocks, "usage": usage}
    return line(type="assistant", parent_tool_use_id=parent, message=message)


def test_a_message_that_is_not_streamed_reports_its_known_usage_once() -> None:
    events = claude_events([whole_message("m", {"input_tokens": 5, "output_tokens": 1}, "agent")] * 2)
    assert [(e.message_id, e.parent_call_id, e.model, e.partial, e.usage) for e in of(UsageEvent, events)] == [
        ("m", "agent", "opus", True, Usage(input_tokens=5, output_tokens=1)),
    ]


def test_a_message_cut_short_by_the_end_reports_its_known_usage_and_an_abandoned_one_nothing() -> None:
    start = stream(type="message_start", message={"id": "m", "model": "opus", "usage": {"input_tokens": 5}})
    cut = of(UsageEvent, claude_events([start]))
    assert [(event.message_id, event.partial, event.usage) for event in cut] == [("m", True, Usage(input_tokens=5))]
    broken = line(type="stream_event", event={"type": "message_stop"}, abandoned_blocks={"from_block_index": 0})
    assert of(UsageEvent, claude_events([start, broken])) == []


def test_input_that_is_cached_for_an_hour_is_counted_separately() -> None:
    usage = {"cache_creation_input_tokens": 30, "cache_creation": {"ephemeral_1h_input_tokens": 20}}
    counted = of(UsageEvent, claude_events([whole_message("m", usage)]))[0].usage
    assert counted == Usage(input_tokens=30, cache_write_tokens=30, cache_write_1h_tokens=20)


def test_a_call_names_the_message_that_made_it() -> None:
    assert [event.message_id for event in of(ToolCall, claude_events([call("Bash", {"command": "ls"})]))] == ["m"]


def test_streams_of_sub_agents_do_not_mix() -> None:
    def started(parent: str | None, message_id: str) -> list[bytes]:
        return [
            stream(parent, type="message_start", message={"id": message_id}),
            stream(parent, type="content_block_start", index=0, content_block={"type": "thinking"}),
            stream(parent, type="content_block_start", index=1, content_block={"type": "text"}),
        ]

    def final(parent: str | None, message_id: str) -> bytes:
        blocks = [{"type": "text", "text": message_id}]
        return line(type="assistant", parent_tool_use_id=parent, message={"id": message_id, "content": blocks})

    lines = [*started(None, "main"), *started("agent", "sub"), final("agent", "sub"), final(None, "main")]
    whole = of(ResponseComplete, claude_events(lines))
    assert [(e.message_id, e.block, e.parent_call_id) for e in whole] == [("sub", 1, "agent"), ("main", 1, None)]


def test_blocks_that_are_not_streamed_are_counted() -> None:
    blocks = [{"type": "thinking", "thinking": "t"}, {"type": "redacted_thinking", "data": "x"}]
    events = claude_events(
        [
            line(type="assistant", message={"id": "m", "content": blocks}),
            call("Bash", {}),
            line(type="assistant", message={"id": "m", "content": [{"type": "text", "text": "x"}]}),
        ]
    )
    assert [event.block for event in of(Thinking, events)] == [0]
    assert [event.block for event in of(ResponseComplete, events)] == [3]


@pytest.mark.parametrize(
    ("lines", "exit_", "status"),
    [
        ([result()], Exit(0), "success"),
        ([result()], Exit(None), "success"),
        ([result()], Exit(1), "failed"),
        ([result(is_error=True, terminal_reason="api_error")], Exit(0), "failed"),
        ([result(is_error=True, terminal_reason="aborted_tools")], Exit(0), "cancelled"),
        ([result(subtype="error_max_turns", is_error=True)], Exit(1), "failed"),
        ([line(type="result", subtype="error_during_execution")], Exit(0), "failed"),
        ([result(is_error=True), result()], Exit(0), "success"),
        ([result(), result(is_error=True)], Exit(1), "failed"),
        ([], Exit(0), "failed"),
        ([], Exit(None), "failed"),
        ([], Exit(137), "failed"),
        ([], Exit(143), "cancelled"),
        ([result()], Exit(143), "cancelled"),
        ([], Exit(130), "cancelled"),
        ([result()], Exit(143, "timeout"), "timeout"),
        ([], Exit(137, "timeout"), "timeout"),
        ([result()], Exit(0, "cancelled"), "cancelled"),
    ],
)
def test_how_a_run_ended_is_decided_by_its_exit_and_its_last_result(
    lines: list[bytes], exit_: Exit, status: str
) -> None:
    completed = of(Completed, claude_events(lines, exit_))
    assert [(event.status, event.exit_code) for event in completed] == [(status, exit_.exit_code)]


def test_an_error_is_not_repeated_by_the_result() -> None:
    blocks = [{"type": "text", "text": "API Error: no"}]
    printed = line(type="assistant", message={"model": "<synthetic>", "content": blocks}, error="server_error")
    once = claude_events([printed, result(is_error=True, result="API Error: no")], Exit(1))
    assert [(event.error, event.kind) for event in of(ErrorEvent, once)] == [("API Error: no", "server_error")]
    twice = claude_events([printed, result(is_error=True), result(is_error=True, result="another")], Exit(1))
    assert [event.error for event in of(ErrorEvent, twice)] == ["API Error: no", "another"]


def test_an_older_version_reports_only_the_total_of_the_run() -> None:
    models = {
        "a": {"inputTokens": 1, "outputTokens": 2, "cacheReadInputTokens": 10, "cacheCreationInputTokens": 100},
        "b": {"inputTokens": 5, "outputTokens": 6, "thinkingTokens": 3},
    }
    completed = of(Completed, claude_events([result(modelUsage=models, total_cost_usd=0.5)]))[0]
    assert completed.cost_usd == 0.5
    assert completed.usage == Usage(
        input_tokens=116, output_tokens=8, cache_read_tokens=10, cache_write_tokens=100, reasoning_tokens=3
    )


@pytest.mark.parametrize("words", [("--resume", "id"), ("-c",), ("--resume=id",), ("--continue", "--verbose")])
def test_an_older_version_that_is_resumed_reports_the_total_of_the_session(words: tuple[str, ...]) -> None:
    lines = [
        line(type="system", subtype="init", session_id="s"),
        result(modelUsage={"a": {"inputTokens": 7}}, total_cost_usd=0.5),
    ]
    events = events_from("claude", lines, command=Command(("claude", "-p", *words, "--", "--help")))
    completed = of(Completed, events)[0]
    assert of(Started, events)[0].resumed
    assert (completed.usage, completed.cost_usd, completed.models) == (None, None, None)
    assert (completed.session_usage, completed.session_cost_usd) == (Usage(input_tokens=7), 0.5)


def test_a_prompt_that_looks_like_an_option_resumes_nothing() -> None:
    started = events_from("claude", [line(type="system", subtype="init")], command=ClaudeAdapter.command("--resume"))
    assert of(Started, started)[0].resumed is None


@pytest.mark.parametrize("prompt", ["Give me a tour.", "-p", "--help", "", "two\nlines"])
def test_the_prompt_is_the_last_argument_and_not_an_option(prompt: str) -> None:
    command = ClaudeAdapter.command(prompt, ["--allowedTools", "Bash", "Read"], model="opus")
    assert command.argv == (
        "claude", "-p", "--output-format", "stream-json", "--verbose", "--include-partial-messages",
        "--model", "opus", "--allowedTools", "Bash", "Read", "--", prompt,
    )  # fmt: skip
    assert not command.prompt_on_stdin


@pytest.mark.parametrize("prompt", ["x" * (MAX_ARGUMENT_BYTES + 1), "ž" * (MAX_ARGUMENT_BYTES // 2 + 1), "a\0b"])
def test_a_prompt_that_fits_no_argument_goes_through_stdin(prompt: str) -> None:
    command = ClaudeAdapter.command(prompt)
    assert command.prompt_on_stdin
    assert prompt not in command.argv
