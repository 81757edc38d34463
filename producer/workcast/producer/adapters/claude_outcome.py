"""What a run of Claude Code came to: its ``result`` lines and its exit code, taken together.

Neither is right alone: a refused API key ends with subtype ``success``, an interrupt with exit code 0, and a SIGTERM
without any result. There can be several results in a run, one for each turn: the last one counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from operator import add
from typing import Any, Final

from workcast.events.frozen import make
from workcast.events.models import BaseEvent, Completed, ErrorEvent, Status
from workcast.events.usage import ModelUsage, Usage
from workcast.producer.adapters.base import STOPPED_EXIT_CODES, Exit, optional
from workcast.producer.adapters.fields import (
    JsonObject,
    as_object,
    get_counts,
    get_list,
    get_number,
    get_object,
    get_text,
)

MODEL_COUNTS: Final = (
    "inputTokens", "cacheReadInputTokens", "cacheCreationInputTokens", "cacheCreationEphemeral1hInputTokens",
    "outputTokens", "thinkingTokens",
)  # fmt: skip


class _Shares:
    """What was taken of each model, counted up."""

    def __init__(self) -> None:
        self._counts: dict[str, list[int]] = {}
        self._costs_usd: dict[str, float] = {}

    def add(self, models: JsonObject) -> None:
        """Count a result's share, or its total, by model."""
        for model, value in models.items():
            said = as_object(value)
            counts, before = get_counts(said, MODEL_COUNTS), self._counts.get(model)
            self._counts[model] = counts if before is None else list(map(add, before, counts))
            self._costs_usd[model] = self._costs_usd.get(model, 0.0) + (get_number(said, "costUSD") or 0.0)

    def models(self) -> list[ModelUsage]:
        """Tokens and US dollars by model."""
        return [
            make(ModelUsage, model=model, usage=_usage(counts), cost_usd=round(self._costs_usd[model], 9))
            for model, counts in self._counts.items()
        ]


class Outcome:
    """Collects what a run says about its own end.

    Args:
        resumed: the session had runs before this one.
    """

    def __init__(self, *, resumed: bool = False) -> None:
        self._resumed = resumed
        self._result: JsonObject | None = None
        self._shares = _Shares()
        self._has_shares = True
        self._error_said = False

    def error_said(self) -> None:
        """The agent has told its error in words of its own: the result that follows only repeats it."""
        self._error_said = True

    def take(self, result: JsonObject, at: datetime) -> list[BaseEvent]:
        """Remember a result; an error that it is the first to tell is an event."""
        told, self._error_said = self._error_said, False
        self._result = result
        self._add_share(result)
        if told or _is_aborted(result) or not _is_error(result):
            return []
        return [ErrorEvent(timestamp=at, error=_error_text(result), retryable=False, **optional(kind=_kind(result)))]

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
        if self._result is None:
            return "failed"
        if _is_aborted(self._result):
            return "cancelled"
        failed = _is_error(self._result) or exit.exit_code not in {0, None}
        return "failed" if failed else "success"

    def _add_share(self, result: JsonObject) -> None:
        share = "model_usage_since_last_result"
        self._has_shares = self._has_shares and isinstance(result.get(share), dict)
        self._shares.add(get_object(result, share))

    def _spent(self) -> dict[str, Any]:
        """What the run took. Nobody knows without a result.

        ``modelUsage`` and ``total_cost_usd`` go on counting where a resumed session stopped, so they are only taken
        from older versions, which do not say each result's share; and then for what they are.
        """
        if self._result is None:
            return {}
        if self._has_shares:
            return _told(self._shares.models())
        total = _Shares()
        total.add(get_object(self._result, "modelUsage"))
        models = total.models()
        cost_usd = get_number(self._result, "total_cost_usd")
        if self._resumed:
            return optional(session_usage=_total(models), session_cost_usd=cost_usd)
        return {**_told(models), **optional(cost_usd=cost_usd)}


def _told(models: list[ModelUsage]) -> dict[str, Any]:
    cost_usd = round(sum(model.cost_usd or 0.0 for model in models), 9)
    return {"usage": _total(models), "cost_usd": cost_usd, **optional(models=models or None)}


def _usage(counts: Sequence[int]) -> Usage:
    fresh, read, written, long, output, reasoning = counts
    return make(
        Usage,
        input_tokens=fresh + read + written,
        output_tokens=output,
        cache_read_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=reasoning,
        **({"cache_write_1h_tokens": long} if long else {}),
    )


def _total(models: list[ModelUsage]) -> Usage:
    return sum((model.usage for model in models), Usage() + Usage())  # a sum writes each kind, also of nothing


def _is_error(result: JsonObject) -> bool:
    """By ``is_error``: the subtype says ``success`` for a refused API key too."""
    said = result.get("is_error")
    return said if isinstance(said, bool) else get_text(result, "subtype") != "success"


def _is_aborted(result: JsonObject) -> bool:
    return (get_text(result, "terminal_reason") or "").startswith("aborted")


def _kind(result: JsonObject) -> str | None:
    subtype = get_text(result, "subtype")
    return get_text(result, "terminal_reason") if subtype == "success" else subtype


def _error_text(result: JsonObject) -> str:
    errors = [error for error in get_list(result, "errors") if isinstance(error, str)]
    return get_text(result, "result") or "; ".join(errors) or _kind(result) or "the run failed without a message"
