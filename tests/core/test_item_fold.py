from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workcast.events.wire import read_event
from workcast.items.held_texts import MAX_HELD, MAX_TEXT, MAX_TEXTS
from workcast.items.item import Item
from workcast.items.item_fold import ItemFold
from workcast.items.known_calls import MAX_CLOSED, MAX_OPEN

Event = dict[str, Any]


def fold(events: Iterable[Event], *, close: bool = True) -> list[Item]:
    folder = ItemFold()
    items = [item for offset, event in enumerate(events) for item in folder.push(offset, event)]
    return items + (folder.close() if close else [])


def brief(items: Iterable[Item]) -> list[tuple[str, int, int, str]]:
    """Kind, offset, end and texts of each item."""
    return [(item.kind, item.offset, item.end, " | ".join(item.texts.values())) for item in items]


def chunk(text: str, message: str | None = "m", block: int | None = 0) -> Event:
    return {"type": "response_chunk", "content": text, "message_id": message, "block": block}


def whole(text: str, message: str | None = "m", block: int | None = 0) -> Event:
    return {"type": "response_complete", "content": text, "message_id": message, "block": block}


def thought(text: str, message: str | None = "m", *, partial: bool = False) -> Event:
    return {"type": "thinking", "content": text, "message_id": message, **({"partial": True} if partial else {})}


def piece(text: str, stream: str = "stdout", call_id: str = "c", exit_code: int | None = None) -> Event:
    return {"type": "bash_output", "output": text, "stream": stream, "call_id": call_id, "exit_code": exit_code}


COMPLETED = {"type": "completed", "status": "success"}
STARTED = {"type": "started"}
PROMPT = {"type": "prompt_sent", "prompt": "do it"}
USAGE: Event = {"type": "usage", "usage": {}}
ABANDONED = {"type": "error", "error": "broke off", "kind": "stream_abandoned", "message_id": "m"}


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([chunk("a "), chunk("b"), whole("a b")], [("answer", 2, 3, "a b")]),
        ([chunk("a "), chunk("b")], [("answer", 0, 2, "a b")]),
        ([chunk("a "), chunk("b"), COMPLETED], [("answer", 0, 3, "a b"), ("completed", 2, 3, "")]),
        ([chunk("a "), chunk("b"), STARTED], [("answer", 0, 3, "a b"), ("started", 2, 3, "")]),
        ([chunk("a"), ABANDONED], [("answer", 0, 2, "a"), ("error", 1, 2, "broke off")]),
        ([chunk("a", block=0), chunk("b", block=1), {**ABANDONED, "from_block": 1}, whole("A")],
         [("answer", 1, 3, "b"), ("error", 2, 3, "broke off"), ("answer", 3, 4, "A")]),
        ([chunk("a", "x"), chunk("b", "y"), chunk("c", "x"), whole("B", "y")],
         [("answer", 3, 4, "B"), ("answer", 0, 4, "ac")]),
        ([thought("hm", partial=True), chunk("a"), thought("hm.")], [("thought", 2, 3, "hm."), ("answer", 1, 3, "a")]),
        # Without an id, only what directly follows continues a text; counts of tokens are beside it.
        ([chunk("a", None), USAGE, chunk("b", None), whole("ab", None)], [("usage", 1, 2, ""), ("answer", 3, 4, "ab")]),
        ([chunk("a", None), PROMPT, chunk("b", None)],
         [("answer", 0, 2, "a"), ("prompt", 1, 2, "do it"), ("answer", 2, 3, "b")]),
        # Output of a command that names its stream comes in pieces.
        ([piece("a"), piece("b", "stderr"), piece("c"), COMPLETED],
         [("output", 0, 4, "ac"), ("output", 1, 4, "b"), ("completed", 3, 4, "")]),
        ([piece("a"), piece("b", exit_code=0)], [("output", 0, 2, "ab")]),
        ([piece("a"), {"type": "tool_result", "call_id": "c", "result": "r"}],
         [("output", 0, 2, "a"), ("result", 1, 2, "r")]),
        ([{"type": "bash_output", "output": "a", "call_id": "c"}, {"type": "bash_output", "output": "b"}],
         [("output", 0, 1, "a"), ("output", 1, 2, "b")]),
        # Fields of any shape are searched too.
        ([{"type": "prompt_sent", "prompt": ["a", {"b": 1}]}], [("prompt", 0, 1, "0: a\n1.b: 1")]),
        ([{"type": "tool_call", "tool": "Edit", "args": {"p": "x", "n": None}}], [("call", 0, 1, "p: x\nn: null")]),
        ([{"type": "new", "timestamp": "t", "toolchain": "claude", "a": {"b": "c"}}], [("other", 0, 1, "a.b: c")]),
        ([read_event(b"not json")], [("malformed", 0, 1, "not json")]),
        ([{"type": "file_write", "path": "p", "diff": "+x"}], [("change", 0, 1, "p | +x")]),
    ],
)  # fmt: skip
def test_events_fold_into_whole_items(events: list[Event], expected: list[tuple[str, int, int, str]]) -> None:
    assert brief(fold(events)) == expected


