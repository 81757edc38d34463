"""What a run of Gemini CLI came to: its ``result`` line and its exit code, taken together.

Neither is right alone: a model's stream that breaks ends with exit code 0, and so does a SIGTERM, without any result.
"""

from __future__ import annotations

from datetime import datetime

from workcast.events.frozen import make
from workcast.events.models import BaseEvent, Completed, ErrorEvent, Status, UsageEvent
from workcast.events.usage import ModelUsage, Usage
from workcast.producer.adapters.base import STOPPED_EXIT_CODES, Exit, optional
from workcast.producer.adapters.fields import JsonObject, as_object, get_counts, get_object, get_text


class Outcome:
    """Collects what a run says about its own end."""

    def __init__(self) -> None:
        self._result: JsonObject | None = None
        self._usage: Usage | None = None
        self._models: list[ModelUsage] = []
        self._broken = False

    def broke(self) -> None:
        """An ``error`` line told what is no mere warning."""
        self._broken = True

    def goes_on(self) -> None:
        """The agent works: what broke before was no end."""
        self._broken = False

    def take(self, result: JsonObject, at: datetime) -> list[BaseEvent] | None:
        """Remember a result: what the run took, and an error that it is the first to tell. None: it is the second."""
        if self._result is not None:
            return None
        self._result = result
        events: list[BaseEvent] = []
        stats = get_object(result, "stats")
        if stats:
            self._usage = _usage(stats)
            models = get_object(stats, "models").items()
            self._models = [make(ModelUsage, model=model, usage=_usage(as_object(said))) for model, said in models]
        if self._usage is not None and _is_some(self._usage):
            events.append(make(UsageEvent, timestamp=at, usage=self._usage))
        error = get_object(result, "error")
        message, kind = get_text(error, "message"), get_text(error, "type")
        if message is not None or (_failed(result) and not self._broken):
            text = message or "the run failed without a message"
            known = kind if kind != "unknown" else None
            events.append(ErrorEvent(timestamp=at, error=text, retryable=False, **optional(kind=known)))
        return events

    def completed(self, exit: Exit, at: datetime) -> Completed:  # noqa: A002
        """The last event of the run. Gemini knows no prices."""
        return Completed(
            timestamp=at,
            status=self._status(exit),
            exit_code=exit.exit_code,
            duration_ms=exit.duration_ms,
            **optional(usage=self._usage, models=[told for told in self._models if _is_some(told.usage)] or None),
        )

    def _status(self, exit: Exit) -> Status:  # noqa: A002
        if exit.how != "exited":
            return exit.how
        if exit.exit_code in STOPPED_EXIT_CODES:
            return "cancelled"
        if self._result is None or self._broken or _failed(self._result):
            return "failed"
        return "success" if exit.exit_code in {0, None} else "failed"


def _failed(result: JsonObject) -> bool:
    status = get_text(result, "status")
    return bool(get_object(result, "error")) if status is None else status != "success"


def _usage(stats: JsonObject) -> Usage:
    """The tokens of all models. The input counts cached input already; thoughts are counted in the total alone."""
    asked, output, read = get_counts(stats, ("input_tokens", "output_tokens", "cached"))
    return make(Usage, input_tokens=asked, output_tokens=output, cache_read_tokens=read)


def _is_some(usage: Usage) -> bool:
    return bool(usage.input_tokens or usage.output_tokens or usage.cache_read_tokens)
