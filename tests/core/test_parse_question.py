from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workcast.question.errors import QuestionError
from workcast.question.parse import MAX_LENGTH, MAX_PARTS, MAX_PATTERN, parse_question
from workcast.question.question import (
    Comparison,
    Flag,
    Flags,
    NameField,
    Names,
    Pattern,
    Quantity,
    QuantityField,
    Question,
    Term,
    Text,
)

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


def ask(text: str) -> Question:
    return parse_question(text, NOW)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("", ()),
        ("  \n ", ()),
        ("word", (Text("word"),)),
        ("two words", (Text("two"), Text("words"))),
        ('"a  phrase\n here"', (Text("a phrase here"),)),
        ("pre*", (Text("pre", is_prefix=True),)),
        ('"a pre"*', (Text("a pre", is_prefix=True),)),
        ("*", (Text("*"),)),
        ("-not", (Text("not", is_excluded=True),)),
        ('-"not this"', (Text("not this", is_excluded=True),)),
        (r'"a \"quote\" \\ here"', (Text(r'a "quote" \ here'),)),
        ("/a.b/", (Pattern("a.b"),)),
        ("/a b/i", (Pattern("a b", ignores_case=True),)),
        ("--json", (Text("--json"),)),
        ("-/a/", (Pattern("a", is_excluded=True),)),
        (r"/a\/b/", (Pattern("a/b"),)),
        ("/usr/bin", (Text("/usr/bin"),)),
        ("/usr/bin/", (Pattern("usr/bin"),)),
        ("std::vector a:b http://x", (Text("std::vector"), Text("a:b"), Text("http://x"))),
        ('it"s', (Text('it"s'),)),
    ],
)
def test_terms(text: str, terms: tuple[Term, ...]) -> None:
    assert ask(text).terms == terms


@pytest.mark.parametrize(
    ("text", "filters"),
    [
        ("in:a in:b", (Names("in", ("a", "b")),)),
        ("in:a -in:b in:a", (Names("in", ("a",)), Names("in", ("b",), is_excluded=True))),
        ('tool:"a b"', (Names("tool", ("a b",)),)),
        ("is:failed is:open", (Flags(("failed", "open")),)),
        ("-is:failed", (Flags(("failed",), is_excluded=True),)),
        ("cost:>1.5", (Quantity("cost", ">", 1.5),)),
        ("tokens:>=100k", (Quantity("tokens", ">=", 100_000),)),
        ("duration:<5m", (Quantity("duration", "<", 300),)),
        ("-duration:2", (Quantity("duration", "=", 2, is_excluded=True),)),
    ],
)
def test_filters(text: str, filters: tuple[object, ...]) -> None:
    assert ask(text).filters == filters


@pytest.mark.parametrize(
    ("text", "since"),
    [
        ("since:2d", NOW - timedelta(days=2)),
        ("since:1.5h", NOW - timedelta(minutes=90)),
        ("since:2026-11-27", datetime(2026, 11, 26, 23, tzinfo=UTC)),
        ("since:2026-11-27T09:00", datetime(2026, 11, 27, 8, tzinfo=UTC)),
        ("since:2026-11-27T09:00Z", datetime(2026, 11, 27, 9, tzinfo=UTC)),
    ],
)
def test_times(text: str, since: datetime) -> None:
    assert parse_question(text, NOW, timezone(timedelta(hours=1))).since == since


@pytest.mark.parametrize(
    ("text", "is_caseless"),
    [("word", True), ("Word", False), ("a Word", False), ("-Word", False), ("/Word/", True), ("tool:Bash", True)],
)
def test_words_with_capitals_are_matched_as_they_are(text: str, *, is_caseless: bool) -> None:
    assert ask(text).is_caseless is is_caseless


