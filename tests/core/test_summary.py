"""What a summary shows of a log, and how large it and the state of its fold may become."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from workcast.events.models import MODELS
from workcast.events.usage import Usage
from workcast.ledger.prices import shipped_prices
from workcast.ledger.summary import MAX_BYTES, EventMark, Fold, Summary, to_json

TIME = "2026-01-01T00:00:00.000Z"


def fold(*events: dict[str, Any] | None) -> Summary:
    state = Fold()
    for event in events:
        state.add(event)
    return state.summary("wc", 1, 0, "o")


def test_a_workcell_is_new_then_running_then_what_completed_says() -> None:
    assert fold().status == "new"
    assert fold({"type": "started"}).status == "running"
    assert fold({"type": "prompt_sent"}, {"type": "completed", "status": "timeout"}).status == "timeout"
    assert fold({"type": "completed", "status": "success"}, {"type": "prompt_sent"}).status == "running"
    assert fold({"type": "completed", "status": "odd"}).status == "failed"


def test_agent_model_and_issue_come_from_the_context() -> None:
    summary = fold({"type": "started", "toolchain": "claude", "model": "opus", "issue_id": "7"}, {"type": "usage"})
    assert (summary.agent, summary.model, summary.issue_id) == ("claude", "opus", "7")


def test_events_are_counted_by_type_and_other_lines_as_malformed() -> None:
    summary = fold({"type": "usage"}, {"type": "usage"}, None)
    assert summary.counts == {"usage": 2, "malformed": 1}
    assert summary.head == 3
    assert summary.last is not None
    assert (summary.last.offset, summary.last.type) == (2, "malformed")


def test_tokens_add_up_over_messages_until_the_runs_own_figure_replaces_the_sum() -> None:
    message = {"type": "usage", "usage": {"input_tokens": 10, "output_tokens": 1}}
    assert fold(message, message).usage == Usage(input_tokens=20, output_tokens=2)
    end = {"type": "completed", "status": "success", "usage": {"input_tokens": 25}, "cost_usd": 0.5}
    assert fold(message, message, end).usage == Usage(input_tokens=25)
    again = fold({"type": "started"}, message, end, {"type": "started"}, message, end)
    assert again.usage == Usage(input_tokens=50)
    assert again.cost_usd == 1.0


def test_a_call_is_open_until_its_result() -> None:
    call = {"type": "tool_call", "tool": "Bash", "call_id": "a", "timestamp": TIME}
    summary = fold(call, {**call, "call_id": "b"}, {"type": "tool_result", "call_id": "a"})
    assert [(open_call.call_id, open_call.since) for open_call in summary.open_calls] == [("b", TIME)]
    assert fold(call, {"type": "completed", "status": "success"}).open_calls == []


def test_calls_without_ids_are_paired_by_tool() -> None:
    calls = [{"type": "tool_call", "tool": "Read"}, {"type": "tool_call", "tool": "Bash"}]
    assert [call.tool for call in fold(*calls, {"type": "tool_result", "tool": "Read"}).open_calls] == ["Bash"]


def test_the_activity_says_what_the_agent_is_doing() -> None:
    assert fold({"type": "bash_command", "command": "make\ntest"}).activity == "$ make test"
    assert fold({"type": "file_write", "path": "x" * 500}).activity.endswith("…")
    assert fold({"type": "error", "error": "529", "retryable": True}).activity == "retrying: 529"
    assert fold({"type": "thinking"}, {"type": "usage"}).activity == "thinking"


def test_unrecognised_lines_are_counted_by_agent_and_version() -> None:
    odd = {"type": "unknown", "raw": "odd"}
    first = {"type": "started", "toolchain": "claude", "agent_version": "2.1.330"}
    second = {"type": "started", "toolchain": "codex"}
    assert fold(odd, first, odd, odd, second, odd).unknown == {"?": 1, "claude 2.1.330": 2, "codex": 1}
    many = [event for n in range(20) for event in ({**first, "agent_version": f"{n}"}, odd)]
    counted = fold(*many).unknown
    assert (len(counted), sum(counted.values()), counted["other"]) == (9, 20, 12)


events = st.none() | st.fixed_dictionaries(
    {"type": st.sampled_from([*MODELS, "x"]) | st.text(max_size=100)},
    optional={
        key: st.none() | st.integers() | st.text(max_size=300) | st.lists(st.integers()) | st.just({"input_tokens": 3})
        for key in (
            "tool",
            "call_id",
            "status",
            "usage",
            "cost_usd",
            "error",
            "timestamp",
            "model",
            "command",
            "path",
            "toolchain",
            "agent_version",
        )
    },
)


@given(
    st.lists(st.sampled_from(['"', "\x01", "\\", "😀", "a", "\u200d", "\x9f ", "\u2028"]), min_size=1, max_size=3).map(
        lambda pieces: ("".join(pieces) * 200)[:200]
    ),
    st.sampled_from(sorted(MODELS)) | st.none(),
)
def test_no_text_in_any_field_makes_a_summary_larger_than_4_kib(text: str, kind: str | None) -> None:
    fields = (
        "timestamp", "toolchain", "model", "issue_id", "tool", "call_id", "command", "path", "error", "agent_version",
        "status",
    )  # fmt: skip
    texts = dict.fromkeys(fields, text)
    stream = [{**texts, "type": kind or f"{number}{text}", "call_id": f"{number}{text}"} for number in range(40)]
    calls = [{**texts, "type": "tool_call", "call_id": f"{number}{text}"} for number in range(10)]
    state = Fold()
    for event in [*stream, *calls, {**texts, "type": f"{text[:60]}last"}]:
        state.add(event)
    longest = state.summary(f"{'n' * 32}:{'w' * 128}", 2**48 - 1, 2**52 - 1, "0" * 16)
    data = to_json(longest)
    assert len(data) <= MAX_BYTES
    shown = Summary.model_validate_json(data)
    assert shown.head == 51
    assert not {"\x01", "\x9f"} & set("".join(shown.counts))


def test_a_summary_that_is_cut_keeps_its_short_texts() -> None:
    long = [{"type": f"{number}" + "😀" * 60, "issue_id": "😀" * 120, "timestamp": "😀" * 120} for number in range(30)]
    started = {"type": "started", "toolchain": "claude", "model": "m", "timestamp": "2026-01-01T00:00:00.000Z"}
    shown = Summary.model_validate_json(to_json(fold(started, *long)))
    assert (shown.agent, shown.model, shown.activity) == ("claude", "m", "starting")
    assert shown.first == EventMark(offset=0, type="started", timestamp="2026-01-01T00:00:00.000Z")
    assert shown.last is not None
    assert shown.last.timestamp is None


@given(st.lists(events, max_size=60))
def test_any_events_fold_into_at_most_4_kib(stream: list[dict[str, Any] | None]) -> None:
    data = to_json(fold(*stream))
    assert len(data) <= MAX_BYTES
    assert json.loads(data)["head"] == len(stream)


@given(st.lists(events, max_size=30), st.integers(0, 30))
def test_a_fold_that_is_saved_and_restored_gives_the_same_summary(stream: list[dict[str, Any] | None], at: int) -> None:
    first = Fold()
    for event in stream[:at]:
        first.add(event)
    second = Fold.from_state(json.loads(json.dumps(first.to_state())), shipped_prices())
    for event in stream[at:]:
        second.add(event)
    assert second.summary("wc", 1, 0, "o") == fold(*stream)


def state_of(log: Iterable[dict[str, Any]]) -> bytes:
    state = Fold()
    for event in log:
        state.add(event)
    assert len(to_json(state.summary("wc", 1, 0, "o"))) <= MAX_BYTES
    return json.dumps(state.to_state()).encode()


def endless_log(name: Callable[[int], str]) -> Generator[dict[str, Any]]:
    """A log whose tables would all grow without end: sessions, models, messages, calls, types, versions."""
    count, tokens = 500, {"input_tokens": 10**9, "output_tokens": 10**9, "cache_read_tokens": 10**9}
    for number in range(count):
        yield {"type": "started", "toolchain": "x", "session_id": name(number), "agent_version": name(number)}
        yield {"type": "unknown", "raw": "?"}
        yield {"type": f"t-{name(number)}"}
        yield {"type": "completed", "status": "success", "session_usage": tokens, "session_cost_usd": 1.0}
    yield {"type": "started", "toolchain": "x"}
    for number in range(count):
        yield {"type": "usage", "usage": tokens, "message_id": name(number), "model": name(number), "cost_usd": 1.0}
        yield {"type": "tool_call", "tool": name(number), "call_id": name(number), "timestamp": TIME}
    models = [{"model": name(number), "usage": tokens} for number in range(count)]
    yield {"type": "completed", "status": "success", "usage": tokens, "models": models}
    yield {"type": "prompt_sent", "prompt": "more"}
    for number in range(count):
        yield {"type": "usage", "usage": tokens, "message_id": name(number), "model": name(number), "cost_usd": 1.0}
        yield {"type": "tool_call", "tool": name(number), "call_id": name(number), "timestamp": TIME}
    yield {"type": "prompt_sent", "prompt": "x" * 1000, "timestamp": TIME}


def test_the_state_of_200_000_unanswered_calls_stays_below_64_kib() -> None:
    calls = (
        {"type": "tool_call", "tool": "Bash", "call_id": f"toolu_{n:024}", "timestamp": TIME} for n in range(200_000)
    )
    assert len(state_of(calls)) < 64 * 1024


def test_the_state_of_any_log_with_ids_of_usual_length_stays_below_64_kib() -> None:
    assert len(state_of(endless_log(lambda number: f"{number:030}"))) < 64 * 1024


def test_the_state_of_any_log_stays_below_2_mib() -> None:
    # 12 bytes each in JSON, and no text is kept at more than 256 characters
    assert len(state_of(endless_log(lambda number: f"{number:03}" + "😀" * 500))) < 2 * 1024 * 1024
