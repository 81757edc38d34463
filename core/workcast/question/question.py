"""A question: what must occur in a text, and which runs and events it is asked of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

NameField = Literal["in", "agent", "model", "status", "issue", "root", "tool", "type", "path"]
"""Fields whose values are names, or patterns of names with ``*`` and ``?``."""
Flag = Literal["failed", "error", "change", "prompt", "open"]
QuantityField = Literal["cost", "tokens", "duration"]
"""US dollars; tokens of input and output; seconds."""
Comparison = Literal["=", "<", "<=", ">", ">="]


@dataclass(frozen=True, slots=True)
class Text:
    """A word or a phrase; white space in it stands for any white space."""

    text: str
    is_prefix: bool = False
    """Whether the last word may go on."""
    is_excluded: bool = False


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression, in the syntax of RE2."""

    pattern: str
    ignores_case: bool = False
    is_excluded: bool = False


@dataclass(frozen=True, slots=True)
class Names:
    """A field must have one of these values."""

    field: NameField
    values: tuple[str, ...]
    is_excluded: bool = False
    """The field must have none of them."""


@dataclass(frozen=True, slots=True)
class Flags:
    """One of these must hold of the event or its run."""

    flags: tuple[Flag, ...]
    is_excluded: bool = False


@dataclass(frozen=True, slots=True)
class Quantity:
    """A figure of the run must compare so."""

    field: QuantityField
    comparison: Comparison
    value: float
    is_excluded: bool = False


Term = Text | Pattern
Filter = Names | Flags | Quantity


@dataclass(frozen=True, slots=True)
class Question:
    """All terms must occur, or not occur, in a text; all filters must hold."""

    terms: tuple[Term, ...] = ()
    filters: tuple[Filter, ...] = ()
    since: datetime | None = None
    """Events from then on."""
    until: datetime | None = None
    """Events before then."""
    is_caseless: bool = True
    """Whether words and phrases match in any case: no word or phrase of the question has a capital letter."""
