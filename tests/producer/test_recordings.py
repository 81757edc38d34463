"""Every adapter on recordings of its real agent.

``WORKCAST_WRITE_GOLDEN=1 pytest tests/producer/test_recordings.py`` rewrites the golden files: read the difference
line by line before it is committed.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from support.recorded import RECORDED, events_from, of, recorded_events
from workcast.events.codec import dump
from workcast.events.models import Completed, Started, ToolCall, ToolResult, Unknown
from workcast.producer.adapters.base import Exit

GOLDEN = Path(__file__).parent / "golden"

recorded = pytest.mark.parametrize("name", RECORDED)


@recorded
def test_a_recording_becomes_the_events_of_its_golden_file(name: str) -> None:
    golden = GOLDEN / f"{name}.events.jsonl"
    got = b"".join(dump(event) + b"\n" for event in recorded_events(RECORDED[name]))
    if os.environ.get("WORKCAST_WRITE_GOLDEN"):
        golden.write_bytes(got)
    assert got.decode().split("\n") == golden.read_bytes().decode().split("\n")


@recorded
def test_no_line_of_a_recording_is_unknown(name: str) -> None:
    assert of(Unknown, recorded_events(RECORDED[name])) == []


@recorded
def test_a_run_starts_once_and_completes_once_and_last(name: str) -> None:
    events = recorded_events(RECORDED[name])
    assert len(of(Started, events)) == 1
    assert [event for event in events if isinstance(event, Completed)] == [events[-1]]


@recorded
def test_every_call_has_one_result(name: str) -> None:
    events = recorded_events(RECORDED[name])
    calls = [(call.call_id, call.tool, call.parent_call_id) for call in of(ToolCall, events)]
    results = [(result.call_id, result.tool, result.parent_call_id) for result in of(ToolResult, events)]
    assert Counter(calls) == Counter(results)
    assert all(count == 1 for count in Counter(calls).values())


@recorded
def test_every_prefix_of_a_recording_completes_and_pairs_its_calls(name: str) -> None:
    lines = [timed.line for timed in RECORDED[name].lines]
    for end in range(len(lines)):
        cut = lines[end][: len(lines[end]) // 2]
        events = events_from(RECORDED[name].agent, [*lines[:end], cut], Exit(137), RECORDED[name].command)
        assert len(of(Completed, events)) == 1
        assert isinstance(events[-1], Completed)
        assert len(of(ToolCall, events)) == len(of(ToolResult, events))
        assert [event.raw for event in of(Unknown, events)] == ([cut.decode(errors="backslashreplace")])