@pytest.mark.parametrize(
    ("event", "flags"),
    [
        (PROMPT, {"prompt"}),
        (COMPLETED, set[str]()),
        ({"type": "completed", "status": "timeout"}, {"failed"}),
        ({"type": "error", "error": "x"}, {"error"}),
        ({"type": "file_write", "path": "x"}, {"change"}),
        ({"type": "file_read", "path": "x"}, set[str]()),
        ({"type": "tool_call", "tool": "x"}, {"open"}),
        ({"type": "tool_result", "error": "x"}, {"failed"}),
        ({"type": "tool_result", "error": "x", "unanswered": True}, set[str]()),
        ({"type": "tool_result", "exit_code": 1}, {"failed"}),
        ({"type": "tool_result", "exit_code": 0}, set[str]()),
        ({"type": "bash_output", "output": "", "exit_code": 2}, {"failed"}),
        (piece("x", exit_code=2), {"failed"}),
        (piece("x"), {"open"}),
        (chunk("x"), {"open"}),
    ],
)
def test_an_item_has_the_flags_of_its_event(event: Event, flags: set[str]) -> None:
    assert [item.flags for item in fold([event])] == [flags]


def test_what_belongs_to_a_call_has_its_tool() -> None:
    ids = {"call_id": "c"}
    items = fold([
        {"type": "tool_call", "tool": "Bash", "args": {}, **ids},
        {"type": "bash_command", "command": "ls", **ids},
        {"type": "tool_result", "result": "x", **ids},
        {"type": "bash_output", "output": "x", **ids},
        {"type": "file_write", "path": "x", **ids},
        {"type": "file_write", "path": "x", "call_id": "another"},
        {"type": "tool_call", "tool": "Read"},
        {"type": "tool_result", "result": "x"},
    ])  # fmt: skip
    assert [item.tool for item in items] == ["Bash", "Bash", "Bash", "Bash", "Bash", None, "Read", "Read"]


def test_a_call_is_open_until_its_result_or_the_end_of_its_run() -> None:
    folder = ItemFold()
    steps: list[tuple[Event, set[int]]] = [
        ({"type": "tool_call", "tool": "A", "call_id": "a"}, {0}),
        ({"type": "tool_call", "tool": "B"}, {0, 1}),
        ({"type": "tool_call", "tool": "B"}, {0, 1, 2}),
        ({"type": "tool_result", "tool": "B"}, {0, 1}),
        ({"type": "tool_result", "tool": "A", "call_id": "unknown"}, {0, 1}),
        ({"type": "tool_result", "call_id": "a"}, {1}),
        (COMPLETED, set()),
    ]
    for offset, (event, expected) in enumerate(steps):
        list(folder.push(offset, event))
        assert folder.open_calls() == expected


# ── bounds ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_text_that_is_too_long_to_hold_is_given_in_parts() -> None:
    size = MAX_TEXT // 4
    items = fold([chunk("x" * size) for _ in range(10)])
    assert [(item.offset, len(item.texts["content"])) for item in items] == [(0, 5 * size), (5, 5 * size)]


