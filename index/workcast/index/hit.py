"""A hit: an item of a log that answers a question, with the place where it does."""

from __future__ import annotations

from dataclasses import dataclass

from workcast.items.item import FieldName


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer of a search."""

    workcell: str
    epoch: int
    offset: int
    """Of the event to show."""
    type: str
    """Of that event."""
    timestamp: str | None
    field: FieldName | None
    """The field that the snippet is from; None if the item has no text."""
    snippet: str
    marks: tuple[tuple[int, int], ...]
    """Where terms occur in the snippet, in code points."""
