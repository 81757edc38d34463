from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workcast.ledger.open_calls import MAX_KEPT, CallClock, OpenCall, OpenCalls


def test_a_result_without_an_id_answers_the_newest_call_of_its_tool_without_one() -> None:
    calls = OpenCalls()
    for key, call_id, tool in (("#1", None, "Read"), ("#2", None, "Bash"), ("a", "a", "Bash"), ("#3", None, "Read")):
        calls.start(key, OpenCall(call_id, tool))
    assert calls.end(None, "Bash") == "#2"
    assert calls.end(None, "Bash") is None
    assert calls.end(None, "Read") == "#3"
    assert list(calls.kept) == ["#1", "a"]


def test_calls_beyond_the_bound_are_counted_and_their_results_do_not_end_others() -> None:
    calls = OpenCalls()
    ids = [str(number) for number in range(3 * MAX_KEPT)]
    for call_id in ids:
        calls.start(call_id, OpenCall(call_id))
    assert (list(calls.kept), calls.more, len(calls)) == (ids[:MAX_KEPT], 2 * MAX_KEPT, 3 * MAX_KEPT)
    for call_id in ids[MAX_KEPT:]:
        calls.end(call_id, None)
    assert (list(calls.kept), calls.more) == (ids[:MAX_KEPT], 0)
    calls.end("unknown", None)
    assert len(calls) == MAX_KEPT


@given(st.lists(st.integers(0, 3 * MAX_KEPT), max_size=8 * MAX_KEPT))
def test_the_number_of_open_calls_is_right_whatever_their_order(steps: list[int]) -> None:
    """Each number is reported as a call and as its result in turn."""
    calls, model = OpenCalls(), set[int]()
    for number in steps:
        if number in model:
            model.remove(number)
            calls.end(str(number), "Bash")
        else:
            model.add(number)
            calls.start(str(number), OpenCall(str(number), "Bash"))
        assert len(calls) == len(model)
        assert len(calls.kept) <= MAX_KEPT
        assert calls.kept.keys() <= set(map(str, model))


def test_the_clock_runs_while_any_call_is_open_however_many_there_are() -> None:
    clock = CallClock()
    count = 10 * MAX_KEPT
    for number in range(count):
        clock.start(str(number), OpenCall(str(number)), 1000 + number)
    for number in range(count):
        assert clock.spent(5000) == 4000
        clock.end(str(number), None, 5000)
    assert (clock.spent(9000), clock.since, len(clock.open)) == (4000, None, 0)
    clock.start("again", OpenCall("again"), 9000)
    assert clock.spent(9500) == 4500
    clock.stop(10_000)
    assert clock.spent(20_000) == 5000


def test_the_clock_runs_on_while_the_oldest_of_many_calls_are_open() -> None:
    clock, count, oldest = CallClock(), 10 * MAX_KEPT, 2 * MAX_KEPT
    for number in range(count):
        clock.start(str(number), OpenCall(str(number)), 1000 + number)
    for number in range(oldest, count):
        clock.end(str(number), None, 5000)
    assert (clock.spent(9000), len(clock.open)) == (8000, oldest)
