"""What a relay gives to the publishing script, and what the script answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

DEFAULT_WINDOW_BYTES: Final = 256 << 20


@dataclass(frozen=True, slots=True)
class Budgets:
    """What the streams may hold; older events are in the log."""

    stream_entries: int = 10_000
    stream_bytes: int = 8 << 20
    """Of one workcell, measured as bytes of its log."""
    stream_idle_ms: int = 24 * 3600 * 1000
    window_bytes: int = DEFAULT_WINDOW_BYTES
    """Of the streams of all workcells together, as Redis stores them."""
    feed_entries: int = 100_000
    feed_bytes: int = 64 << 20


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive lines of one log, to be published; none: only its summary."""

    workcell: str
    epoch: int
    origin: str
    base: int
    offset: int
    entries: Sequence[tuple[int, bytes]]
    """CRC-32 and wire bytes of each line."""
    window_start: int
    """The first offset the stream should keep."""
    begins_window: bool
    replaces: int | None = None
    """The epoch in the broker that this batch's epoch replaces."""
    summary: bytes = b""
    """The summary's JSON after the last line; empty to leave it as it is."""

    @property
    def end(self) -> int:
        return self.offset + len(self.entries)


AnswerKind = Literal["ok", "empty", "gap", "epoch", "origin"]


@dataclass(frozen=True, slots=True)
class Answer:
    """The script's answer: ``ok`` and ``gap`` with the stream's head, ``epoch`` and ``origin`` with the stored ones."""

    kind: AnswerKind
    value: str = ""
