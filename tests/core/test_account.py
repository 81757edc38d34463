"""What an account counts for runs, messages, calls and sub-agents."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workcast.events.models import MODELS
from workcast.events.usage import Usage
from workcast.ledger.account import Account, Rows
from workcast.ledger.money import from_dollars

Event = dict[str, Any]
KINDS: tuple[Rows, ...] = get_args(Rows)


def at(milliseconds: int) -> str:
    return f"2026-11-22T08:{milliseconds // 60_000:02d}:{milliseconds // 1000 % 60:02d}.{milliseconds % 1000:03d}Z"


def account_of(events: Iterable[Event | None]) -> Account:
    account = Account()
    for event in events:
        account.add(event)
    return account


def rows(account: Account, kind: Rows) -> list[dict[str, Any]]:
    count, page = account.page(kind, 0, 100_000)
    assert count == len(page)
    return [json.loads(row) for row in page]


def everything(account: Account) -> dict[str, object]:
    return {"totals": account.totals(), **{kind: rows(account, kind) for kind in KINDS}}


def usage_of(value: dict[str, int]) -> Usage:
    return Usage.model_validate(value)


def usage(message: str | None, tokens: int, **more: Any) -> Event:
    event = {"type": "usage", "usage": {"input_tokens": tokens, "output_tokens": 1}, "model": "claude-opus-5-5"}
    return {**event, **({"message_id": message} if message else {}), **more}


def started(session: str | None = None, **more: Any) -> Event:
    return {"type": "started", "toolchain": "claude", "model": "claude-opus-5-5", "session_id": session, **more}


def completed(**more: Any) -> Event:
    return {"type": "completed", "status": "success", **more}


# ── tokens and money ─────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_message_that_is_reported_twice_counts_once_as_reported_last() -> None:
    account = account_of([started(), usage("a", 10, partial=True), usage("b", 5), usage("a", 12), usage("b", 5)])
    assert account.totals().usage == Usage(input_tokens=17, output_tokens=2)
    assert [(row["usage"]["input_tokens"], row["partial"]) for row in rows(account, "messages")] == [
        (12, False), (5, False),
    ]  # fmt: skip
    assert account.totals().cost_computed == 17 * from_dollars(4e-6) + 2 * from_dollars(20e-6)


def test_a_run_has_the_agents_own_figure_and_what_its_messages_do_not_account_for() -> None:
    account = account_of([started(), usage("a", 10), completed(usage={"input_tokens": 25, "output_tokens": 4})])
    run = rows(account, "runs")[0]
    assert usage_of(run["usage"]) == Usage(input_tokens=25, output_tokens=4)
    assert usage_of(run["messages_usage"]) == Usage(input_tokens=10, output_tokens=1)
    assert usage_of(run["usage_residual"]) == Usage(input_tokens=15, output_tokens=3)
    assert run["cost_computed_usd"] == pytest.approx(25 * 4e-6 + 4 * 20e-6)


def test_reported_and_computed_cost_are_kept_apart() -> None:
    account = account_of([started(), usage("a", 1_000_000, usage={"input_tokens": 10**6}), completed(cost_usd=4.5)])
    totals = account.totals()
    assert (totals.cost, totals.cost_computed, totals.cost_residual) == tuple(map(from_dollars, (4.5, 4.0, 0.5)))


def test_the_rest_of_a_run_is_priced_by_model() -> None:
    models = [
        {"model": "claude-opus-5-5", "usage": {"input_tokens": 10**6}},
        {"model": "claude-haiku-4-5-20251001", "usage": {"input_tokens": 2 * 10**6}},
    ]
    end = completed(usage={"input_tokens": 3 * 10**6}, models=models)
    mine = usage("a", 0, usage={"input_tokens": 10**6})
    assert account_of([started(), mine, end]).totals().cost_computed == from_dollars(4 + 2)
    # The messages name a model that the run's figure does not: only that figure can be priced.
    other = account_of([started(), {**mine, "model": "other"}, end])
    assert other.totals().cost_computed == from_dollars(4 + 2)


def test_a_model_without_a_price_is_named_and_has_no_computed_cost() -> None:
    account = account_of([started(model=None), usage("a", 1), usage("b", 1, model="unlisted-model"), usage(None, 1)])
    assert account.totals().unpriced == ["unlisted-model"]
    assert account.totals().cost_computed is None
    assert [row["cost_computed_usd"] is None for row in rows(account, "messages")] == [False, True, False]
    assert account_of([started(model=None), usage("a", 1, model=None)]).totals().unpriced == ["?"]


def test_a_run_without_any_figures_has_an_unknown_cost_not_a_cost_of_zero() -> None:
    run = rows(account_of([started(), completed()]), "runs")[0]
    assert (run["usage_source"], run["cost_usd"], run["cost_computed_usd"]) == ("none", None, None)


def test_a_message_whose_stream_broke_has_a_row_and_counts_nothing() -> None:
    chunk = {"type": "response_chunk", "content": "x", "message_id": "a"}
    void = {"type": "error", "error": "x", "kind": "stream_abandoned", "message_id": "a"}
    account = account_of([started(), chunk, void, usage("b", 3)])
    assert [(row["message_id"], row["abandoned"], row["usage"] is None) for row in rows(account, "messages")] == [
        ("a", True, True), ("b", False, False),
    ]  # fmt: skip
    assert account.totals().usage.input_tokens == 3


# ── sessions ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def session_usage(tokens: int, cost: float | None = None) -> Event:
    return completed(session_usage={"input_tokens": tokens}, **({} if cost is None else {"session_cost_usd": cost}))


def test_a_session_figure_counts_for_what_it_adds() -> None:
    first = [started("s"), completed(usage={"input_tokens": 100}, cost_usd=1.0)]
    account = account_of([*first, started("s", resumed=True), session_usage(130, 1.25)])
    again = account_of([*first, started("s", resumed=True), session_usage(130), started("s"), session_usage(190)])
    assert [run["usage"]["input_tokens"] for run in rows(account, "runs")] == [100, 30]
    assert [run["cost_usd"] for run in rows(account, "runs")] == [1.0, 0.25]
    assert [run["usage"]["input_tokens"] for run in rows(again, "runs")] == [100, 30, 60]


def test_what_a_killed_run_reported_is_not_counted_again_in_the_next_runs_session_figure() -> None:
    killed = [started("s"), usage(None, 0, usage={"input_tokens": 40})]
    account = account_of([*killed, started("s", resumed=True), session_usage(100)])
    assert [run["usage"]["input_tokens"] for run in rows(account, "runs")] == [40, 60]
    assert [run["status"] for run in rows(account, "runs")] == ["lost", "success"]
    assert account.totals().usage.input_tokens == 100


def test_the_figure_of_a_session_that_began_in_another_log_is_shown_but_not_counted() -> None:
    account = account_of([started("s", resumed=True), usage("a", 7), session_usage(1000)])
    run = rows(account, "runs")[0]
    assert (run["usage_source"], run["usage"]["input_tokens"]) == ("messages", 7)
    assert run["session_usage"]["input_tokens"] == 1000
    later = account_of(
        [started("s", resumed=True), session_usage(1000), started("s", resumed=True), session_usage(1010)]
    )
    assert later.totals().usage.input_tokens == 10


def test_a_session_that_restarts_its_count_is_not_charged_a_negative_amount() -> None:
    account = account_of([started("s"), completed(usage={"input_tokens": 100}), started("s"), session_usage(30)])
    assert [run["usage_source"] for run in rows(account, "runs")] == ["run", "none"]
    assert account.totals().usage.input_tokens == 100


def test_sessions_are_counted_separately() -> None:
    runs = [started("a"), completed(usage={"input_tokens": 5}), started("b"), session_usage(7)]
    assert account_of(runs).totals().usage.input_tokens == 12


# ── runs and time ────────────────────────────────────────────────────────────────────────────────────────────────────
def test_prompts_before_the_start_and_within_a_run_belong_to_it() -> None:
    prompt = {"type": "prompt_sent", "prompt": "go"}
    one = [
        {**prompt, "timestamp": at(0)},
        {**started(), "timestamp": at(100)},
        {**prompt, "timestamp": at(200)},
        {**completed(), "timestamp": at(1000)},
    ]
    account = account_of([*one, {**prompt, "timestamp": at(5000)}, {**started(), "timestamp": at(5100)}])
    assert [(run["offset"], run["end_offset"], run["duration_ms"]) for run in rows(account, "runs")] == [
        (0, 3, 1000), (4, None, 100),
    ]  # fmt: skip


def test_a_run_without_an_end_ends_with_its_last_step_not_with_the_next_runs_prompt() -> None:
    killed = [{**started(), "timestamp": at(0)}, {**usage("a", 1), "timestamp": at(300)}]
    after = [{"type": "prompt_sent", "prompt": "go", "timestamp": at(60_000)}, {**started(), "timestamp": at(60_200)}]
    chunk = {"type": "response_chunk", "content": "x", "timestamp": at(60_900), "message_id": "b"}
    runs = rows(account_of([*killed, *after, chunk]), "runs")
    assert [(run["offset"], run["status"], run["duration_ms"], run["ttft_ms"]) for run in runs] == [
        (0, "lost", 300, None), (2, "running", 200, 900),
    ]  # fmt: skip


def call(key: str, milliseconds: int, **more: Any) -> Event:
    return {"type": "tool_call", "tool": "Bash", "call_id": key, "timestamp": at(milliseconds), **more}


def result(key: str, milliseconds: int, **more: Any) -> Event:
    return {"type": "tool_result", "tool": "Bash", "call_id": key, "timestamp": at(milliseconds), **more}


def test_time_in_tools_is_the_time_during_which_any_call_was_open() -> None:
    account = account_of([
        {**started(), "timestamp": at(0)},
        call("a", 100), call("b", 150), result("a", 300), result("b", 400, duration_ms=245, error="no"),
        call("c", 600), result("c", 700),
        {**completed(), "timestamp": at(1000)},
    ])  # fmt: skip
    totals = account.totals()
    assert (totals.duration_ms, totals.tools_ms, totals.model_ms) == (1000, 400, 600)
    assert [(row["duration_ms"], row["told_ms"], row["error"]) for row in rows(account, "calls")] == [
        (200, None, False), (250, 245, True), (100, None, False),
    ]  # fmt: skip


def test_a_clock_that_is_set_back_does_not_shorten_durations() -> None:
    events = [{**started(), "timestamp": at(5000)}, call("a", 4000), result("a", 3000)]
    account = account_of([*events, {**completed(), "timestamp": at(2000)}])
    assert (account.totals().duration_ms, account.totals().tools_ms) == (0, 0)
    assert rows(account, "calls")[0]["duration_ms"] == 0


def test_calls_without_ids_are_paired_by_tool_and_an_open_call_has_no_duration() -> None:
    events = [{**call("", 100), "call_id": None}, {**call("", 200), "call_id": None, "tool": "Read"}]
    account = account_of([*events, {**result("", 500), "call_id": None}])
    assert [(row["tool"], row["duration_ms"]) for row in rows(account, "calls")] == [("Bash", 400), ("Read", None)]


def test_time_to_first_token_runs_from_the_prompt_or_the_last_result() -> None:
    events = [
        {"type": "prompt_sent", "prompt": "x", "timestamp": at(0)},
        {**started(), "timestamp": at(50)},
        {"type": "thinking", "content": "x", "partial": True, "message_id": "a", "timestamp": at(800)},
        {"type": "response_chunk", "content": "x", "message_id": "a", "timestamp": at(900)},
        call("1", 1000, message_id="a"),
        result("1", 2000),
        call("2", 2300, message_id="b"),
    ]
    account = account_of(events)
    assert [row["ttft_ms"] for row in rows(account, "messages")] == [750, 300]
    assert rows(account, "runs")[0]["ttft_ms"] == 800
    assert [row["message_id"] for row in rows(account, "calls")] == ["a", "b"]


def test_a_sub_agents_work_is_counted_apart_from_the_main_agents() -> None:
    under = {"parent_call_id": "agent"}
    account = account_of([
        {**started(), "timestamp": at(0)},
        call("agent", 100, tool="Agent"), result("agent", 150, tool="Agent"),
        {"type": "thinking", "content": "x", "message_id": "m", "timestamp": at(400), **under},
        {**usage("m", 20, timestamp=at(410)), **under},
        call("b", 500, **under), result("b", 700, **under),
        {**usage("n", 30, timestamp=at(900)), **under},
        {**usage("main", 5, timestamp=at(950))},
    ])  # fmt: skip
    row = rows(account, "subagents")[0]
    assert (row["call_id"], row["messages"], row["calls"]) == ("agent", 2, 1)
    assert (row["started"], row["duration_ms"], row["tools_ms"]) == (at(100), 800, 200)
    assert usage_of(row["usage"]) == Usage(input_tokens=50, output_tokens=2)
    assert row["cost_computed_usd"] == pytest.approx(50 * 4e-6 + 2 * 20e-6)
    assert account.totals().tools_ms == 50
    assert account.totals().messages_usage.input_tokens == 55
    assert [row["ttft_ms"] for row in rows(account, "messages")] == [300, None, None]


def test_a_message_belongs_to_the_agent_that_began_it() -> None:
    chunk = {"type": "response_chunk", "content": "x", "message_id": "m", "parent_call_id": "a"}
    account = account_of(
        [started(), chunk, usage("m", 7), usage("main", 5), {**usage("main", 6), "parent_call_id": "a"}]
    )
    assert [row["usage"]["input_tokens"] for row in rows(account, "subagents")] == [7]
    assert account.totals().usage.input_tokens == 13


# ── any log ───────────────────────────────────────────────────────────────────────────────────────────────────
ids = st.sampled_from(["a", "b", "c"])
counts = st.fixed_dictionaries({"input_tokens": st.integers(0, 10**6), "output_tokens": st.integers(0, 10**4)})
models = st.sampled_from(["claude-opus-5-5", "gpt-5.5", "unlisted-model"])
parents = st.sampled_from([None, None, "a", "b"])
times = st.integers(0, 3_000_000).map(at)
maybe_ids = st.none() | ids


def events(kind: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Event]:
    """Events of one type."""
    return st.fixed_dictionaries({"type": st.just(kind), "timestamp": times, **fields})


reported: st.SearchStrategy[Event] = st.one_of(
    events("usage", message_id=maybe_ids, usage=counts, model=models, parent_call_id=parents),
    events("tool_call", tool=st.just("T"), call_id=maybe_ids, parent_call_id=parents, message_id=ids),
    events("tool_result", tool=st.just("T"), call_id=maybe_ids, parent_call_id=parents),
    events("response_chunk", content=st.just("x"), message_id=ids, parent_call_id=parents),
    events("started", session_id=maybe_ids, resumed=st.none() | st.booleans(), model=models),
    events("prompt_sent", prompt=st.just("x")),
    events("completed", status=st.just("success"), usage=st.none() | counts, cost_usd=st.none() | st.floats(0, 100)),
    events("completed", status=st.just("success"), session_usage=counts),
)
junk: st.SearchStrategy[Event | None] = st.none() | st.fixed_dictionaries(
    {"type": st.sampled_from([*MODELS, "x"]) | st.text(max_size=9)},
    optional={
        key: st.none() | st.integers() | st.text(max_size=300) | st.lists(st.integers()) | counts | st.floats()
        for key in (
            "tool", "call_id", "parent_call_id", "message_id", "status", "usage", "cost_usd", "timestamp", "model",
            "session_id", "session_usage", "session_cost_usd", "models", "duration_ms", "kind",
        )
    },
)  # fmt: skip
logs: st.SearchStrategy[list[Event | None]] = st.lists(reported | junk, max_size=40)


@given(logs)
def test_totals_are_the_sum_of_the_rows(log: list[Event | None]) -> None:
    account = account_of(log)
    totals, runs = account.totals(), rows(account, "runs")
    assert totals.runs == len(runs)
    for key in ("usage", "messages_usage", "usage_residual"):
        assert getattr(totals, key) == sum((usage_of(run[key]) for run in runs), Usage())
    for key in ("cost", "cost_computed", "cost_residual"):
        known = [from_dollars(run[f"{key}_usd"]) for run in runs if run[f"{key}_usd"] is not None]
        assert getattr(totals, key) == (sum(known) if known else None)
    for key in ("duration_ms", "tools_ms", "model_ms", "messages", "calls"):
        assert getattr(totals, key) == sum(run[key] or 0 for run in runs)
    messages = rows(account, "messages")
    assert totals.messages_usage == sum((usage_of(row["usage"]) for row in messages if row["usage"]), Usage())
    assert (totals.messages, totals.calls) == (len(messages), len(rows(account, "calls")))
    under = [row for row in messages if row["parent_call_id"] is not None and row["usage"]]
    assert sum((usage_of(row["usage"]) for row in rows(account, "subagents")), Usage()) == sum(
        (usage_of(row["usage"]) for row in under), Usage()
    )


@given(logs, st.lists(st.integers(0, 40)))
def test_an_interrupted_fold_gives_the_same_account(log: list[Event | None], cuts: list[int]) -> None:
    account = Account()
    for number, one in enumerate(log):
        if number in cuts:
            everything(account)
        account.add(one)
    assert everything(account) == everything(account_of(log))


messages_of_a_run = st.lists(
    st.tuples(st.integers(0, 9), counts, models), max_size=10, unique_by=lambda message: message[0]
)


@given(messages_of_a_run, st.data())
def test_order_and_repetition_of_messages_do_not_change_the_totals(
    messages: Sequence[tuple[int, dict[str, int], str]], data: st.DataObject
) -> None:
    once = [usage(f"m{number}", 0, usage=tokens, model=model) for number, tokens, model in messages]
    repeated = data.draw(st.permutations(once + data.draw(st.lists(st.sampled_from(once)) if once else st.just([]))))
    assert account_of([started(), *repeated]).totals() == account_of([started(), *once]).totals()
