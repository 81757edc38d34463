"""What a run of Gemini CLI reports about its end, in its ``result`` line.

It contradicts the exit code: a model's stream that breaks off ends with exit code 0, and a SIGTERM too, without any
result.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from workcast.events.frozen import make
from workcast.events.models import BaseEvent, ErrorEvent, UsageEvent
from workcast.events.usage import ModelUsage, Usage
from workcast.producer.adapters.base import optional
from workcast.producer.adapters.outcome import SUCCESS_EXIT_CODES, Outcome
from workcast.producer.fields import JsonObject, as_object, get_counts, get_object, get_text


class GeminiOutcome(Outcome):
    """Collects the errors and the result of a run."""

    def __init__(self) -> None:
        self._result: JsonObject | None = None
        self._usage: Usage | None = None
        self._models: list[ModelUsage] = []
        self._broken = False

    def failed(self) -> None:
        """Note an ``error`` line that is more than a warning."""
        self._broken = True

    def continued(self) -> None:
        """Note that the agent works: an earlier error was not the end."""
        self._broken = False

    def result(self, result: JsonObject, at: datetime) -> list[BaseEvent] | None:
        """Keep a result; return its usage, and its error unless that was reported. None for a second result."""
        if self._result is not None:
            return None
        self._result = result
        events: list[BaseEvent] = []
        stats = get_object(result, "stats")
        if stats:
            self._usage = _usage(stats)
            models = get_object(stats, "models").items()
            self._models = [make(ModelUsage, model=model, usage=_usage(as_object(usage))) for model, usage in models]
        if self._usage is not None and _is_some(self._usage):
            events.append(make(UsageEvent, timestamp=at, usage=self._usage))
        error = get_object(result, "error")
        message, kind = get_text(error, "message"), get_text(error, "type")
        if message is not None or (_failed(result) and not self._broken):
            text = message or "the run failed without a message"
            known = kind if kind != "unknown" else None
            events.append(ErrorEvent(timestamp=at, error=text, retryable=False, **optional(kind=known)))
        return events

    def _succeeded(self, exit_code: int | None) -> bool:
        if self._result is None or self._broken or _failed(self._result):
            return False
        return exit_code in SUCCESS_EXIT_CODES

    def _spent(self) -> dict[str, Any]:
        """Return the tokens; Gemini reports no costs."""
        return optional(usage=self._usage, models=[model for model in self._models if _is_some(model.usage)] or None)


def _failed(result: JsonObject) -> bool:
    status = get_text(result, "status")
    return bool(get_object(result, "error")) if status is None else status != "success"


def _usage(stats: JsonObject) -> Usage:
    """Map a count; its input includes cached input, and only its total includes thoughts."""
    asked, output, read = get_counts(stats, ("input_tokens", "output_tokens", "cached"))
    return make(Usage, input_tokens=asked, output_tokens=output, cache_read_tokens=read)


def _is_some(usage: Usage) -> bool:
    return bool(usage.input_tokens or usage.output_tokens or usage.cache_read_tokens)
