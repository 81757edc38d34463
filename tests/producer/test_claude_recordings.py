"""Claude Code's adapter on recordings of the real agent."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import pytest

from support.recorded import CLAUDE, of, recorded_events
from workcast.events.models import (
    BaseEvent,
    Completed,
    ErrorEvent,
    ResponseChunk,
    ResponseComplete,
    Thinking,
    ToolCall,
    UsageEvent,
)
from workcast.events.usage import Usage

UNSTREAMED = {"basic-nopartial": "nothing was streamed", "streamerror": "the answer came without a stream"}
BROKEN = {"drop": "the result also counts the beginnings of two messages that never ended"}

scenarios = pytest.mark.parametrize("scenario", CLAUDE)


def events_of(scenario: str) -> list[BaseEvent]:
    return recorded_events(CLAUDE[scenario])


def results_of(scenario: str) -> list[dict[str, Any]]:
    lines = [json.loads(timed.line) for timed in CLAUDE[scenario].lines]
    return [line for line in lines if line["type"] == "result"]


def abandoned_in(events: list[BaseEvent]) -> set[Any]:
    return {(e.model_extra or {})["message_id"] for e in of(ErrorEvent, events) if e.kind == "stream_abandoned"}


@scenarios
def test_the_chunks_of_a_block_make_up_its_whole_text(scenario: str) -> None:
    events = events_of(scenario)
    pieces: defaultdict[tuple[object, ...], str] = defaultdict(str)
    whole: dict[tuple[object, ...], str] = {}
    for event in events:
        match event:
            case ResponseChunk():
                pieces["text", event.message_id, event.block] += event.content
            case Thinking(partial=True):
                pieces["thinking", event.message_id, event.block] += event.content
            case ResponseComplete(parent_call_id=None):
                assert ("text", event.message_id, event.block) not in whole
                whole["text", event.message_id, event.block] = event.content
            case Thinking() if not (event.model_extra or {}).get("parent_call_id"):
                assert ("thinking", event.message_id, event.block) not in whole
                whole["thinking", event.message_id, event.block] = event.content
            case _:
                pass
    void = abandoned_in(events)
    spoken = {key: text for key, text in pieces.items() if key[1] not in void}
    match scenario:
        case "basic-nopartial":
            assert spoken == {}
        case "streamerror":
            assert spoken == {}
            assert len(whole) == 1
        case "hangtext-sigterm":  # ended in mid-block
            assert len(spoken) == 1
            assert whole == {}
        case _:
            assert spoken == whole


@scenarios
def test_the_usage_of_the_messages_adds_up_to_that_of_the_results(scenario: str) -> None:
    counted = sum((event.usage for event in of(UsageEvent, events_of(scenario)) if not event.partial), Usage())
    said = Usage()
    for result in results_of(scenario):
        usage = result["usage"]
        read, written = usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]
        said += Usage(
            input_tokens=usage["input_tokens"] + read + written,
            output_tokens=usage["output_tokens"],
            cache_read_tokens=read,
            cache_write_tokens=written,
            reasoning_tokens=usage["output_tokens_details"]["thinking_tokens"],
        )
    if scenario in UNSTREAMED or scenario in BROKEN:
        assert counted == Usage()
    elif results_of(scenario):
        assert counted == said


@scenarios
def test_a_message_without_an_end_has_its_exact_input(scenario: str) -> None:
    events = events_of(scenario)
    counted = sum((event.usage for event in of(UsageEvent, events)), Usage())
    completed = of(Completed, events)[0]
    match scenario:
        case "drop":  # the agent's figure includes the two messages that were abandoned
            assert counted == Usage()
        case "subagent-foreground":  # it prints no line of the sub-agent's last message
            assert completed.usage is not None
            assert completed.usage - counted == Usage(
                input_tokens=15_433, output_tokens=32, cache_read_tokens=15_000, cache_write_tokens=420
            )
        case "hangtext-sigterm":
            assert completed.usage is None
            assert counted == Usage(input_tokens=15_012, output_tokens=2, cache_write_tokens=15_000)
        case _ if completed.usage is not None:
            assert (completed.usage - counted).model_copy(update={"output_tokens": 0}) == Usage()
            assert completed.usage.output_tokens >= counted.output_tokens
        case _:
            pass


@scenarios
def test_the_models_of_a_run_add_up_to_it(scenario: str) -> None:
    completed = of(Completed, events_of(scenario))[0]
    models = completed.models or []
    if completed.usage is not None:
        assert sum((model.usage for model in models), Usage()) == completed.usage
        assert sum(model.cost_usd or 0 for model in models) == pytest.approx(completed.cost_usd)
    else:
        assert models == []


@scenarios
def test_a_message_reports_its_usage_once(scenario: str) -> None:
    ids = [event.message_id for event in of(UsageEvent, events_of(scenario))]
    assert None not in ids
    assert len(ids) == len(set(ids))


def test_a_resumed_run_counts_only_its_own_usage() -> None:
    completed = of(Completed, events_of("plain-resume"))[0]
    assert completed.usage == Usage(
        input_tokens=15433, output_tokens=10, cache_read_tokens=15000, cache_write_tokens=420
    )
    assert completed.cost_usd == 0.005352
    assert results_of("plain-resume")[0]["total_cost_usd"] == 0.08066


@scenarios
def test_the_cost_is_the_one_that_claude_code_reports(scenario: str) -> None:
    results = results_of(scenario)
    if results and scenario != "plain-resume":
        assert of(Completed, events_of(scenario))[0].cost_usd == pytest.approx(results[-1]["total_cost_usd"])


def test_a_subagents_events_have_its_call_as_parent() -> None:
    events = events_of("subagent")
    agent = next(call for call in of(ToolCall, events) if call.tool == "Agent")
    under = [event for event in events if getattr(event, "parent_call_id", None) == agent.call_id]
    assert [event.type for event in under] == [
        "thinking", "usage", "tool_call", "tool_result", "response_complete", "usage",
    ]  # fmt: skip
