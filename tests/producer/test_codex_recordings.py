"""Codex's adapter on recordings of the real agent."""

from __future__ import annotations

import pytest

from support.recorded import CODEX, of, recorded_events
from workcast.events.models import (
    BaseEvent,
    BashCommand,
    BashOutput,
    Completed,
    ErrorEvent,
    FileWrite,
    ResponseComplete,
    Started,
    ToolResult,
    UsageEvent,
)
from workcast.events.usage import Usage

scenarios = pytest.mark.parametrize("scenario", CODEX)


def events_of(scenario: str) -> list[BaseEvent]:
    return recorded_events(CODEX[scenario])


@scenarios
def test_the_items_of_a_run_have_different_ids(scenario: str) -> None:
    events = events_of(scenario)
    ids = [event.message_id for event in of(ResponseComplete, events)]
    ids += [event.call_id for event in of(ToolResult, events)]
    assert len(ids) == len(set(ids))


def test_two_runs_of_a_thread_have_no_id_in_common() -> None:
    recording = CODEX["basic"]
    shifted = [message.message_id for message in of(ResponseComplete, recorded_events(CODEX["resume"]))]
    assert not {message.message_id for message in of(ResponseComplete, recorded_events(recording))} & set(shifted)


@scenarios
def test_the_usage_of_a_run_is_reported_once_unless_it_includes_others(scenario: str) -> None:
    events = events_of(scenario)
    counted = [event.usage for event in of(UsageEvent, events)]
    completed = of(Completed, events)[0]
    match scenario:
        case "resume":
            assert counted == []
            assert completed.usage is None
            total = Usage(input_tokens=49_000, output_tokens=467, cache_read_tokens=35_840, reasoning_tokens=85)
            assert completed.session_usage == total
        case "e429" | "hangtool-group-sigterm" | "hangtool-sigint":
            assert counted == []
            assert completed.usage is None
        case _:
            assert counted == [completed.usage]


def test_requests_that_are_sent_again_do_not_end_a_run() -> None:
    errors = of(ErrorEvent, events_of("e429"))
    assert [error.retryable for error in errors] == [True, True, False]
    assert errors[-1].error == "exceeded retry limit, last status: 429 Too Many Requests"


def test_an_unknown_model_is_a_warning_and_the_command_line_names_it() -> None:
    events = events_of("model-unknown")
    assert [(error.kind, error.retryable) for error in of(ErrorEvent, events)] == [("warning", None)]
    assert [event.model for event in of(Started, events)] == ["gpt-x"]


def test_a_command_has_its_exit_code_and_all_of_its_output() -> None:
    events = events_of("nasty")
    assert [event.output for event in of(BashOutput, events)] == [
        "\x1b[31mred\x1b[0m \x00\ufffd\ufffd bad utf8 <script>alert(1)</script>\r\nerr line\nžluť 🤖\n"
    ]
    result = of(ToolResult, events)[0]
    assert (result.exit_code, result.error) == (3, "exit code 3")
    assert [event.call_id for event in of(BashCommand, events)] == [result.call_id]


def test_a_changed_file_is_a_written_file() -> None:
    written = [(event.path, (event.model_extra or {})["kind"]) for event in of(FileWrite, events_of("tools"))]
    assert written == [("/home/dev/workcells/codex-tools/README.md", "update")]


def test_a_servers_tool_has_its_text_or_its_error() -> None:
    results = [(event.tool, event.result, event.error) for event in of(ToolResult, events_of("mcp-gpt6"))]
    assert results == [("mcp__demo__echo", "hi", None), ("mcp__demo__fail", None, "no")]
