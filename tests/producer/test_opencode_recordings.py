"""opencode's adapter on recordings of the real agent."""

from __future__ import annotations

import pytest

from support.recorded import OPENCODE, of, recorded_events
from workcast.events.models import (
    BaseEvent,
    BashOutput,
    Completed,
    ErrorEvent,
    FileRead,
    FileWrite,
    ResponseComplete,
    Thinking,
    ToolResult,
    UsageEvent,
)
from workcast.events.usage import Usage

HOME = "/home/dev/workcells"

scenarios = pytest.mark.parametrize("scenario", OPENCODE)


def events_of(scenario: str) -> list[BaseEvent]:
    return recorded_events(OPENCODE[scenario])


@scenarios
def test_the_usage_of_all_steps_is_that_of_the_run(scenario: str) -> None:
    events = events_of(scenario)
    completed = of(Completed, events)[0]
    assert sum((event.usage for event in of(UsageEvent, events)), Usage()) == (completed.usage or Usage())


def test_the_usage_of_a_run_equals_that_in_opencodes_own_store() -> None:
    completed = of(Completed, events_of("basic"))[0]  # exported: 54 in, 153 out, 46260 read, 16260 written, $ 0.07731
    assert completed.usage == Usage(
        input_tokens=54 + 46_260 + 16_260, output_tokens=153, cache_read_tokens=46_260, cache_write_tokens=16_260
    )
    assert completed.cost_usd == 0.07731


@scenarios
def test_the_texts_of_a_run_have_different_blocks(scenario: str) -> None:
    events = events_of(scenario)
    places = [(event.message_id, event.block) for event in of(ResponseComplete, events)]
    places += [(event.message_id, event.block) for event in of(Thinking, events)]
    assert len(places) == len(set(places))
    assert all(None not in place for place in places)


def test_a_text_after_the_end_of_its_step_is_emitted() -> None:
    events = events_of("drop")
    assert [event.content for event in of(ResponseComplete, events)] == [
        "This connection drops in the mid", "Nothing left in the script.",
    ]  # fmt: skip
    assert [error.retryable for error in of(ErrorEvent, events)] == [True]


def test_requests_that_are_sent_again_do_not_end_a_run() -> None:
    assert [error.retryable for error in of(ErrorEvent, events_of("streamerror"))] == [True] * 5 + [False]


def test_an_answer_that_is_cut_short_is_a_warning() -> None:
    assert [(error.kind, error.retryable) for error in of(ErrorEvent, events_of("maxtokens"))] == [("warning", None)]


def test_opencodes_own_words_to_the_model_are_not_an_answer() -> None:
    texts = [event.content for event in of(ResponseComplete, events_of("e400"))]
    assert not any(text.startswith("The previous request exceeded") for text in texts)


def test_a_command_has_its_exit_code_and_all_of_its_output() -> None:
    (result,) = [result for result in of(ToolResult, events_of("nasty")) if result.tool == "bash"]
    assert (result.exit_code, result.error) == (3, "exit code 3")
    assert [event.output for event in of(BashOutput, events_of("nasty"))] == [
        "\x1b[31mred\x1b[0m \x00\ufffd\ufffd bad utf8 <script>alert(1)</script>\r\nžluť 🤖\nerr line\n"
    ]


def test_a_stopped_command_has_its_output_and_no_exit_code() -> None:
    outputs = [(event.output, event.exit_code) for event in of(BashOutput, events_of("edges"))]
    assert outputs == [("a\n", None), ("(no output)", 0)]


def test_files_are_reported_when_the_tool_did_not_fail() -> None:
    written = [(event.path, event.lines_added, event.lines_removed) for event in of(FileWrite, events_of("basic"))]
    assert written == [(f"{HOME}/opencode-basic/notes/hello.txt", 2, 0)]
    assert of(FileRead, events_of("basic")) == []
    (edited,) = of(FileWrite, events_of("tools"))
    assert (edited.path, edited.lines_added, edited.lines_removed) == (f"{HOME}/opencode-tools/README.md", 1, 1)
    assert edited.diff is not None
    assert edited.diff.endswith("@@ -1,3 +1,3 @@\n-# scratch\n+# edited\n \n A scratch repository.\n")
    assert [event.path for event in of(FileWrite, events_of("edges"))] == [f"{HOME}/opencode-edges/README.md"]


def test_a_servers_tool_has_its_text_or_its_error() -> None:
    results = [(event.tool, event.result, event.error) for event in of(ToolResult, events_of("mcp"))]
    assert results == [("demo_echo", "hi", None), ("demo_fail", None, "no")]


def test_a_call_of_an_unknown_tool_fails() -> None:
    (result,) = of(ToolResult, events_of("badtool"))
    assert result.tool == "invalid"
    assert result.error is not None
    assert result.error.startswith("Model tried to call unavailable tool 'NoSuchTool'.")
