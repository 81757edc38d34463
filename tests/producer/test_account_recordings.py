"""What recorded runs of real agents used.

``WORKCAST_WRITE_GOLDEN=1 pytest tests/producer/test_account_recordings.py`` rewrites the golden files; review the diff
line by line before committing it. The computed costs in them change with the price table.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter

from support.recorded import CLAUDE, CODEX, RECORDED, of, recorded_events
from workcast.events.codec import dump
from workcast.events.models import BaseEvent, Completed
from workcast.events.usage import Usage
from workcast.ledger.account import Account, Rows
from workcast.ledger.limits import Limits, Meter
from workcast.ledger.money import from_dollars, known_dollars
from workcast.ledger.prices import shipped_prices
from workcast.ledger.rows import Totals
from workcast.ledger.summary import Fold

GOLDEN = Path(__file__).parent / "golden"
TOTALS = TypeAdapter(Totals)

recorded = pytest.mark.parametrize("name", RECORDED)
claude = pytest.mark.parametrize("scenario", CLAUDE)


def account_of(*runs: list[BaseEvent]) -> Account:
    account = Account()
    for event in (event for run in runs for event in run):
        account.add(json.loads(dump(event)))
    return account


def rows_of(account: Account, kind: Rows) -> list[dict[str, Any]]:
    return [json.loads(row) for row in account.page(kind, 0, 1000)[1]]


@recorded
def test_a_recording_has_the_account_of_its_golden_file(name: str) -> None:
    golden = GOLDEN / f"{name}.account.jsonl"
    account = account_of(recorded_events(RECORDED[name]))
    lines = [b'{"totals":%s}' % TOTALS.dump_json(account.totals())]
    lines += [b'{"%s":%s}' % (kind.encode(), row) for kind in get_args(Rows) for row in account.page(kind, 0, 1000)[1]]
    got = b"\n".join(lines) + b"\n"
    if os.environ.get("WORKCAST_WRITE_GOLDEN"):
        golden.write_bytes(got)
    assert got.decode().split("\n") == golden.read_bytes().decode().split("\n")


@recorded
def test_the_total_is_the_agents_own_final_figure(name: str) -> None:
    events = recorded_events(RECORDED[name])
    totals, completed = account_of(events).totals(), of(Completed, events)[0]
    if completed.usage is not None:
        assert totals.usage == completed.usage
        assert totals.usage == totals.messages_usage + totals.usage_residual
    if completed.cost_usd is not None:
        assert totals.cost == from_dollars(completed.cost_usd)


@recorded
def test_the_summary_agrees_with_the_account(name: str) -> None:
    events = recorded_events(RECORDED[name])
    fold = Fold()
    for event in events:
        fold.add(json.loads(dump(event)))
    summary, totals = fold.summary("wc", 1, 0, ""), account_of(events).totals()
    assert (summary.usage, summary.cost_usd) == (totals.usage, known_dollars(totals.cost))
    assert (summary.duration_ms, summary.tools_ms) == (totals.duration_ms, totals.tools_ms)
    if not totals.unpriced:
        assert summary.cost_computed_usd == known_dollars(totals.cost_computed)


@recorded
def test_limits_count_what_the_account_counts(name: str) -> None:
    events = recorded_events(RECORDED[name])
    totals = account_of(events).totals()
    tokens = max(totals.usage.total, totals.messages_usage.total)

    def reason(most: int) -> str:
        meter = Meter(Limits(max_tokens=most), shipped_prices())
        for event in events:
            meter.add(event)
        return meter.reason

    assert reason(tokens or 1) == ""
    if tokens > 1:
        assert reason(tokens - 1) == f"max_tokens: {tokens} of {tokens - 1}"


@claude
def test_the_computed_cost_is_the_one_that_claude_code_reports(scenario: str) -> None:
    totals = account_of(recorded_events(CLAUDE[scenario])).totals()
    assert totals.unpriced == []
    if totals.cost is not None:
        assert totals.cost_residual is not None
        assert abs(totals.cost_residual) < from_dollars(1e-9)


def test_a_resumed_thread_of_codex_is_charged_for_what_it_adds() -> None:
    first, resumed = recorded_events(CODEX["basic"]), recorded_events(CODEX["resume"])
    session = json.loads(dump(next(event for event in resumed if event.type == "started")))["session_id"]
    first = [event.model_copy(update={"session_id": session}) if event.type == "started" else event for event in first]
    account = account_of(first, resumed)
    runs = rows_of(account, "runs")
    assert [run["usage_source"] for run in runs] == ["run", "session"]
    assert account.totals().usage == Usage(
        input_tokens=49_000, output_tokens=467, cache_read_tokens=35_840, reasoning_tokens=85
    )
    assert runs[1]["usage"]["input_tokens"] == 49_000 - runs[0]["usage"]["input_tokens"]


def test_a_resumed_thread_that_began_in_another_log_is_not_charged_for_its_session_figure() -> None:
    account = account_of(recorded_events(CODEX["resume"]))
    run = rows_of(account, "runs")[0]
    assert (run["usage_source"], run["session_usage"]["input_tokens"]) == ("none", 49_000)
    assert account.totals().usage == Usage()


def test_a_resumed_session_of_claude_code_is_not_counted_twice() -> None:
    first, resumed = recorded_events(CLAUDE["plain-sessionid"]), recorded_events(CLAUDE["plain-resume"])
    totals = account_of(first, resumed).totals()
    completed = [of(Completed, events)[0] for events in (first, resumed)]
    assert totals.usage == sum((event.usage or Usage() for event in completed), Usage())
    assert totals.cost == sum(from_dollars(event.cost_usd or 0) for event in completed)
    assert totals.runs == 2
