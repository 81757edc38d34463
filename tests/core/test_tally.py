"""What the shared fold of runs adds up, and what it does when its tables are full."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from workcast.events.usage import Usage
from workcast.ledger.money import from_dollars
from workcast.ledger.prices import shipped_prices
from workcast.ledger.run import MAX_MODELS, UNKNOWN_MODEL
from workcast.ledger.tally import Tally

PRICED = "claude-opus-5-5"
MILLION = {"input_tokens": 10**6}
"""Costs $4 with PRICED."""


def tally_of(events: Iterable[dict[str, Any]]) -> Tally:
    tally = Tally(shipped_prices())
    for offset, event in enumerate(events):
        tally.add(offset, event["type"], event)
        if event["type"] == "usage":
            tally.count_recent(event)
    return tally


def usage(message: int, model: str = PRICED, **more: Any) -> dict[str, Any]:
    return {"type": "usage", "usage": MILLION, "model": model, "message_id": f"m{message}", **more}


STARTED = {"type": "started", "toolchain": "claude", "model": PRICED}
COMPLETED = {"type": "completed", "status": "success"}


def test_totals_include_the_run_that_is_still_going_on() -> None:
    totals = tally_of([STARTED, usage(1), COMPLETED, STARTED, usage(2), usage(2)]).totals()
    assert (totals.runs, totals.usage, totals.cost_computed) == (2, Usage(input_tokens=2 * 10**6), from_dollars(8))


def test_a_message_replaced_by_its_final_count_is_taken_out_of_every_sum() -> None:
    first = usage(1, "unlisted", cost_usd=9, partial=True)
    tally = tally_of([STARTED, first, usage(1, cost_usd=1)])
    assert tally.run is not None
    assert (tally.run.cost, tally.run.computed, tally.run.messages_usage) == (
        from_dollars(1), from_dollars(4), Usage(**MILLION),
    )  # fmt: skip
    assert tally.totals().unpriced == []


def test_models_beyond_the_bound_are_counted_as_an_unknown_one() -> None:
    count = 3 * MAX_MODELS
    tally = tally_of([STARTED, *(usage(number, f"model-{number}") for number in range(count))])
    assert tally.run is not None
    assert len(tally.run.by_model) == MAX_MODELS + 1
    assert tally.totals().usage == Usage(input_tokens=count * 10**6)
    assert UNKNOWN_MODEL in tally.totals().unpriced


def test_the_cost_of_more_models_than_are_counted_apart_is_unknown_not_too_low() -> None:
    def cost(count: int) -> tuple[int | None, list[str]]:
        models = [{"model": f"{PRICED}-{20260101 + n}", "usage": MILLION} for n in range(count)]
        end = {**COMPLETED, "usage": {"input_tokens": count * 10**6}, "models": models}
        totals = tally_of([STARTED, end]).totals()
        return totals.cost_computed, totals.unpriced

    assert cost(MAX_MODELS) == (from_dollars(4 * MAX_MODELS), [])
    assert cost(3 * MAX_MODELS) == (None, [UNKNOWN_MODEL])


def test_a_session_that_was_forgotten_is_treated_like_one_from_another_log() -> None:
    def run(session: str, tokens: int) -> list[dict[str, Any]]:
        end = {**COMPLETED, "session_usage": {"input_tokens": tokens}}
        return [{**STARTED, "session_id": session, "resumed": tokens > 1}, end]

    others = [event for number in range(100) for event in run(f"s{number}", 1)]
    assert tally_of([*run("a", 1), *run("a", 100)]).totals().usage.input_tokens == 100
    assert tally_of([*run("a", 1), *others, *run("a", 100)]).totals().usage.input_tokens == 101
