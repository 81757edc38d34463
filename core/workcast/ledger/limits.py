"""Limits of what a run may use, and whether a run exceeds them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from pydantic_core import from_json

from workcast.events.codec import dump
from workcast.events.errors import WorkcastError
from workcast.events.models import BaseEvent, Completed, Started, UsageEvent
from workcast.ledger.money import format_dollars, from_dollars
from workcast.ledger.prices import PriceTable
from workcast.ledger.run import Run
from workcast.ledger.tally import Tally

LimitKind = Literal["budget", "max_tokens"]


class LimitError(WorkcastError, ValueError):
    """A limit is malformed, or the agent does not report what it is checked against."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may use.

    Raises:
        LimitError: a limit is not above 0.
    """

    budget_usd: float | None = None
    """US dollars; None: no limit."""
    max_tokens: int | None = None
    """Input (cached input too) and output, of all messages together; None: no limit."""

    def __post_init__(self) -> None:
        if self.budget_usd is not None and not (0 < self.budget_usd < math.inf):
            raise LimitError(f"expected a budget above $0, got {self.budget_usd}")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise LimitError(f"expected a maximum of at least 1 token, got {self.max_tokens}")

    @property
    def kind(self) -> LimitKind | None:
        """The first limit that is set."""
        return "budget" if self.budget_usd is not None else "max_tokens" if self.max_tokens is not None else None

    def exceeded_by(self, tokens: int, cost: int) -> str:
        """Return which limit is exceeded and by how much, e.g. ``budget: $0.5200 of $0.5000``; empty if none is.

        Args:
            tokens: what the run used so far.
            cost: in picodollars.
        """
        if self.budget_usd is not None and cost > (budget := from_dollars(self.budget_usd)):
            return f"budget: {format_dollars(cost)} of {format_dollars(budget)}"
        if self.max_tokens is not None and tokens > self.max_tokens:
            return f"max_tokens: {tokens} of {self.max_tokens}"
        return ""


UNLIMITED: Final = Limits()


class Meter:
    """Folds the events of one run, and says once the run exceeds its limits.

    A message costs what the agent reports, else what the price table says. A budget that cannot be checked, because
    the model or its price is unknown, counts as exceeded: it would not limit anything otherwise.

    Args:
        limits: those of the run.
        prices: the price table.
        model: the one to assume if the agent reports none.
    """

    def __init__(self, limits: Limits, prices: PriceTable, model: str | None = None) -> None:
        self.reason = ""
        """Which limit is exceeded, and by how much; empty while none is."""
        self._limits = limits
        self._tally = Tally(prices)
        self._run = self._tally.run = Run(number=1, offset=0, model=model)

    @property
    def kind(self) -> str:
        """Which limit is exceeded, or the first that is set."""
        return self.reason.partition(":")[0] or self._limits.kind or ""

    @property
    def is_blind(self) -> bool:
        """Whether there are limits, but the agent has reported nothing to check against them."""
        return self._limits != UNLIMITED and not any(self._used())

    def add(self, event: BaseEvent) -> None:
        """Fold an event of the run."""
        if self._limits == UNLIMITED or self.reason:
            return
        has_budget = self._limits.budget_usd is not None
        match event:
            case Started():
                self._run.model = event.model or self._run.model
                if has_budget and self._run.model is None:
                    self.reason = "budget: the agent does not report its model, so its cost is unknown; name the model"
            case UsageEvent():
                counted = self._tally.count_recent(from_json(dump(event)))
                if has_budget and counted is not None and counted.cost is None:
                    self.reason = f"budget: the model {counted.model} has no price, so the cost of the run is unknown"
            case Completed():
                self._tally.add(0, event.type, from_json(dump(event)))
            case _:
                return
        self.reason = self.reason or self._limits.exceeded_by(*self._used())

    def _used(self) -> tuple[int, int]:
        """Tokens and cost: of the messages, or of the run as the agent reports it, whichever is more."""
        run = self._run
        tokens = max(run.messages_usage.total, run.reported_usage.total if run.reported_usage is not None else 0)
        return tokens, max(run.cost, run.reported_cost or 0)
