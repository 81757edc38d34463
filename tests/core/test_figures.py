"""The figures of runs against the rows of accounts and plain counts, for any events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from support.generated_events import LOGS, Event, timestamp
from support.plain_figures import counts_of, runs_of, totals_of, usage_of
from workcast.ledger.buckets import FIGURES, MAX_BUCKETS, Spread
from workcast.ledger.figures import MAX_TOOLS, OTHER_TOOLS, Figures, RunFigures
from workcast.ledger.prices import shipped_prices
from workcast.ledger.tally import Tally


def fold(events: Iterable[Event | None]) -> Figures:
    figures = Figures(Tally(shipped_prices()))
    for event in events:
        figures.add(event)
    return figures


def runs(figures: Figures) -> list[RunFigures]:
    current = figures.current()
    return [*figures.ended, *([] if current is None else [current])]


def sums(spread: Spread) -> dict[str, int]:
    return {name: sum(row[index] for row in spread.rows) for index, name in enumerate(FIGURES)}


@settings(max_examples=60)
@given(LOGS)
@example([None])
def test_the_figures_of_runs_are_those_of_the_account(events: list[Event | None]) -> None:
    figures = fold(events)
    found = [run for run in runs(figures) if run.run]
    expected = [run for run in runs_of(events) if "offset" in run.row]  # without the lines in which no run has begun
    assert [run.offset for run in found] == [run.row["offset"] for run in expected]
    for run, plain in zip(found, expected, strict=True):
        assert (run.events, run.errors, run.lines_added, run.lines_removed) == (
            plain.events, plain.errors, plain.lines_added, plain.lines_removed,
        )  # fmt: skip
        assert run.usage == tuple(usage_of(plain).counts())
        assert (run.status, run.agent, run.model) == (plain.row["status"], plain.row["agent"], plain.row["model"])
        assert {tool: (figure.calls, figure.failed) for tool, figure in run.tools.items()} == {
            tool: (figure.calls, figure.failed) for tool, figure in plain.tools.items()
        }
        for tool, figure in plain.tools.items():
            times = run.tools[tool].times
            assert times.sum_ms == sum(figure.times)
            assert sum(times.classes.values()) == len(figure.times)
            for percent in (50, 95):
                rank = -(-len(figure.times) * percent // 100)
                exact = sorted(figure.times)[rank - 1] if figure.times else None
                assert times.percentile(percent) == (exact if exact is None else pytest.approx(exact, rel=0.02))
    totals = totals_of(events)
    assert sum(run.duration_ms for run in found) == totals.duration_ms
    assert sum(run.tools_ms for run in found) == totals.tools_ms
    assert Counter(change.path for change in figures.changes) == sum((run.paths for run in expected), Counter[str]())


@settings(max_examples=60)
@given(LOGS, st.integers(1, 50), st.booleans())
def test_the_buckets_of_any_width_sum_up_to_the_counts_of_the_log(
    events: list[Event | None], most: int, by_time: bool
) -> None:
    spread = fold(events).spread(most, by_time=by_time)
    assert len(spread.rows) <= most
    assert sums(spread) == counts_of(events)


@settings(max_examples=60)
@given(LOGS, st.integers(0, 60))
def test_a_restored_fold_goes_on_as_if_nothing_had_happened(events: list[Event | None], cut: int) -> None:
    first = fold(events[:cut])
    second = Figures.from_state(first.to_state(), shipped_prices())
    for event in events[cut:]:
        second.add(event)
    assert second == fold(events)


def test_a_bucket_counts_its_own_events_however_long_the_log_becomes() -> None:
    figures = fold({"type": "error", "error": "x"} if number % 1000 == 7 else None for number in range(10_000))
    spread = figures.spread(10_000, by_time=False)
    assert MAX_BUCKETS / 2 <= len(spread.rows) <= MAX_BUCKETS
    errors = FIGURES.index("errors")
    expected = [number // spread.width for number in range(7, 10_000, 1000)]
    assert [index for index, row in enumerate(spread.rows) if row[errors]] == expected


def test_an_event_counts_at_its_time_and_one_without_a_time_at_the_one_before() -> None:
    prompt: Event = {"type": "prompt_sent", "prompt": "x"}
    error: Event = {"type": "error", "error": "x", "timestamp": timestamp(5_000)}
    answer: Event = {"type": "response_complete", "content": "x", "timestamp": timestamp(9_000)}
    spread = fold([prompt, error, None, answer, {**error, "timestamp": timestamp(6_000)}]).spread(100, by_time=True)
    assert spread.width == 1
    shown = [dict(zip(FIGURES, row, strict=True)) for row in spread.rows]
    assert [row["events"] for row in shown] == [3, 0, 0, 0, 2]
    assert shown[0]["prompts"] == shown[0]["errors"] == shown[4]["answers"] == shown[4]["errors"] == 1


def test_results_are_carried_by_the_messages_that_follow_as_far_as_their_input_reaches() -> None:
    call: Event = {"type": "tool_call", "tool": "Read", "call_id": "a"}
    result: Event = {"type": "tool_result", "call_id": "a", "result": "x" * 400}

    def message(name: str, tokens: int) -> Event:
        return {"type": "usage", "message_id": name, "usage": {"input_tokens": tokens}}

    run = fold([message("m", 50), call, result, message("n", 500), message("n", 500), message("o", 30)]).current()
    assert run is not None
    assert run.tools["Read"].result_tokens == 100
    assert run.tools["Read"].carried_tokens == 100 + 30


def test_the_tools_of_a_run_are_bounded_and_the_others_counted_together() -> None:
    run = fold({"type": "tool_call", "tool": f"t{number}"} for number in range(MAX_TOOLS + 9)).current()
    assert run is not None
    assert len(run.tools) == MAX_TOOLS + 1
    assert run.tools[OTHER_TOOLS].calls == 9
