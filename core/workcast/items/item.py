"""An item: one thing that a log says, from one or more events, as it is searched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "started", "prompt", "answer", "thought", "usage", "call", "result", "command", "output", "read", "change", "error",
    "completed", "unknown", "malformed", "other",
]  # fmt: skip
FieldName = Literal[
    "prompt", "content", "args", "result", "output", "command", "path", "diff", "error", "reason", "raw"
]
ItemFlag = Literal["failed", "error", "change", "prompt", "open"]


@dataclass(frozen=True, slots=True)
class Item:
    """A whole prompt, answer, thought, call, result, command, output, change or error; never a piece of one.

    No two items of a log have the same offset.
    """

    kind: Kind
    offset: int
    """Of the event to show: the whole text's; of a text that came in pieces only, the first piece's."""
    end: int
    """The offset after the event with which the item was whole: not below that of any item given before."""
    type: str
    """Of the event at ``offset``."""
    timestamp: str | None
    """Of the event at ``offset``, as it is written there."""
    tool: str | None
    """Of the call that the event belongs to."""
    path: str | None
    flags: frozenset[ItemFlag]
    """``open``: the text may go on, or the call has no result yet (see :meth:`ItemFold.open_calls`)."""
    texts: Mapping[FieldName, str]
    """What is searched, decoded, by field; may be empty."""
