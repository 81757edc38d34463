"""What a run of Claude Code reports about its end: its ``result`` lines, one for each turn. The last one counts.

They contradict the exit code: a refused API key ends with subtype ``success``, an interrupt with exit code 0, and a
SIGTERM without any result.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from operator import add
from typing import Any, Final

from workcast.events.frozen import make
from workcast.events.models import BaseEvent, ErrorEvent
from workcast.events.usage import ModelUsage, Usage
from workcast.producer.adapters.base import optional
from workcast.producer.adapters.outcome import SUCCESS_EXIT_CODES, Outcome
from workcast.producer.fields import JsonObject, as_object, get_counts, get_list, get_number, get_object, get_text

MODEL_COUNTS: Final = (
    "inputTokens", "cacheReadInputTokens", "cacheCreationInputTokens", "cacheCreationEphemeral1hInputTokens",
    "outputTokens", "thinkingTokens",
)  # fmt: skip
_MAX_MODELS: Final = 64
_OTHER_MODELS: Final = "other"
"""The tokens of models beyond the 64 that came first are summed under this name."""


class _Shares:
    """Sums of tokens and costs, one entry for each model that ran."""

    def __init__(self) -> None:
        self._counts: dict[str, list[int]] = {}
        self._costs_usd: dict[str, float] = {}

    def add(self, models: JsonObject) -> None:
        """Add the share of a result, or its total, by model."""
        for name, value in models.items():
            model = name if name in self._counts or len(self._counts) < _MAX_MODELS else _OTHER_MODELS
            usage = as_object(value)
            counts, before = get_counts(usage, MODEL_COUNTS), self._counts.get(model)
            self._counts[model] = counts if before is None else list(map(add, before, counts))
            self._costs_usd[model] = self._costs_usd.get(model, 0.0) + (get_number(usage, "costUSD") or 0.0)

    def models(self) -> list[ModelUsage]:
        """Return tokens and US dollars by model."""
        return [
            make(ModelUsage, model=model, usage=_usage(counts), cost_usd=round(self._costs_usd[model], 9))
            for model, counts in self._counts.items()
        ]


class ClaudeOutcome(Outcome):
    """Collects the results of a run.

    Args:
        resumed: the session had runs before this one.
    """

    def __init__(self, *, resumed: bool = False) -> None:
        self._resumed = resumed
        self._result: JsonObject | None = None
        self._shares = _Shares()
        self._has_shares = True
        self._error_reported = False

    def error_reported(self) -> None:
        """Note that the agent has reported its error: the result that follows only repeats it."""
        self._error_reported = True

    def result(self, result: JsonObject, at: datetime) -> list[BaseEvent]:
        """Keep a result; return its error unless it was reported before."""
        reported, self._error_reported = self._error_reported, False
        self._result = result
        self._add_share(result)
        if reported or _is_aborted(result) or not _is_error(result):
            return []
        return [ErrorEvent(timestamp=at, error=_error_text(result), retryable=False, **optional(kind=_kind(result)))]

    def _interrupted(self, exit_code: int | None) -> bool:
        _ = exit_code
        return self._result is not None and _is_aborted(self._result)

    def _succeeded(self, exit_code: int | None) -> bool:
        return self._result is not None and not _is_error(self._result) and exit_code in SUCCESS_EXIT_CODES

    def _add_share(self, result: JsonObject) -> None:
        share = "model_usage_since_last_result"
        self._has_shares = self._has_shares and isinstance(result.get(share), dict)
        self._shares.add(get_object(result, share))

    def _spent(self) -> dict[str, Any]:
        """Return tokens and costs, which are unknown without a result.

        ``modelUsage`` and ``total_cost_usd`` continue the count of a resumed session, so they are only used for older
        versions, which do not report each result's share; then as what they are.
        """
        if self._result is None:
            return {}
        if self._has_shares:
            return _run_fields(self._shares.models())
        total = _Shares()
        total.add(get_object(self._result, "modelUsage"))
        models = total.models()
        cost_usd = get_number(self._result, "total_cost_usd")
        if self._resumed:
            return optional(session_usage=_total(models), session_cost_usd=cost_usd)
        return {**_run_fields(models), **optional(cost_usd=cost_usd)}


def _run_fields(models: list[ModelUsage]) -> dict[str, Any]:
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
    return sum((model.usage for model in models), Usage() + Usage())  # a sum sets each kind, also if it is 0


def _is_error(result: JsonObject) -> bool:
    """Read ``is_error``: the subtype is ``success`` for a refused API key too."""
    is_error = result.get("is_error")
    return is_error if isinstance(is_error, bool) else get_text(result, "subtype") != "success"


def _is_aborted(result: JsonObject) -> bool:
    return (get_text(result, "terminal_reason") or "").startswith("aborted")


def _kind(result: JsonObject) -> str | None:
    subtype = get_text(result, "subtype")
    return get_text(result, "terminal_reason") if subtype == "success" else subtype


def _error_text(result: JsonObject) -> str:
    errors = [error for error in get_list(result, "errors") if isinstance(error, str)]
    return get_text(result, "result") or "; ".join(errors) or _kind(result) or "the run failed without a message"
