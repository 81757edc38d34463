from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.logs import write_log
from support.plain_search import Found, plain_search
from workcast.broker.history import History
from workcast.broker.root import Root
from workcast.broker.roots import Roots
from workcast.index.hit import Hit
from workcast.index.log_scan import SearchedLog
from workcast.index.place import BEGINNING, Cursor, CursorError, Place
from workcast.index.search import Search, Starts
from workcast.ledger.summary import Summary
from workcast.question.parse import parse_question

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
LONG = 3600.0


def line(kind: str, minute: int = 0, **fields: Any) -> bytes:
    timestamp = (NOW - timedelta(hours=1) + timedelta(minutes=minute)).isoformat()
    return json.dumps({"type": kind, "timestamp": timestamp, **fields}).encode()


def answer(text: str, minute: int = 0) -> bytes:
    return line("response_complete", minute, content=text)


def logs_of(root: Root, history: History) -> list[SearchedLog]:
    extents = [(workcell, history.extent(workcell)) for workcell in root.ids()]
    return [
        SearchedLog(workcell, root.directory.name, extent.epoch, extent.base, extent.end)
        for workcell, extent in extents
        if extent is not None
    ]


def begin(
    root: Root,
    question: str,
    after: Place | None = None,
    *,
    logs: Sequence[SearchedLog] | None = None,
    summary: Callable[[str], Summary] = lambda workcell: Summary(id=workcell),
) -> Search:
    history = History(Roots(root))
    searched = logs_of(root, history) if logs is None else logs
    return Search(parse_question(question, NOW), searched, history, Starts(history), summary, after)


def found(hits: Sequence[Hit]) -> list[Found]:
    return [(hit.workcell, hit.epoch, hit.offset) for hit in hits]


def run(search: Search) -> list[Hit]:
    hits: list[Hit] = []
    while not search.is_done:
        hits += search.advance(LONG, 1000)
    return hits


def offsets(root: Root, question: str) -> list[tuple[str, int]]:
    return [(hit.workcell, hit.offset) for hit in run(begin(root, question))]


# ── what is found ────────────────────────────────────────────────────────────────────────────────────────────────────
def test_hits_come_from_the_newest_log_first_and_in_a_log_by_offset(root: Root) -> None:
    for name, minute in (("old", 1), ("new", 9), ("mid", 5)):
        write_log(root, name, [answer("a needle", minute), answer("nothing"), answer("Needle", minute - 1)])
    assert offsets(root, "needle") == [("new", 0), ("new", 2), ("mid", 0), ("mid", 2), ("old", 0), ("old", 2)]


def test_a_hit_says_what_to_show(root: Root) -> None:
    write_log(root, "w", [line("tool_call", 3, tool="Bash", args={"command": "grep needle"}, call_id="c")])
    (hit,) = run(begin(root, "needle"))
    timestamp = (NOW - timedelta(minutes=57)).isoformat()
    assert (hit.workcell, hit.offset, hit.type, hit.timestamp, hit.field) == ("w", 0, "tool_call", timestamp, "args")
    assert hit.snippet == "command: grep needle"
    assert hit.marks == ((14, 20),)


def test_a_phrase_is_found_across_pieces_and_only_once(root: Root) -> None:
    pieces = [line("response_chunk", content=text, message_id="m") for text in ("a nee", "dle in", " hay")]
    write_log(root, "streaming", pieces)
    write_log(root, "whole", [*pieces, line("response_complete", content="a needle in hay", message_id="m")])
    assert sorted(offsets(root, '"needle in hay"')) == [("streaming", 0), ("whole", 3)]


def test_only_what_may_be_shown_is_searched(root: Root) -> None:
    write_log(root, "w", [answer("needle") for _ in range(5)])
    (log,) = logs_of(root, History(Roots(root)))
    shown = SearchedLog(log.workcell, log.root, log.epoch, 1, 3)
    assert [hit.offset for hit in run(begin(root, "needle", logs=[shown]))] == [1, 2]
    beyond = SearchedLog(log.workcell, log.root, log.epoch, 3, 10)  # a broker may know more of a log than is here
    assert [hit.offset for hit in run(begin(root, "needle", logs=[beyond]))] == [3, 4]