@pytest.mark.parametrize(
    ("text", "position", "part"),
    [
        ("a -", 3, "after '-'"),
        ('a "open', 2, "ends the quotation"),
        ('""', 0, "words between the quotes"),
        ('"a"b', 3, "a space after the phrase"),
        ("a /open", 2, "a '/' that ends"),
        ("/(/", 0, "RE2"),
        (r"/(a)\1/", 0, "RE2"),
        ("/(?=a)/", 0, "RE2"),
        (r"/\pL{500}/", 0, "too large"),
        ("tool:", 5, "a value after tool:"),
        ('tool:"a"b', 8, "a space after the value"),
        ("is:faild", 3, "did you mean is:failed?"),
        ("is:x", 3, "is:change, is:error, is:failed, is:open, is:prompt"),
        ("cost:much", 5, "cost:>1.5"),
        ("cost:>1k", 5, "cost:>1.5"),
        ("tokens:>1s", 7, "tokens:>100k"),
        ("duration:>1w", 9, "duration:<5m"),
        ("since:yesterday", 6, "an age, as in since:2d"),
        ("since:99999999999d", 6, "an age"),
        ("since:2d since:3d", 15, "once"),
        ("-since:2d", 7, "until: is the rest"),
        ("x" * (MAX_LENGTH + 1), MAX_LENGTH, f"at most {MAX_LENGTH} characters"),
        (" x" * (MAX_PARTS + 1), 2 * MAX_PARTS + 1, f"at most {MAX_PARTS} words"),
        ("in:a " * (MAX_PARTS + 1), 5 * MAX_PARTS, f"at most {MAX_PARTS} words"),
        (f"/{'x' * (MAX_PATTERN + 1)}/", 0, f"at most {MAX_PATTERN} characters"),
        ("/" + "(" * 900 + ")" * 900 + "/", 0, f"at most {MAX_PATTERN} characters"),
        ("a \ud800", 2, "Unicode text"),
    ],
)
def test_a_malformed_question_is_refused_with_its_position(text: str, position: int, part: str) -> None:
    with pytest.raises(QuestionError) as caught:
        ask(text)
    assert (caught.value.position, part in caught.value.problem) == (position, True), caught.value
    assert len(str(caught.value)) < 400


# ── any question ─────────────────────────────────────────────────────────────────────────────────────────────────────
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
WORDS = TEXTS.map(lambda text: " ".join(text.split())).filter(bool)
TERMS = st.one_of(
    st.builds(Text, WORDS, st.booleans(), st.booleans()),
    st.builds(Pattern, st.from_regex(r"[a-c./ ]{0,8}[a-c]", fullmatch=True), st.booleans(), st.booleans()),
)
VALUES = TEXTS
NUMBERS = st.integers(0, 10**6).map(lambda number: number / 4)
QUANTITIES = st.builds(
    Quantity, st.sampled_from(get_args(QuantityField)), st.sampled_from(get_args(Comparison)), NUMBERS, st.booleans()
)
NAMES = st.dictionaries(
    st.tuples(st.sampled_from(get_args(NameField)), st.booleans()),
    st.lists(VALUES, min_size=1, max_size=3, unique=True).map(tuple),
    max_size=4,
)
FLAGS = st.dictionaries(
    st.booleans(), st.lists(st.sampled_from(get_args(Flag)), min_size=1, max_size=3, unique=True).map(tuple)
)
TIMES = st.none() | st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001


@st.composite
def questions(draw: st.DrawFn) -> Question:
    names, flags = draw(NAMES), draw(FLAGS)
    terms = tuple(draw(st.lists(TERMS, max_size=5)))
    return Question(
        terms,
        (
            *(Names(field, values, is_excluded) for (field, is_excluded), values in names.items()),
            *(Flags(values, is_excluded) for is_excluded, values in flags.items()),
            *draw(st.lists(QUANTITIES, max_size=3)),
        ),
        draw(TIMES),
        draw(TIMES),
        not any(character.isupper() for term in terms if isinstance(term, Text) for character in term.text),
    )


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def written(question: Question) -> str:
    """Return a question as a person might write it."""
    parts: list[str] = []
    for term in question.terms:
        minus = "-" * term.is_excluded
        if isinstance(term, Text):
            parts.append(f"{minus}{quoted(term.text)}{'*' * term.is_prefix}")
        else:
            pattern = term.pattern.replace("/", "\\/")
            parts.append(f"{minus}/{pattern}/{'i' * term.ignores_case}")
    for part in question.filters:
        minus = "-" * part.is_excluded
        match part:
            case Names():
                parts += [f"{minus}{part.field}:{quoted(value)}" for value in part.values]
            case Flags():
                parts += [f"{minus}is:{flag}" for flag in part.flags]
            case Quantity():
                parts.append(f"{minus}{part.field}:{part.comparison}{part.value:f}")
    parts += [f"since:{question.since.isoformat()}"] if question.since else []
    parts += [f"until:{question.until.isoformat()}"] if question.until else []
    return " ".join(parts)


@given(questions())
def test_a_question_that_is_written_is_parsed_back(question: Question) -> None:
    assert ask(written(question)) == question


@given(st.text(max_size=60) | st.text('-"/\\*:i <>=1kd\nTtol:', max_size=40))
def test_any_text_is_a_question_or_refused_within_it(text: str) -> None:
    position = 0
    try:
        ask(text)
    except QuestionError as error:
        position = error.position
    assert 0 <= position <= len(text)
