"""What a run of Codex came to: its last turn and its exit code, taken together; and what it took.

Codex counts tokens for the whole thread, so a resumed run says what all runs of the thread took together. What the
earlier ones took is nowhere on stdout: such a run tells no ``usage`` of its first turn, which is mostly its only one,
and its ``completed`` has no ``usage`` but the thread's total as ``session_usage``. Whether a run is resumed is known
from its command line alone: ``workcast parse``, which has none, takes it for a thread's first.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Final, Literal

from workcast.events.frozen import make
from workcast.events.models import BaseEvent, Completed, ErrorEvent, Status, UsageEvent
from workcast.events.usage import Usage
from workcast.producer.adapters.base import STOPPED_EXIT_CODES, Exit
from workcast.producer.adapters.fields import JsonObject, get_counts, get_object, get_text

RECONNECTING: Final = re.compile(r"Reconnecting\.\.\. (\d+/\d+|waiting for network)")
INTERRUPTED: Final = 1
"""Codex's exit code after SIGINT, which ends a turn without a word; whatever else ends one so is told before."""

NOTHING: Final = Usage()
COUNTS: Final = (
    "input_tokens", "cached_input_tokens", "cache_write_input_tokens", "output_tokens", "reasoning_output_tokens",
)  # fmt: skip


class Outcome:
    """Collects what a run says about its own end.

    Args:
        resumed: the thread had turns before this run.
    """

    def __init__(self, *, resumed: bool) -> None:
        self._resumed = resumed
        self._before = None if resumed else NOTHING
        self._total: Usage | None = None
        self._turn: Literal["none", "open", "completed", "failed"] = "none"
        self._said: str | None = None

    def turn_started(self) -> None:
        """A turn is open."""
        self._turn = "open"

    def turn_completed(self, line: JsonObject, at: datetime) -> list[BaseEvent]:
        """A turn came to its end: what it took."""
        self._turn = "completed"
        said = get_object(line, "usage")
        if not said:
            return []
        before, self._before = self._before, _usage(said)
        self._total = self._before
        if before is None:
            return []
        usage = self._total if before is NOTHING else (self._total - before).at_least_zero()
        return [make(UsageEvent, timestamp=at, usage=usage)]

    def turn_failed(self, line: JsonObject, at: datetime) -> list[BaseEvent]:
        """A turn failed for good; mostly an ``error`` line has told why."""
        self._turn = "failed"
        message = get_text(get_object(line, "error"), "message") or "the turn failed without a message"
        told, self._said = self._said == message, None
        return [] if told else [ErrorEvent(timestamp=at, error=message, retryable=False)]

    def error(self, line: JsonObject, at: datetime) -> list[BaseEvent] | None:
        """A request failed: it is sent again, or it was the last."""
        message = get_text(line, "message")
        if message is None:
            return None
        retried = RECONNECTING.match(message) is not None
        self._said = None if retried else message
        return [ErrorEvent(timestamp=at, error=message, retryable=retried)]

    def completed(self, exit: Exit, at: datetime) -> Completed:  # noqa: A002
        """The last event of the run."""
        return Completed(
            timestamp=at,
            status=self._status(exit),
            exit_code=exit.exit_code,
            duration_ms=exit.duration_ms,
            **self._spent(),
        )

    def _status(self, exit: Exit) -> Status:  # noqa: A002
        if exit.how != "exited":
            return exit.how
        if exit.exit_code in STOPPED_EXIT_CODES or (self._turn == "open" and exit.exit_code == INTERRUPTED):
            return "cancelled"
        return "success" if self._turn == "completed" and exit.exit_code in {0, None} else "failed"

    def _spent(self) -> dict[str, Any]:
        if self._total is None:
            return {}
        return {"session_usage" if self._resumed else "usage": self._total}


def _usage(said: JsonObject) -> Usage:
    """The input counts cached input already."""
    asked, read, written, output, reasoning = get_counts(said, COUNTS)
    return make(
        Usage,
        input_tokens=asked,
        output_tokens=output,
        cache_read_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=reasoning,
    )