def test_a_log_that_was_replaced_or_is_gone_is_skipped_and_counted(root: Root) -> None:
    for name in ("replaced", "gone", "same"):
        write_log(root, name, [answer(f"needle {name}")])
    logs = logs_of(root, History(Roots(root)))
    root.log("replaced").unlink()
    write_log(root, "replaced", [answer("another needle")])
    root.log("gone").unlink()
    root.workcell("gone").rmdir()
    search = begin(root, "needle", logs=logs)
    assert [hit.workcell for hit in run(search)] == ["same"]
    assert search.skipped == 2


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("is:open", [1, 3]),
        ("-is:open type:tool_call", [0]),
        ("is:open type:tool_call", [1]),
        ("tool:Bash", [0, 2]),
        ("type:malformed", [4]),
        ("garbage", [4]),
    ],
)
def test_calls_are_open_until_their_results_come(root: Root, question: str, expected: list[int]) -> None:
    lines = [
        line("tool_call", tool="Bash", call_id="a"), line("tool_call", tool="Read", call_id="b"),
        line("tool_result", call_id="a", result="x"), line("response_chunk", content="x", message_id="m"),
        b"garbage \xff",
    ]  # fmt: skip
    write_log(root, "w", lines)
    assert sorted(offset for _, offset in offsets(root, question)) == expected


def test_filters_of_runs_use_summaries_and_others_need_none(root: Root) -> None:
    for name in ("a", "b"):
        write_log(root, name, [answer("needle")])
    asked: list[str] = []

    def summary(workcell: str) -> Summary:
        asked.append(workcell)
        return Summary(id=workcell, agent="claude" if workcell == "a" else "codex")

    assert [hit.workcell for hit in run(begin(root, "needle agent:claude", summary=summary))] == ["a"]
    assert sorted(asked) == ["a", "b"]
    assert [hit.workcell for hit in run(begin(root, "needle in:b", summary=summary))] == ["b"]
    assert [hit.workcell for hit in run(begin(root, "needle root:nowhere", summary=summary))] == []
    assert len(asked) == 2


def test_hostile_text_is_found_and_shown_as_the_wire_has_it(root: Root) -> None:
    hostile = "\x1b[31m\0 needle \u202e 𝄞" + "x" * (5 << 20)
    write_log(root, "w", [answer(hostile), b'{"type":"\\ud800 needle"}'])
    first, second = run(begin(root, "needle"))
    assert first.snippet == hostile[:240]
    assert [first.snippet[start:end] for start, end in first.marks] == ["needle"]
    assert (second.type, second.snippet) == ("malformed", '{"type":"\\ud800 needle"}')


# ── turns and places ─────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_turn_ends_in_time_and_another_search_goes_on_from_its_place(root: Root) -> None:
    for number in range(20):
        write_log(root, f"w{number}", [answer(f"needle {number}", number)] * 3)
    expected = found(run(begin(root, "needle")))
    search, hits, turns = begin(root, "needle"), list[Hit](), 0
    while not search.is_done:
        search = begin(root, "needle", search.place)
        while not search.has_progressed:
            hits += search.advance(0, 1000)
        turns += 1
    assert found(hits) == expected
    assert turns >= 20


def test_a_log_that_grows_between_pages_repeats_nothing(root: Root) -> None:
    write_log(root, "w", [answer("needle")] * 3)
    first = begin(root, "needle")
    hits = first.advance(LONG, 2)
    write_log(root, "w", [answer("needle")] * 2)
    hits += run(begin(root, "needle", first.place))
    assert [hit.offset for hit in hits] == [0, 1, 2, 3, 4]


def test_a_log_that_was_replaced_between_pages_is_searched_from_its_start(root: Root) -> None:
    write_log(root, "w", [answer("needle")] * 3)
    first = begin(root, "needle")
    first.advance(LONG, 2)
    root.log("w").unlink()
    write_log(root, "w", [line("response_complete", content="needle", x=1)])
    assert [hit.offset for hit in run(begin(root, "needle", first.place))] == [0]


def test_a_cursor_belongs_to_its_question() -> None:
    place = Place(5, "w", 7, 1, 2, 3)
    text = Cursor(NOW, place).write("needle")
    assert Cursor.parse(text, "needle") == Cursor(NOW, place)
    with pytest.raises(CursorError, match="that of another"):
        Cursor.parse(text, "hay")


@pytest.mark.parametrize("text", ["", "x", "AAAA", "ž", "W10", "W" * 2000, "WzEsMiwzLDQsNSw2LDcsOF0"])
def test_a_malformed_cursor_is_refused(text: str) -> None:
    with pytest.raises(CursorError, match="expected the cursor of an answer"):
        Cursor.parse(text, "needle")


