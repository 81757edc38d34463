"""Whether an item answers a question, and where."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from workcast.items.item import FieldName, Item
from workcast.ledger.event_fields import moment
from workcast.question.expression import SPACE, Expression, boundary, glob, is_word_character, quote
from workcast.question.question import Flags, NameField, Names, Pattern, Question, Term

SNIPPET: Final = 240
"""Code points of a snippet."""
_BEFORE: Final = 80
"""Code points of a snippet before the first mark."""
_MAX_MARKS: Final = 100
_MAX_EMPTY: Final = 1000
"""Matches of nothing after which a regular expression is given up."""


@dataclass(frozen=True, slots=True)
class Match:
    """Where an item answers a question."""

    field: FieldName | None
    """The field that the snippet is from: the first in which the first term occurs; None if the item has no text."""
    snippet: str
    """At most 240 code points."""
    marks: tuple[tuple[int, int], ...] = ()
    """Where terms occur in the snippet: code points, in order, apart from each other."""


class Matcher:
    """A question, ready to be put to items."""

    def __init__(self, question: Question) -> None:
        self._wanted = [_Finder(term, question.is_caseless) for term in question.terms if not term.is_excluded]
        self._excluded = [_Finder(term, question.is_caseless) for term in question.terms if term.is_excluded]
        self._names = [
            (_ITEM_NAMES[filter_.field], NameMatcher(filter_))
            for filter_ in question.filters
            if isinstance(filter_, Names) and filter_.field in _ITEM_NAMES
        ]
        self._flags = [filter_ for filter_ in question.filters if isinstance(filter_, Flags)]
        self._since, self._until = _milliseconds(question.since), _milliseconds(question.until)

    def match(self, item: Item) -> Match | None:
        """Return where an item answers the question; None if it does not."""
        if not self._admits(item):
            return None
        texts: dict[FieldName, bytes] = {field: text.encode() for field, text in item.texts.items()}
        if any(finder.occurs(data) for finder in self._excluded for data in texts.values()):
            return None
        if not all(any(finder.occurs(data) for data in texts.values()) for finder in self._wanted):
            return None
        return self._found(item.texts, texts)

    def _admits(self, item: Item) -> bool:
        """Whether all that is asked besides the terms holds."""
        for filter_ in self._flags:
            if item.flags.isdisjoint(filter_.flags) is not filter_.is_excluded:
                return False
        if not all(matcher.holds(value(item)) for value, matcher in self._names):
            return False
        if self._since is None and self._until is None:
            return True
        at = moment(item.timestamp)
        return (
            at is not None and (self._since is None or at >= self._since) and (self._until is None or at < self._until)
        )

    def _found(self, texts: Mapping[FieldName, str], encoded: Mapping[FieldName, bytes]) -> Match:
        if not self._wanted:
            return next((Match(name, text[:SNIPPET]) for name, text in texts.items()), Match(None, ""))
        first = self._wanted[0]
        field: FieldName = next(name for name, data in encoded.items() if first.occurs(data))
        data = encoded[field]
        at = next(first.spans(data), (0, 0))
        text = texts[field]
        begin = max(0, len(data[: at[0]].decode()) - _BEFORE)
        snippet = text[begin : begin + SNIPPET]
        start = len(text[:begin].encode())
        end = start + len(snippet.encode())
        spans = [at, *(span for finder in self._wanted for span in finder.spans(data, start, end))]
        marks = _apart((max(span[0], start), min(span[1], end)) for span in spans)
        # Positions in code points, each counted from the one before it.
        counted: list[tuple[int, int]] = []
        position, points = start, 0
        for mark in marks[:_MAX_MARKS]:
            first_point = points + len(data[position : mark[0]].decode())
            points = first_point + len(data[mark[0] : mark[1]].decode())
            position = mark[1]
            counted.append((first_point, points))
        return Match(field, snippet, tuple(counted))


class _Finder:
    """Finds one term in UTF-8."""

    def __init__(self, term: Term, is_caseless: bool) -> None:
        self._has_left = self._has_right = False
        if isinstance(term, Pattern):
            self._expression = Expression(term.pattern, ignores_case=term.ignores_case)
            self._group = 0
            return
        self._has_left = is_word_character(term.text[0])
        self._has_right = not term.is_prefix and is_word_character(term.text[-1])
        self._ends_word = is_word_character(term.text[-1])
        self._last = len(term.text[-1].encode())
        words = f"{SPACE}+".join(map(quote, term.text.split()))
        left = rf"(?:\A|{boundary()})" if self._has_left else ""
        right = rf"(?:\z|{boundary()})" if self._has_right else ""
        self._expression = Expression(f"{left}({words}){right}", ignores_case=is_caseless)
        self._group = 1

    def occurs(self, data: bytes) -> bool:
        return self._expression.matches(data)

    def spans(self, data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
        """Yield the places, in bytes, that begin from one byte to below another; they do not overlap."""
        empty = 0
        while (span := self._expression.find(data, start, self._group)) is not None:
            if end is not None and span[0] >= end:
                return
            if span[0] < span[1]:
                yield span
            else:
                empty += 1
            start = self._after(data, span)
            if start > len(data) or empty > _MAX_EMPTY:
                return

    def _after(self, data: bytes, span: tuple[int, int]) -> int:
        """Return where the next place may be found: the character before it counts, if the term begins a word."""
        if span[0] == span[1]:  # an empty match of a regular expression: go on with the next character
            return next((at for at in range(span[1] + 1, len(data)) if data[at] & 0xC0 != 0x80), len(data) + 1)
        return span[1] - self._last if self._has_left and not self._ends_word else span[1]


class NameMatcher:
    """Whether a value is among the names of a filter: patterns, in any case, of the whole value.

    A pattern of a path may also match what follows any ``/`` of it.
    """

    def __init__(self, filter_: Names) -> None:
        start = "(?:.*/)?" if filter_.field == "path" else ""
        globs = "|".join(map(glob, filter_.values))
        self._expression = Expression(rf"(?s)\A{start}(?:{globs})\z", ignores_case=True)
        self._is_excluded = filter_.is_excluded

    def holds(self, value: str | None) -> bool:
        """Whether the filter holds of a value; one that is missing has none of the names."""
        return (value is not None and self._expression.matches(_encoded(value))) is not self._is_excluded


_ITEM_NAMES: Final[Mapping[NameField, Callable[[Item], str | None]]] = {
    "tool": lambda item: item.tool,
    "type": lambda item: item.type,
    "path": lambda item: item.path,
}


def _encoded(value: str) -> bytes:
    return value.encode(errors="replace")  # a name of a directory may hold bytes that are not UTF-8


def _milliseconds(time: datetime | None) -> int | None:
    return None if time is None else round(time.timestamp() * 1000)


def _apart(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return spans in order, those that overlap as one."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if start >= end:
            continue
        if joined and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined
