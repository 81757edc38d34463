"""What a run of opencode came to: how its last step ended and its exit code, taken together.

There is no last line that says it: an exit code of 0 alone could be that of a run whose last step never ended.
"""

from __future__ import annotations

from datetime import datetime
from operator import add
from typing import Any, Final

from workcast.events.frozen import make
from workcast.events.models import BaseEvent, Completed, ErrorEvent, Status, UsageEvent
from workcast.events.usage import Usage
from workcast.producer.adapters.base import STOPPED_EXIT_CODES, Exit, optional
from workcast.producer.adapters.fields import JsonObject, get_counts, get_number, get_object, get_text
from workcast.producer.adapters.marks import Marks

BROKEN_OFF: Final = "unknown"
CUT_SHORT: Final = "length"
NO_END: Final = frozenset({None, "tool-calls", BROKEN_OFF, "content-filter", "error"})
"""The reasons of steps that another one follows, or of an answer that failed."""


class Outcome:
    """Collects what a run says about its own end."""

    def __init__(self) -> None:
        self._open: str | None = None
        """The message whose step has started and not ended."""
        self._reason: str | None = None
        self._counted = Marks()
        self._taken: list[int] = []
        """The tokens of all steps, by kind; empty until one is told."""
        self._cost_usd: float | None = None
        self._errors = 0
        self._failed = False

    def step_started(self, part: JsonObject, at: datetime) -> list[BaseEvent]:
        """A request to the model; one for a message whose last one has not ended is sent again."""
        message_id = get_text(part, "messageID")
        again = message_id is not None and message_id == self._open
        self._open, self._reason = message_id, None
        text = "the model's answer broke off: the request is sent again"
        return [ErrorEvent(timestamp=at, error=text, retryable=True)] if again else []

    def step_finished(self, part: JsonObject, at: datetime) -> list[BaseEvent]:
        """The model has answered: how it ended, and what it took."""
        part_id, message_id = get_text(part, "id"), get_text(part, "messageID")
        if part_id is not None and part_id in self._counted:
            return []  # told again
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
        said = get_object(part, "tokens")
        if not said:
            return []
        usage = _usage(said)
        self._taken = list(map(add, self._taken, usage.counts())) if self._taken else list(usage.counts())
        nothing = not (usage.input_tokens or usage.output_tokens)  # which count all other kinds too
        return [] if nothing else [make(UsageEvent, timestamp=at, usage=usage, message_id=message_id)]

    def failed(self) -> None:
        """A request failed for good; a conversation that has become too long is made shorter and goes on."""
        self._errors += 1
        self._failed = True

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
        if exit.exit_code in STOPPED_EXIT_CODES:
            return "cancelled"
        if self._failed or self._reason in NO_END:
            return "failed"
        # After any error opencode exits with 1, whatever came of it; so it has if nobody knows the exit code.
        good = exit.exit_code == 0 or (exit.exit_code is None and not self._errors)
        return "success" if good else "failed"

    def _spent(self) -> dict[str, Any]:
        cost_usd = None if self._cost_usd is None else round(self._cost_usd, 9)
        return optional(usage=Usage.of(self._taken) if self._taken else None, cost_usd=cost_usd)


def _usage(said: JsonObject) -> Usage:
    """The tokens of one step: opencode counts cached input and thoughts apart."""
    read, written = get_counts(get_object(said, "cache"), ("read", "write"))
    asked, output, reasoning = get_counts(said, ("input", "output", "reasoning"))
    return make(
        Usage,
        input_tokens=asked + read + written,
        output_tokens=output + reasoning,
        cache_read_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=reasoning,
    )