def test_all_held_texts_are_bounded() -> None:
    size = MAX_TEXT // 2
    for events in (
        [chunk("x" * size, str(number)) for number in range(3 * MAX_HELD // size)],
        [chunk("x", str(number)) for number in range(3 * MAX_TEXTS)],
    ):
        folder = ItemFold()
        given = [item for offset, event in enumerate(events) for item in folder.push(offset, event)]
        left = folder.close()
        assert len(left) <= MAX_TEXTS
        assert sum(len(item.texts["content"]) for item in left) <= MAX_HELD
        assert [item.offset for item in (*given, *left)] == list(range(len(events)))


def test_known_calls_are_bounded() -> None:
    folder = ItemFold()
    for number in range(2 * MAX_OPEN):
        list(folder.push(number, {"type": "tool_call", "tool": "x", "call_id": str(number)}))
    assert folder.open_calls() == frozenset(range(MAX_OPEN, 2 * MAX_OPEN))
    assert len(folder.calls) == MAX_OPEN + MAX_CLOSED


# ── any log ──────────────────────────────────────────────────────────────────────────────────────────────────────────
WORDS = st.sampled_from(["a", "b ", "", "c\n"])
MESSAGES = st.sampled_from(["m", "n", None])
BLOCKS = st.sampled_from([0, 1, None])
CALLS = st.sampled_from(["c", "d", None])


def of_call(kind: str, call_id: str | None) -> Event:
    fields: dict[str, Event] = {
        "tool_call": {"tool": f"T{call_id}", "args": {"x": 1}},
        "tool_result": {"result": "r"},
        "file_write": {"path": "p"},
    }
    return {"type": kind, "call_id": call_id, **fields[kind]}


EVENTS = st.one_of(
    st.builds(chunk, WORDS, MESSAGES, BLOCKS),
    st.builds(whole, WORDS, MESSAGES, BLOCKS),
    st.builds(thought, WORDS, MESSAGES, partial=st.booleans()),
    st.builds(piece, WORDS, st.sampled_from(["stdout", "stderr"]), CALLS, st.sampled_from([None, None, 0, 1])),
    st.builds(of_call, st.sampled_from(["tool_call", "tool_result", "file_write"]), CALLS),
    st.sampled_from([COMPLETED, STARTED, PROMPT, USAGE, ABANDONED, {"type": "new", "x": 1}, read_event(b"\xff")]),
)
LOGS = st.lists(EVENTS, max_size=40)


@given(LOGS)
def test_each_item_has_an_offset_of_its_own_and_ends_with_the_event_that_completed_it(events: list[Event]) -> None:
    folder = ItemFold()
    offsets: list[int] = []
    for offset, event in enumerate(events):
        for item in folder.push(offset, event):
            assert item.end == offset + 1
            offsets.append(item.offset)
        assert folder.resume_offset <= folder.end == offset + 1
    offsets += [item.offset for item in folder.close()]
    assert len(set(offsets)) == len(offsets)


@given(LOGS)
def test_pieces_whose_whole_text_is_missing_are_in_exactly_one_item(events: list[Event]) -> None:
    """Number the pieces: each is found once, unless a whole text with its key follows in the same run."""
    numbered = [
        {**event, "content": f"<{offset}>"} if event["type"] == "response_chunk" else event
        for offset, event in enumerate(events)
    ]
    found = "".join(text for item in fold(numbered) if item.type == "response_chunk" for text in item.texts.values())
    for offset, event in enumerate(numbered):
        if event["type"] != "response_chunk":
            continue
        later = numbered[offset + 1 :]
        end = next((at for at, other in enumerate(later) if other["type"] in ("started", "completed")), len(later))
        same = ("message_id", "block")
        replaced = any(
            other["type"] == "response_complete" and all(other[name] == event[name] for name in same)
            for other in later[:end]
        )
        count = found.count(f"<{offset}>")
        assert count <= 1
        assert count == 1 or replaced


@given(LOGS, st.integers(0, 40))
def test_another_fold_goes_on_where_one_stopped(events: list[Event], stop: int) -> None:
    numbered = list(enumerate(events))
    first, unbroken = ItemFold(), ItemFold()
    for offset, event in numbered[:stop]:
        list(first.push(offset, event))
    second = ItemFold(first.resume_offset, first.calls)
    expected = [item for offset, event in numbered for item in unbroken.push(offset, event)]
    found = [item for offset, event in numbered[first.resume_offset :] for item in second.push(offset, event)]
    assert [item for item in found if item.end > stop] == [item for item in expected if item.end > stop]
    assert second.close() == unbroken.close()
    assert second.open_calls() == unbroken.open_calls()
