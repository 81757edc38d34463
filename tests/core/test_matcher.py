from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.plain_search import plain_spans
from workcast.events.usage import Usage
from workcast.items.item import FieldName, Item
from workcast.ledger.summary import Summary
from workcast.question.matcher import SNIPPET, Match, Matcher
from workcast.question.parse import parse_question
from workcast.question.question import Question, Text
from workcast.question.run_filter import RunFilter

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


def item(content: str = "", **fields: Any) -> Item:
    texts: dict[FieldName, str] = {"content": content} if content else {}
    given: dict[str, Any] = {
        "kind": "answer", "offset": 0, "end": 1, "type": "response_complete", "timestamp": None, "tool": None,
        "path": None, "flags": frozenset(), "texts": texts,
    }  # fmt: skip
    return Item(**{**given, **fields})


def match(question: str, found: Item) -> Match | None:
    return Matcher(parse_question(question, NOW)).match(found)


def marked(question: str, content: str) -> list[str] | None:
    """Return the marked parts of the snippet; None if nothing matches."""
    found = match(question, item(content))
    return None if found is None else [found.snippet[start:end] for start, end in found.marks]


@pytest.mark.parametrize(
    ("question", "content", "marks"),
    [
        ("word", "a word here", ["word"]),
        ("word", "a Word, WORD", ["Word", "WORD"]),
        ("Word", "a word", None),
        ("Word", "a Word", ["Word"]),
        ("word", "words sword", None),
        ("word*", "words sword", ["word"]),
        ("utils.py", "src/utils.py:3", ["utils.py"]),
        ("utils", "my_utils.py", ["utils"]),
        ("1", "21 12 1.5", ["1"]),
        ("--json", "x", None),
        ("--json", "a --json b", ["--json"]),
        ('"--"', "----", ["--", "--"]),
        ('"a-"', "a-a-a-", ["a-", "a-", "a-"]),
        ("aa", "aaaa aa", ["aa"]),
        ('"a b"', "a\n\t b", ["a\n\t b"]),
        ('"a b"', "a\u00a0b", ["a\u00a0b"]),
        ('"a b"', "a.b", None),
        ('"a b"', "xa b a b", ["a b"]),
        ('"a aa"', "a a aa", ["a aa"]),  # a candidate whose end fails does not hide the next one
        ("a b", "b a", ["b", "a"]),
        ("a b", "a c", None),
        ("a -b", "a c", ["a"]),
        ("a -b", "a b", None),
        ("-b", "a", []),
        ("žluť", "ŽLUŤ", ["ŽLUŤ"]),
        ("e", "e\u0301", None),  # a mark belongs to its letter
        ("ß", "STRASSE ß", ["ß"]),
        ("/o+/", "foo boo", ["oo", "oo"]),
        ("/O/", "foo", None),
        ("/O/i", "foo", ["o", "o"]),
        ("/^b/", "a\nb", None),
        ("/(?m)^b/", "a\nb", ["b"]),
        ("/x*/", "ab", []),
        ("/a|/", "ab", ["a"]),
        ("/a|/", "ba", ["a"]),
        ('/[b-d]+/ "cd"', "abcd cd", ["bcd", "cd"]),
        ('"a\0b"', "a\0b", ["a\0b"]),
        ("", "anything", []),
        ("(.*)", "a(.*)b", ["(.*)"]),
    ],
)
def test_terms_match_texts(question: str, content: str, marks: list[str] | None) -> None:
    assert marked(question, content) == marks


def test_terms_may_occur_in_different_texts_of_an_item_but_a_phrase_in_one() -> None:
    call = item(texts={"result": "one two", "error": "three"})
    assert match("three one", call) == Match("error", "three", ((0, 5),))
    assert match("-three one", call) is None
    assert match('"two three"', call) is None


@pytest.mark.parametrize(
    ("question", "fields", "holds"),
    [
        ("tool:bash", {"tool": "Bash"}, True),
        ("tool:ba*", {"tool": "Bash"}, True),
        ("tool:ba?h", {"tool": "Bash"}, True),
        ("tool:as", {"tool": "Bash"}, False),
        ("tool:bash", {}, False),
        ("-tool:bash", {}, True),
        ("tool:a tool:bash", {"tool": "Bash"}, True),
        ("tool:[bash]", {"tool": "b"}, False),
        ("type:response_*", {}, True),
        ("path:utils.py", {"path": "src/a/utils.py"}, True),
        ("path:a/*.py", {"path": "src/a/utils.py"}, True),
        ("path:tils.py", {"path": "src/a/utils.py"}, False),
        ("path:src", {"path": "src/a/utils.py"}, False),
        ("path:src/*", {"path": "src/a/utils.py"}, True),
        ("is:failed", {"flags": frozenset({"failed"})}, True),
        ("is:failed is:error", {"flags": frozenset({"error"})}, True),
        ("is:failed", {}, False),
        ("-is:failed", {}, True),
        ("-is:failed", {"flags": frozenset({"failed"})}, False),
        ("since:1h", {"timestamp": "2026-11-27T11:00:00.000Z"}, True),
        ("since:1h", {"timestamp": "2026-11-27T10:59:59.999Z"}, False),
        ("until:1h", {"timestamp": "2026-11-27T11:00:00.000Z"}, False),
        ("until:1h", {"timestamp": "2026-11-27T10:59:59.999Z"}, True),
        ("until:1h", {"timestamp": "yesterday"}, False),
    ],
)
def test_filters_of_items(question: str, fields: dict[str, Any], *, holds: bool) -> None:
    assert (match(question, item("x", **fields)) is not None) is holds


