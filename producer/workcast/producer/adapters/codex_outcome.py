"""What a run of Codex reports about its end, and the tokens it used.

Codex counts tokens for the whole thread, so a resumed run prints the total of all runs of the thread. Earlier runs'
share is nowhere on stdout: such a run emits no ``usage`` for its first turn, which is mostly its only one, and its
``completed`` has the thread's total as ``session_usage`` instead of a ``usage``. Only the command line says whether a
run is resumed: ``workcast parse``, which has none, treats it as a thread's first.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Final, Literal

from workcast.events.frozen import make
from workcast.events.models import BaseEvent, ErrorEvent, UsageEvent
from workcast.events.usage import Usage
from workcast.producer.adapters.outcome import SUCCESS_EXIT_CODES, Outcome
from workcast.producer.fields import JsonObject, get_counts, get_object, get_text

RECONNECTING: Final = re.compile(r"Reconnecting\.\.\. (\d+/\d+|waiting for network)")
INTERRUPTED: Final = 1
"""Codex's exit code after SIGINT, which ends a turn without an event; any other end of a turn prints one."""

NOTHING: Final = Usage()
COUNTS: Final = (
    "input_tokens", "cached_input_tokens", "cache_write_input_tokens", "output_tokens", "reasoning_output_tokens",
)  # fmt: skip


class CodexOutcome(Outcome):
    """Collects the turns of a run.

    Args:
        resumed: the thread had turns before this run.
    """

    def __init__(self, *, resumed: bool) -> None:
        self._resumed = resumed
        self._before = None if resumed else NOTHING
        self._total: Usage | None = None
        self._turn: Literal["none", "open", "completed", "failed"] = "none"
        self._reported: str | None = None
        """The error that was emitted last."""

    def turn_started(self) -> None:
        """Note that a turn has started."""
        self._turn = "open"

    def turn_completed(self, line: JsonObject, at: datetime) -> list[BaseEvent]:
        """Return what a completed turn used."""
        self._turn = "completed"
        usage = get_object(line, "usage")
        if not usage:
            return []
        before, self._before = self._before, usage_of(usage)
        self._total = self._before
        if before is None:
            return []
        used = self._total if before is NOTHING else (self._total - before).at_least_zero()
        return [make(UsageEvent, timestamp=at, usage=used)]

    def turn_failed(self, line: JsonObject, at: datetime) -> list[BaseEvent]:
        """Return the error of a failed turn, unless an ``error`` line has reported it."""
        self._turn = "failed"
        message = get_text(get_object(line, "error"), "message") or "the turn failed without a message"
        reported, self._reported = self._reported == message, None
        return [] if reported else [ErrorEvent(timestamp=at, error=message, retryable=False)]

    def error(self, line: JsonObject, at: datetime) -> list[BaseEvent] | None:
        """Return the error of a request that failed, whether or not it is sent again."""
        message = get_text(line, "message")
        if message is None:
            return None
        retried = RECONNECTING.match(message) is not None
        self._reported = None if retried else message
        return [ErrorEvent(timestamp=at, error=message, retryable=retried)]

    def _interrupted(self, exit_code: int | None) -> bool:
        return self._turn == "open" and exit_code == INTERRUPTED

    def _succeeded(self, exit_code: int | None) -> bool:
        return self._turn == "completed" and exit_code in SUCCESS_EXIT_CODES

    def _spent(self) -> dict[str, Any]:
        if self._total is None:
            return {}
        return {"session_usage" if self._resumed else "usage": self._total}


def usage_of(usage: JsonObject) -> Usage:
    """Map a count; its input includes cached input."""
    asked, read, written, output, reasoning = get_counts(usage, COUNTS)
    return make(
        Usage,
        input_tokens=asked,
        output_tokens=output,
        cache_read_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=reasoning,
    )
