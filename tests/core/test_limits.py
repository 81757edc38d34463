"""What counts against the limits of a run."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from workcast.events.models import Completed, Started, ToolCall, UsageEvent
from workcast.events.usage import Usage
from workcast.ledger.limits import UNLIMITED, LimitError, Limits, Meter
from workcast.ledger.prices import parse_table

DOLLAR_A_TOKEN = parse_table(
    json.dumps(
        {
            "source": "test",
            "date": "2026-01-01",
            "models": [{"provider": "p", "match": "m", "prices": [{"input": 10**6, "output": 0}]}],
        }
    ).encode(),
    "test",
)


def used(tokens: int, message: str | None = None, **more: Any) -> UsageEvent:
    return UsageEvent(usage=Usage(input_tokens=tokens), message_id=message, **more)


def meter(budget: float | None = None, most: int | None = None, model: str | None = "m") -> Meter:
    return Meter(Limits(budget, most), DOLLAR_A_TOKEN, model)


@pytest.mark.parametrize("limits", [(0.0, None), (-1.0, None), (math.nan, None), (math.inf, None), (None, 0)])
def test_a_limit_that_makes_no_sense_is_refused(limits: tuple[float | None, int | None]) -> None:
    with pytest.raises(LimitError, match="expected"):
        Limits(*limits)


@pytest.mark.parametrize(
    ("limits", "tokens", "dollars", "reason"),
    [
        (Limits(), 10**9, 10**9, ""),
        (Limits(0.5), 10**9, 0.5, ""),
        (Limits(0.5), 0, 0.52, "budget: $0.5200 of $0.5000"),
        (Limits(max_tokens=10), 10, 10**9, ""),
        (Limits(max_tokens=10), 11, 0, "max_tokens: 11 of 10"),
        (Limits(0.5, 10), 11, 0.52, "budget: $0.5200 of $0.5000"),
        (Limits(0.1 + 0.2), 0, 0.3, ""),
    ],
)
def test_a_limit_is_exceeded_by_more_than_it_not_by_as_much(
    limits: Limits, tokens: int, dollars: float, reason: str
) -> None:
    assert limits.exceeded_by(tokens, round(dollars * 10**12)) == reason


def test_the_messages_of_a_run_add_up() -> None:
    one = meter(10, 10)
    one.add(used(10))
    assert one.reason == ""
    one.add(used(1))
    assert one.reason == "budget: $11.0000 of $10.0000"


def test_the_count_at_the_start_of_a_message_counts_until_the_final_one_replaces_it() -> None:
    one = meter(most=100)
    one.add(used(60, "a", partial=True))
    one.add(used(70, "a"))
    one.add(used(30, "b", partial=True))
    assert one.reason == ""
    one.add(used(31, "b"))
    assert one.reason == "max_tokens: 101 of 100"


def test_a_message_that_is_reported_twice_counts_once() -> None:
    one = meter(most=100)
    one.add(used(60, "a"))
    one.add(used(60, "a"))
    assert one.reason == ""


def test_a_cost_that_is_reported_with_the_tokens_replaces_the_computed_one() -> None:
    one = meter(10)
    one.add(used(1000, model="unlisted", cost_usd=0.5))
    one.add(used(9, cost_usd=0.0))
    one.add(used(9))
    assert one.reason == ""
    one.add(used(1, model="unlisted"))
    assert one.reason == "budget: the model unlisted has no price, so the cost of the run is unknown"


def test_costs_add_up_exactly() -> None:
    one = meter(0.3)
    for _ in range(3):
        one.add(used(1, cost_usd=0.1))  # as floats: 0.30000000000000004
    assert one.reason == ""


def test_the_runs_own_figures_count_if_they_are_more() -> None:
    for completed, reason in (
        (
            Completed(status="success", usage=Usage(input_tokens=60, output_tokens=50), cost_usd=1),
            "max_tokens: 110 of 100",
        ),
        (Completed(status="success", usage=Usage(input_tokens=1), cost_usd=70), "budget: $70.0000 of $60.0000"),
        (Completed(status="success", usage=Usage(input_tokens=1), cost_usd=1), ""),
    ):
        one = meter(60, 100)
        one.add(used(50))
        one.add(completed)
        assert one.reason == reason


def test_the_first_limit_that_is_exceeded_is_the_reason() -> None:
    one = meter(10, 100)
    one.add(used(50))
    one.add(used(500))
    assert (one.reason, one.kind) == ("budget: $50.0000 of $10.0000", "budget")


def test_a_budget_without_a_model_counts_as_exceeded() -> None:
    named, unnamed, reported = meter(10), meter(10, model=None), meter(10, model=None)
    for one in (named, unnamed):
        one.add(Started(toolchain="x"))
    reported.add(Started(toolchain="x", model="m"))
    assert named.reason == reported.reason == ""
    assert unnamed.reason.startswith("budget: the agent does not report its model")


def test_a_meter_is_blind_until_the_agent_reports_something() -> None:
    one = meter(most=100)
    for event in (Started(toolchain="x"), ToolCall(tool="Bash"), Completed(status="success")):
        one.add(event)
        assert (one.is_blind, one.kind) == (True, "max_tokens")
    one.add(used(1))
    assert not one.is_blind


def test_without_limits_nothing_is_counted() -> None:
    one = Meter(UNLIMITED, DOLLAR_A_TOKEN)
    for event in (Started(toolchain="x"), used(10**9), Completed(status="success", cost_usd=1e9)):
        one.add(event)
    assert (one.reason, one.is_blind) == ("", False)
