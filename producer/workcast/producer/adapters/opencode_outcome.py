"""What a run of opencode reports about its end: how its last step ended.

It prints no last line, and its exit code may be 0 although the last step never ended.
"""

from __future__ import annotations

from datetime import datetime
from operator import add
from typing import Any, Final

from workcast.events.frozen import make
from workcast.events.models import BaseEvent, ErrorEvent, UsageEvent
from workcast.events.usage import Usage
from workcast.producer.adapters.base import optional
from workcast.producer.adapters.outcome import Outcome
from workcast.producer.fields import JsonObject, get_counts, get_number, get_object, get_text
from workcast.producer.recent import RecentSet

BROKEN_OFF: Final = "unknown"
CUT_SHORT: Final = "length"
NO_END: Final = frozenset({None, "tool-calls", BROKEN_OFF, "content-filter", "error"})
"""The reasons of steps that are followed by another one, or of an answer that failed."""


class OpencodeOutcome(Outcome):
    """Collects the steps and errors of a run."""

    def __init__(self) -> None:
        self._open: str | None = None
        """The message whose step is open."""
        self._reason: str | None = None
        self._counted: RecentSet[str] = RecentSet()
        self._taken: list[int] = []
        """The tokens of all steps, by kind; empty until a step reports some."""
        self._cost_usd: float | None = None
        self._errors = 0
        self._failed = False

    def step_started(self, part: JsonObject, at: datetime) -> list[BaseEvent]:
        """Note a request to the model; return an error if it repeats one that has not ended."""
        message_id = get_text(part, "messageID")
        again = message_id is not None and message_id == self._open
        self._open, self._reason = message_id, None
        text = "the model's answer broke off: the request is sent again"
        return [ErrorEvent(timestamp=at, error=text, retryable=True)] if again else []

    def step_finished(self, part: JsonObject, at: datetime) -> list[BaseEvent]:
        """Return the usage of an answer, and an error if it is incomplete."""
        part_id, message_id = get_text(part, "id"), get_text(part, "messageID")
        if part_id is not None and part_id in self._counted:
            return []  # printed again
        if part_id is not None:
            self._counted.add(part_id)
        self._open, self._reason, self._failed = None, get_text(part, "reason"), False
        events: list[BaseEvent] = []
        if self._reason == BROKEN_OFF:
            text = "the model's answer broke off: opencode goes on with what there is"
            events.append(ErrorEvent(timestamp=at, error=text, retryable=True, **optional(message_id=message_id)))
        if self._reason == CUT_SHORT:
            text = "the model's answer was cut short: it has reached its greatest length"
            events.append(ErrorEvent(timestamp=at, error=text, kind="warning", **optional(message_id=message_id)))
        return self._count(part, message_id, at) + events

    def _count(self, part: JsonObject, message_id: str | None, at: datetime) -> list[BaseEvent]:
        cost_usd = get_number(part, "cost")
        if cost_usd is not None:
            self._cost_usd = (self._cost_usd or 0.0) + cost_usd
        tokens = get_object(part, "tokens")
        if not tokens:
            return []
        usage = _usage(tokens)
        self._taken = list(map(add, self._taken, usage.counts())) if self._taken else list(usage.counts())
        nothing = not (usage.input_tokens or usage.output_tokens)  # which include all other kinds
        return [] if nothing else [make(UsageEvent, timestamp=at, usage=usage, message_id=message_id)]

    def failed(self) -> None:
        """Note a request that failed for good; opencode shortens a conversation that became too long, and continues."""
        self._errors += 1
        self._failed = True

    def _succeeded(self, exit_code: int | None) -> bool:
        if self._failed or self._reason in NO_END:
            return False
        # After any error opencode exits with 1, whatever happened next; assume that if the exit code is unknown.
        return exit_code == 0 or (exit_code is None and not self._errors)

    def _spent(self) -> dict[str, Any]:
        cost_usd = None if self._cost_usd is None else round(self._cost_usd, 9)
        return optional(usage=Usage.of(self._taken) if self._taken else None, cost_usd=cost_usd)


def _usage(tokens: JsonObject) -> Usage:
    """Map the tokens of one step; opencode counts cached input and thoughts separately."""
    read, written = get_counts(get_object(tokens, "cache"), ("read", "write"))
    asked, output, reasoning = get_counts(tokens, ("input", "output", "reasoning"))
    return make(
        Usage,
        input_tokens=asked + read + written,
        output_tokens=output + reasoning,
        cache_read_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=reasoning,
    )