@given(st.text(max_size=80))
def test_any_other_cursor_is_refused(text: str) -> None:
    with pytest.raises(CursorError):
        Cursor.parse(text, "needle")


# ── against the simplest search ──────────────────────────────────────────────────────────────────────────────────────
WORDS = st.sampled_from(["needle", "Needle", "needles", "in", "a.b", "hay", "žluť", "/", "x1", "\n", "e\u0301"])
TEXTS = st.lists(WORDS, max_size=4).map(" ".join)
IDS = st.sampled_from(["a", "b", None])
KINDS = st.sampled_from(["response_chunk", "response_complete", "thinking"])


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    kind = draw(
        st.sampled_from(["text", "text", "call", "result", "output", "file", "error", "end", "malformed", "new"])
    )
    minute, text, name = draw(st.integers(0, 50)), draw(TEXTS), draw(IDS)
    match kind:
        case "text":
            return line(draw(KINDS), minute, content=text, message_id=name, partial=draw(st.booleans()))
        case "call":
            return line(
                "tool_call", minute, tool=draw(st.sampled_from(["Bash", "Read"])), args={"x": text}, call_id=name
            )
        case "result":
            return line(
                "tool_result", minute, result=[text, "needle"], error=draw(st.sampled_from([None, text])), call_id=name
            )
        case "output":
            code = draw(st.sampled_from([None, 0, 1]))
            return line("bash_output", minute, output=text, stream="stdout", call_id=name, exit_code=code)
        case "file":
            return line("file_write", minute, path=f"src/{text}.py", diff=text, call_id=name)
        case "error":
            return line("error", minute, error=text)
        case "end":
            return line("completed", minute, status="failed", reason=text)
        case "malformed":
            return text.replace("\n", " ").encode() + b"\xff"
        case _:
            return line("new", minute, some={"deep": text})


TERMS = st.sampled_from([
    "needle", "Needle", "needl*", "-hay", '"needle in"', '"a.b hay"', "/ne+dle/", "/NEEDLE/i", "-/x[0-9]/", "žluť", "e",
    "deep", "in",
])  # fmt: skip
FILTERS = st.sampled_from([
    "tool:bash", "-tool:read", "type:tool_*", "type:malformed", "-type:response_chunk", "is:failed", "is:error",
    "is:open", "-is:open", "is:change", "path:*.py", "path:src/needle*", "since:40m", "until:30m",
])  # fmt: skip
QUESTIONS = st.tuples(st.lists(TERMS, max_size=2), st.lists(FILTERS, max_size=2)).filter(
    lambda parts: (
        sum(part.startswith("since:") for part in parts[1]) < 2
        and sum(part.startswith("until:") for part in parts[1]) < 2
    )
)
LOGS = st.lists(
    st.tuples(
        st.lists(lines(), max_size=25), st.booleans(), st.sampled_from([b"", b'{"type":"torn']), st.integers(0, 3)
    ),
    max_size=3,
)


@settings(max_examples=200)
@given(
    logs=LOGS, parts=QUESTIONS, limit=st.integers(1, 5), seconds=st.sampled_from([0.0, LONG]), is_resumed=st.booleans()
)
def test_a_search_finds_what_the_simplest_search_finds(
    logs: list[tuple[list[bytes], bool, bytes, int]],
    parts: tuple[list[str], list[str]],
    limit: int,
    seconds: float,
    *,
    is_resumed: bool,
) -> None:
    """In one go or in pages, each by another search: replaced, pruned, torn and malformed logs."""
    question = " ".join((*parts[0], *parts[1]))
    with tempfile.TemporaryDirectory() as directory:
        root = Root(Path(directory))
        for number, (written, is_pruned, torn, twice) in enumerate(logs):
            header = [b'{"type":"log","epoch":%d,"base":%d}' % (number + 1, 100 * number)] if is_pruned else []
            path = write_log(root, f"w{number}", header + written * (twice or 1))
            with path.open("ab") as file:
                file.write(torn)
        search = begin(root, question, BEGINNING)
        hits: list[Hit] = []
        while not search.is_done:
            hits += search.advance(seconds, limit)
            if is_resumed and search.has_progressed and not search.is_done:
                assert search.place is not None
                cursor = Cursor(NOW, search.place).write(question)
                search = begin(root, question, Cursor.parse(cursor, question).place)
        assert found(hits) == plain_search(root, parse_question(question, NOW))