@pytest.mark.parametrize(
    ("question", "holds"),
    [
        ("agent:claude model:opus* status:success issue:7", True),
        ("agent:codex", False),
        ("-agent:codex", True),
        ("cost:>1", True),
        ("cost:>=2 cost:<=2", True),
        ("-cost:>1", False),
        ("tokens:>1k", True),
        ("tokens:1500", True),
        ("duration:>5m", False),
        ("duration:300", True),
        ("word tool:x type:y", True),
    ],
)
def test_filters_of_runs(question: str, *, holds: bool) -> None:
    summary = Summary(
        id="w", agent="claude", model="Opus-5", status="success", issue_id="7", cost_usd=2.0, cost_computed_usd=0.5,
        usage=Usage(input_tokens=1000, output_tokens=500), duration_ms=300_000,
    )  # fmt: skip
    assert RunFilter(parse_question(question, NOW)).admits(summary) is holds


def test_an_unknown_cost_compares_in_no_way() -> None:
    for question, holds in (("cost:>0", False), ("cost:<1", False), ("-cost:<1", True)):
        assert RunFilter(parse_question(question, NOW)).admits(Summary(id="w")) is holds


def test_places_need_no_summary() -> None:
    run_filter = RunFilter(parse_question("in:fix-* -in:fix-2 root:api", NOW))
    assert not run_filter.needs_summary
    assert [run_filter.admits_place(workcell, "api") for workcell in ("fix-1", "fix-2", "x")] == [True, False, False]
    assert not run_filter.admits_place("fix-1", "web")
    assert RunFilter(parse_question("cost:>1", NOW)).needs_summary


# ── snippets ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_snippet_is_around_the_first_mark() -> None:
    found = match("needle", item("ž" * 1000 + " needle " + "𝄞" * 1000 + " needle"))
    assert found is not None
    assert len(found.snippet) == SNIPPET
    assert [found.snippet[start:end] for start, end in found.marks] == ["needle"]


def test_a_long_mark_and_many_marks_are_bounded() -> None:
    found = match("/x+/", item("x" * 10_000))
    assert found == Match("content", "x" * SNIPPET, ((0, SNIPPET),))
    found = match("/x/", item("x " * 10_000))
    assert found is not None
    assert len(found.marks) == 100


def test_a_text_of_16_mb_is_matched_in_pieces_of_its_length() -> None:
    """The time is linear even where every position is a candidate that fails."""
    assert match("aa", item("a" * (16 << 20))) is None
    assert match("/(?:a?){300}b/", item("a" * (1 << 20))) is None


# ── against the simplest matcher ─────────────────────────────────────────────────────────────────────────────────────
ALPHABET = "aAbžŽ1_-. \n\u00a0\u0301\u30a2𝄞("
TERM = st.builds(
    Text, st.text(ALPHABET, min_size=1, max_size=4).map(lambda text: " ".join(text.split())).filter(bool), st.booleans()
)


@given(terms=st.lists(TERM, min_size=1, max_size=2), text=st.text(ALPHABET, max_size=60), is_caseless=st.booleans())
def test_words_match_as_in_the_simplest_matcher(terms: list[Text], text: str, *, is_caseless: bool) -> None:
    found = Matcher(Question(tuple(terms), is_caseless=is_caseless)).match(item(text))
    spans = [list(plain_spans(term, text, is_caseless=is_caseless)) for term in terms]
    assert (found is not None) is all(spans)
    if found is not None:
        marked = {position for start, end in found.marks for position in range(start, end)}
        assert found.snippet == text
        assert marked == {position for places in spans for start, end in places for position in range(start, end)}
        assert all(before[1] <= after[0] for before, after in zip(found.marks, found.marks[1:], strict=False))


@given(term=TERM, text=st.text(ALPHABET, max_size=60), is_caseless=st.booleans())
def test_an_excluded_term_matches_where_the_term_does_not(term: Text, text: str, *, is_caseless: bool) -> None:
    excluded = Text(term.text, term.is_prefix, is_excluded=True)
    with_it, without_it = (
        Matcher(Question((wanted,), is_caseless=is_caseless)).match(item(text)) for wanted in (term, excluded)
    )
    assert (with_it is None) is not (without_it is None)
