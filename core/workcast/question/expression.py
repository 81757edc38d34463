"""Regular expressions that take linear time: RE2, over UTF-8."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby
from typing import Any, Final

import re2  # pyright: ignore[reportMissingTypeStubs]

_RE2: Final[Any] = re2
"""Without types, as the library has none."""
MAX_MEMORY: Final = 4 << 20
"""Bytes that a compiled expression may take."""
SPACE: Final = r"[\x09-\x0d\x1c-\x20\x{85}\pZ]"
"""One character of white space, as ``str.isspace`` has it."""


class ExpressionError(ValueError):
    """An expression is malformed, or too large."""


class Expression:
    """A compiled expression; safe for several threads.

    Raises:
        ExpressionError: it is malformed, or takes more than 4 MiB.
    """

    def __init__(self, pattern: str, *, ignores_case: bool = False) -> None:
        options = _RE2.Options()
        options.case_sensitive = not ignores_case
        options.log_errors = False
        options.max_mem = MAX_MEMORY
        try:
            self._compiled: Any = _RE2.compile(pattern.encode(), options)
        except _RE2.error as error:
            reason = error.args[0] if error.args else b""
            raise ExpressionError(
                reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
            ) from None

    def find(self, data: bytes, start: int = 0, group: int = 0) -> tuple[int, int] | None:
        """Return where the first match at or after a byte lies, or a group of it; None if there is none."""
        match = self._compiled.search(data, start)
        if match is None:
            return None
        span: tuple[int, int] = match.span(group)
        return span

    def matches(self, data: bytes) -> bool:
        """Whether it matches anywhere."""
        return self._compiled.search(data) is not None


def quote(text: str) -> str:
    """Return an expression that matches a text as it is."""
    quoted: str = _RE2.escape(text)
    return quoted


def glob(pattern: str) -> str:
    """Return the expression of a pattern of names, in which ``*`` is any text and ``?`` one character."""
    return "".join(
        {"*": ".*", "?": "."}[text] if is_wild else quote(text)
        for is_wild, characters in groupby(pattern, "*?".__contains__)
        for text in (characters if is_wild else ["".join(characters)])
    )


def is_word_character(character: str) -> bool:
    """Whether a character is a letter, a digit or a mark: part of a word, so that the word goes on with it."""
    return unicodedata.category(character)[0] in "LNM"


@lru_cache
def boundary() -> str:
    """Return the class of the characters that are not part of a word.

    By Python's version of Unicode, not the library's, so that it agrees with :func:`is_word_character`.
    """
    return "[^" + "".join(rf"\x{{{first:x}}}-\x{{{last:x}}}" for first, last in _word_ranges()) + "]"


def _word_ranges() -> Iterator[tuple[int, int]]:
    for is_word, numbers in groupby(range(0x110000), lambda number: is_word_character(chr(number))):
        if is_word:
            found = list(numbers)
            yield found[0], found[-1]
