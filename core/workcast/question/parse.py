"""Parse a question as people type it: words, phrases, regular expressions, and fields."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from difflib import get_close_matches
from typing import Final, NoReturn, cast, get_args

from workcast.question.errors import QuestionError
from workcast.question.expression import Expression, ExpressionError
from workcast.question.question import (
    Comparison,
    Filter,
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

MAX_LENGTH: Final = 4096
"""Of a question, in code points."""
MAX_PARTS: Final = 64
"""Terms and fields of a question."""
MAX_PATTERN: Final = 1000
"""Of a regular expression, in code points."""

_NAMES: Final = frozenset(get_args(NameField))
_FLAGS: Final = frozenset(get_args(Flag))
_QUANTITIES: Final = frozenset(get_args(QuantityField))
_FIELDS: Final = (*sorted(_NAMES), "is", *sorted(_QUANTITIES), "since", "until")
_FIELD: Final = re.compile(rf"({'|'.join(_FIELDS)}):")
_BARE: Final = re.compile(r"\S*")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_PATTERN: Final = re.compile(r"/((?:[^/\\]|\\.|/(?!i?(?:\s|$)))+)/(i?)(?=\s|$)", re.DOTALL)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_SPACE: Final = re.compile(r"\s*")
_NUMBER: Final = r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
_QUANTITY: Final = re.compile(rf"(<=|>=|<|>|=|){_NUMBER}(k|M|G|ms|s|m|h|d|)", re.ASCII)
_AGE: Final = re.compile(rf"{_NUMBER}(s|m|h|d|w)", re.ASCII)
_COUNTS: Final = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
_SECONDS: Final = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_UNITS: Final = {"cost": {"": 1.0}, "tokens": _COUNTS, "duration": {k: v for k, v in _SECONDS.items() if k != "w"}}


def parse_question(text: str, now: datetime, zone: tzinfo = UTC) -> Question:
    """Parse a question; one without any term or field matches everything.

    Args:
        text: at most 4,096 code points, with at most 64 terms and fields.
        now: what ages count from.
        zone: of times that are given without one.

    Raises:
        QuestionError: a part is malformed, or there is too much of something.
    """
    if len(text) > MAX_LENGTH:
        raise QuestionError(MAX_LENGTH, f"expected at most {MAX_LENGTH} characters, got {len(text)}; ask for less")
    if (surrogate := _SURROGATE.search(text)) is not None:
        raise QuestionError(
            surrogate.start(),
            f"expected Unicode text, got {surrogate[0]!r}: half of a character, or a byte that is not UTF-8",
        )
    return _Parser(text, now, zone).parse()


@dataclass(slots=True)
class _Parser:
    text: str
    now: datetime
    zone: tzinfo
    position: int = 0
    terms: list[Term] = field(default_factory=list[Term])
    quantities: list[Quantity] = field(default_factory=list[Quantity])
    names: dict[tuple[NameField, bool], list[str]] = field(default_factory=dict[tuple[NameField, bool], list[str]])
    flags: dict[bool, list[Flag]] = field(default_factory=dict[bool, list[Flag]])
    times: dict[str, datetime] = field(default_factory=dict[str, datetime])

    def parse(self) -> Question:
        parts = 0
        while self._skip_space() < len(self.text):
            parts += 1
            if parts > MAX_PARTS:
                self._refuse(f"expected at most {MAX_PARTS} words and fields, got more; ask for less")
            self._part()
        return Question(
            terms=tuple(self.terms),
            filters=tuple(self._filters()),
            since=self.times.get("since"),
            until=self.times.get("until"),
            is_caseless=not any(
                character.isupper() for term in self.terms if isinstance(term, Text) for character in term.text
            ),
        )

    def _filters(self) -> Iterable[Filter]:
        for (name, is_excluded), values in self.names.items():
            yield Names(name, tuple(dict.fromkeys(values)), is_excluded)
        for is_excluded, flags in self.flags.items():
            yield Flags(tuple(dict.fromkeys(flags)), is_excluded)
        yield from self.quantities

    def _skip_space(self) -> int:
        self.position = _end(_SPACE, self.text, self.position)
        return self.position

    def _part(self) -> None:
        is_excluded = self.text.startswith("-", self.position) and not self.text.startswith("--", self.position)
        if is_excluded:
            self.position += 1
            if _end(_BARE, self.text, self.position) == self.position:
                self._refuse("expected a word, a phrase or a field after '-'; quote \"-\" to search for it")
        if match := _FIELD.match(self.text, self.position):
            self.position = match.end()
            self._field(match[1], is_excluded=is_excluded)
        elif self.text.startswith('"', self.position):
            self._phrase(is_excluded=is_excluded)
        elif match := _PATTERN.match(self.text, self.position):
            self._pattern(match[1], is_excluded=is_excluded, ignores_case=bool(match[2]))
            self.position = match.end()
        else:
            self._word(is_excluded=is_excluded)

    # ── terms ────────────────────────────────────────────────────────────────────────────────────────────────────────
    def _word(self, *, is_excluded: bool) -> None:
        start = self.position
        self.position = _end(_BARE, self.text, start)
        word = self.text[start : self.position]
        if word.startswith("/") and word.count("/") == 1:
            self._refuse(
                "expected a '/' that ends the regular expression; quote the word to search for its text", start
            )
        is_prefix = len(word) > 1 and word.endswith("*")
        self.terms.append(Text(word.removesuffix("*") if is_prefix else word, is_prefix, is_excluded))

    def _phrase(self, *, is_excluded: bool) -> None:
        start = self.position
        phrase = self._quoted()
        is_prefix = self.text.startswith("*", self.position)
        self.position += is_prefix
        self._check_separated("the phrase's closing \"")
        if not phrase.strip():
            self._refuse("expected words between the quotes, got none", start)
        self.terms.append(Text(" ".join(phrase.split()), is_prefix, is_excluded))

    def _pattern(self, pattern: str, *, is_excluded: bool, ignores_case: bool) -> None:
        if len(pattern) > MAX_PATTERN:
            self._refuse(
                f"expected a regular expression of at most {MAX_PATTERN} characters, got {len(pattern)}; shorten it"
            )
        term = Pattern(pattern.replace("\\/", "/"), ignores_case, is_excluded)
        try:
            Expression(term.pattern)
        except ExpressionError as error:
            self._refuse(f"expected a regular expression as RE2 takes it, got {pattern[:40]!r}: {error}")
        self.terms.append(term)

    # ── fields ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def _field(self, name: str, *, is_excluded: bool) -> None:
        start = self.position
        value = self._value(name)
        if name in _NAMES:
            self.names.setdefault((cast("NameField", name), is_excluded), []).append(value)
        elif name in _QUANTITIES:
            self.quantities.append(self._quantity(cast("QuantityField", name), value, start, is_excluded=is_excluded))
        elif name == "is":
            if value not in _FLAGS:
                near = get_close_matches(value, _FLAGS, 1)
                hint = f"; did you mean is:{near[0]}?" if near else ""
                self._refuse(f"expected is:{', is:'.join(sorted(_FLAGS))}, got is:{value[:40]}{hint}", start)
            self.flags.setdefault(is_excluded, []).append(cast("Flag", value))
        elif is_excluded:
            self._refuse(
                f"expected {name}: without a '-'; {'until' if name == 'since' else 'since'}: is the rest", start
            )
        elif name in self.times:
            self._refuse(f"expected {name}: once, got it twice; leave one", start)
        else:
            self.times[name] = self._time(name, value, start)

    def _value(self, name: str) -> str:
        start = self.position
        if self.text.startswith('"', start):
            value = self._quoted()
            self._check_separated(f"the value of {name}:")
        else:
            self.position = _end(_BARE, self.text, start)
            value = self.text[start : self.position]
        if not value:
            self._refuse(f'expected a value after {name}:, got none; quote "{name}:" to search for it', start)
        return value

    def _quantity(self, name: QuantityField, value: str, start: int, *, is_excluded: bool) -> Quantity:
        match, units = _QUANTITY.fullmatch(value), _UNITS[name]
        if match is None or match[3] not in units:
            example = {"cost": "cost:>1.5", "tokens": "tokens:>100k", "duration": "duration:<5m"}[name]
            self._refuse(f"expected {name}: with a number, as in {example}, got {value[:40]!r}", start)
        return Quantity(name, cast("Comparison", match[1] or "="), float(match[2]) * units[match[3]], is_excluded)

    def _time(self, name: str, value: str, start: int) -> datetime:
        try:
            if match := _AGE.fullmatch(value):
                return self.now - timedelta(seconds=float(match[1]) * _SECONDS[match[2]])
            time = datetime.fromisoformat(value)
            return (time if time.tzinfo else time.replace(tzinfo=self.zone)).astimezone(UTC)
        except (ValueError, OverflowError):
            self._refuse(
                f"expected an age, as in {name}:2d, or a time, as in {name}:2026-11-27T09:00, got {value[:40]!r}", start
            )

    # ── characters ───────────────────────────────────────────────────────────────────────────────────────────────────
    def _quoted(self) -> str:
        match = _QUOTED.match(self.text, self.position)
        if match is None:
            self._refuse('expected a " that ends the quotation; write \\" for one that does not')
        self.position = match.end()
        return _ESCAPED.sub(r"\1", match[1])

    def _check_separated(self, what: str) -> None:
        if self.position < len(self.text) and not self.text[self.position].isspace():
            self._refuse(f"expected a space after {what}, got {self.text[self.position]!r}")

    def _refuse(self, problem: str, position: int | None = None) -> NoReturn:
        raise QuestionError(self.position if position is None else position, problem)


def _end(pattern: re.Pattern[str], text: str, start: int) -> int:
    """Return the end of a match that may be empty."""
    match = pattern.match(text, start)
    return match.end() if match else start
