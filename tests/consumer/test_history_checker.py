"""The history checker reports a history that breaks any of its rules."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.history_checker import Connected, Entry, Log, Requested, epochs_shown, problems
from support.logs import event_line

OLD = Log([event_line(n) for n in range(6)])
NEW = Log([event_line(n, "new") for n in range(4)])
PRUNED = Log([event_line(n) for n in range(10, 14)], base=10)
LOGS = {1: OLD, 2: NEW, 3: PRUNED}


def say(op: str, **members: Any) -> str:
    return json.dumps({"op": op, "workcell": "wc", **members}, separators=(",", ":"))


def events(epoch: int, offset: int, until: int, head: int | None = None, lines: list[bytes] | None = None) -> str:
    log = LOGS[epoch]
    chosen = log.lines[offset - log.base : until - log.base] if lines is None else lines
    start = f'{{"op":"events","workcell":"wc","epoch":{epoch},"offset":{offset},'
    return start + f'"head":{log.end if head is None else head},"events":[{b",".join(chosen).decode()}]}}'


HELLO = '{"op":"hello","version":1}'
START: list[Entry] = [
    Connected(),
    HELLO,
    Requested("wc", "start"),
    say("subscribed", epoch=1, offset=0, head=6),
]
LIVE = say("live", epoch=1, offset=6)
WHOLE: list[Entry] = [*START, events(1, 0, 4), events(1, 4, 6), LIVE]
RESET = say("reset", epoch=2, offset=0, head=4)


def asked(place: object, *answers: str) -> list[Entry]:
    return [Connected(), HELLO, Requested("wc", place), *answers]


@pytest.mark.parametrize(
    "history",
    [
        WHOLE,
        [*WHOLE, Connected(), HELLO, Requested("wc", {"epoch": 1, "offset": 6}),
         say("subscribed", epoch=1, offset=6, head=6), LIVE],
        [*WHOLE, Requested("wc", "tail"), say("subscribed", epoch=1, offset=6, head=6), LIVE],
        [*WHOLE, Requested("wc", {"last": 2}), say("subscribed", epoch=1, offset=4, head=6), events(1, 4, 6), LIVE],
        [*START, Requested("wc", "start"), events(1, 0, 3), say("subscribed", epoch=1, offset=0, head=6),
         events(1, 0, 6), LIVE],
        asked({"epoch": 9, "offset": 3}, say("reset", epoch=1, offset=0, head=6), events(1, 0, 6), LIVE),
        asked({"epoch": 1, "offset": 9}, say("subscribed", epoch=1, offset=9, head=6), say("live", epoch=1, offset=9)),
        [*WHOLE, Requested("wc", "no place"), say("error", code="bad_message", message="why")],
        [*WHOLE, Requested("other", "start"), '{"op":"events","workcell":"other","epoch":5,"offset":7,"events":[]}'],
    ],
)  # fmt: skip
def test_sound_histories_pass(history: list[Entry]) -> None:
    assert problems("wc", history, LOGS, complete=1) == []


def test_a_reset_begins_the_new_epoch_from_its_base() -> None:
    history = [*WHOLE, RESET, events(2, 0, 4), say("live", epoch=2, offset=4)]
    assert problems("wc", history, LOGS, complete=2) == []


def test_pruned_events_may_be_reported_as_a_gap() -> None:
    history = asked(
        {"epoch": 3, "offset": 5},
        say("subscribed", epoch=3, offset=5, head=14),
        say("gap", epoch=3, offset=5, until=10, reason="pruned"),
        events(3, 10, 14),
        say("live", epoch=3, offset=14),
    )
    assert problems("wc", history, LOGS, complete=3) == []


@pytest.mark.parametrize(
    ("history", "complaint"),
    [
        ([Connected(), START[3]], "subscribed before hello"),
        ([*WHOLE, HELLO], "a second hello"),
        ([Connected(), HELLO, events(1, 0, 6)], "events before subscribed"),
        ([*WHOLE, Connected(), HELLO, LIVE], "live before subscribed"),
        ([Connected(), HELLO, START[3]], "without a request"),
        ([Connected(), HELLO, say("reset", epoch=1, offset=0, head=6)], "without a request"),
        ([*START, events(1, 1, 6), LIVE], "not dense"),
        ([*START, events(1, 0, 4), events(1, 3, 6), LIVE], "not dense"),
        ([*START, events(1, 0, 4), events(1, 0, 4)], "not dense"),
        ([*START, events(1, 0, 6, lines=[*OLD.lines[:5], NEW.lines[3]])], "not those of the log"),
        ([*START, events(1, 0, 6, lines=list(OLD.lines[::-1]))], "not those of the log"),
        ([*START, events(1, 0, 6).replace(": ", ":")], "not those of the log"),
        ([*START, events(1, 0, 6, lines=[])], "events without any"),
        ([*START, events(1, 0, 6, head=5)], "events past their head"),
        ([*START, events(1, 0, 6, head=7)], "a head of 7 past the log"),
        ([*START, events(2, 0, 4)], "events of epoch 2 while 1 is in force"),
        ([*WHOLE, LIVE], "live twice"),
        ([*START, events(1, 0, 4), say("live", epoch=1, offset=4)], "live at 4, before the head 6"),
        ([*START, events(1, 0, 6), say("live", epoch=1, offset=5)], "live at 5, not 6"),
        ([*START, events(1, 0, 6)], "never live"),
        ([*START, events(1, 0, 5)], "incomplete: it has reached 5 of 6"),
        ([*WHOLE, RESET, events(2, 0, 4), say("live", epoch=2, offset=4)], "expected to end in epoch 1"),
        ([*WHOLE, say("reset", epoch=1, offset=0, head=6)], "reset to epoch 1, which is in force"),
        ([*WHOLE, say("reset", epoch=2, offset=1, head=4)], "reset to 1, not the base"),
        ([*WHOLE, say("reset", epoch=2, offset=0, head=5)], "a head of 5 past the log"),
        ([*WHOLE, say("reset", epoch=8, offset=0, head=5)], "epoch 8 never existed"),
        (asked("tail", say("subscribed", epoch=1, offset=5, head=6)), "expected the tail 6"),
        (asked("start", say("subscribed", epoch=3, offset=9, head=14)), "expected the start 10"),
        (asked({"last": 2}, say("subscribed", epoch=1, offset=3, head=6)), "expected the last 2"),
        (asked({"epoch": 1, "offset": 2}, say("subscribed", epoch=1, offset=3, head=6)), "expected 2"),
        (asked({"epoch": 9, "offset": 2}, say("subscribed", epoch=1, offset=2, head=6)), "no reset"),
        (asked({"epoch": 1, "offset": 2}, say("reset", epoch=1, offset=0, head=6)), "though the epoch is in force"),
        ([*START, say("gap", epoch=1, offset=0, until=2, reason="pruned")], "reported as pruned, the base is 0"),
        ([*START, say("gap", epoch=1, offset=1, until=2, reason="pruned")], "a gap from 1 at 0"),
        ([*START, say("gap", epoch=1, offset=0, until=0, reason="pruned")], "an empty gap"),
        ([*START, say("gap", epoch=1, offset=0, until=2, reason="unavailable")], "reported as unavailable"),
        ([*START, say("head", epoch=1, head=7)], "a head of 7 past the log"),
        ([*START, say("head", epoch=1, head=5)], "a head of 5 after one of 6"),
        ([*START, events(1, 0, 4, head=5), events(1, 4, 6), LIVE], "a head of 5 after one of 6"),
        ([*START, say("error", code="bad_message"), say("error", code="bad_message")], "error without a request"),
        ([*WHOLE, Requested("wc", "tail")], "not every request was answered"),
        ([*START, say("pong", epoch=1)], "not a message about a workcell"),
    ],
)
def test_each_broken_rule_is_reported(history: list[Entry], complaint: str) -> None:
    assert any(complaint in problem for problem in problems("wc", history, LOGS, complete=1))


def test_a_gap_of_unavailable_events_passes_only_if_they_were_declared_so() -> None:
    history: list[Entry] = [
        *START, say("gap", epoch=1, offset=0, until=4, reason="unavailable"), events(1, 4, 6), LIVE,
    ]  # fmt: skip
    assert problems("wc", history, LOGS, complete=1, unavailable={1}) == []
    assert problems("wc", history, LOGS, complete=1, unavailable={2}) != []


AT_OLD = {"epoch": 1, "offset": 6}
RESUMED: list[Entry] = [*WHOLE, Requested("wc", AT_OLD), RESET, events(2, 0, 2)]


def test_a_reset_may_come_unasked_just_before_the_one_that_answers() -> None:
    rest = [events(2, 2, 4), say("live", epoch=2, offset=4)]
    assert problems("wc", [*RESUMED, *rest], LOGS, complete=2) == []
    again = [*RESUMED, RESET, events(2, 0, 2), *rest]
    assert problems("wc", again, LOGS, complete=2) == []
    assert problems("wc", [*again, RESET], LOGS) == ["reset to epoch 2, which is in force"]


def test_the_log_of_an_epoch_is_identified_by_its_events() -> None:
    edited = Log([*OLD.lines[:3], NEW.lines[0], *OLD.lines[4:]])
    logs = [OLD, NEW, edited]
    first_three: list[Entry] = [*START, events(1, 0, 3)]
    assert epochs_shown("wc", [first_three], logs) == {1: [OLD, edited]}
    assert epochs_shown("wc", [first_three, WHOLE, [RESET]], logs) == {1: [OLD], 2: [OLD, NEW, edited]}
    mixture = events(1, 3, 4, 6, [NEW.lines[0]])
    assert epochs_shown("wc", [WHOLE, [mixture]], logs) == {1: []}
