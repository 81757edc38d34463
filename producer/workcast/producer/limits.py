"""What a run may take: dollars and tokens, added up while the agent tells of them."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from workcast.broker.price_file import current_prices
from workcast.events.models import BaseEvent, Completed, Started, UsageEvent
from workcast.events.usage import Usage
from workcast.ledger.prices import dollars
from workcast.producer.adapters.base import Adapter
from workcast.producer.errors import LimitError


class CostOf(Protocol):
    """What tokens cost."""

    def __call__(self, model: str, usage: Usage, at: datetime, /, *, one_request: bool) -> float | None:
        """US dollars; None if nobody knows what the model costs."""
        ...


def cost_by_table(model: str, usage: Usage, at: datetime, /, *, one_request: bool) -> float | None:
    """By the price table.

    Raises:
        PricesError: it cannot be read.
    """
    cost = current_prices().cost(model, usage, round(at.timestamp() * 1000), one_request=one_request)
    return None if cost is None else dollars(cost)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may take.

    Raises:
        LimitError: a limit is not above 0.
    """

    budget_usd: float | None = None
    """US dollars; None: any."""
    max_tokens: int | None = None
    """Input (cached input too) and output, of all messages together; None: any."""
    cost: CostOf = cost_by_table

    def __post_init__(self) -> None:
        if self.budget_usd is not None and not (0 < self.budget_usd < math.inf):
            raise LimitError(f"expected a budget above $0, got {self.budget_usd}")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise LimitError(f"expected at least 1 token as the most, got {self.max_tokens}")

    def check(self, kind: type[Adapter]) -> None:
        """Refuse limits that nobody could hold an agent to.

        Raises:
            LimitError: this one tells neither tokens nor costs.
            PricesError: there is a budget, and the price table cannot be read.
        """
        limit = "budget" if self.budget_usd is not None else "most tokens" if self.max_tokens is not None else None
        if limit is not None and not kind.takes_prompt:
            raise LimitError(
                f"expected an agent that tells what it takes, got {kind.name} with a {limit}; leave it out"
            )
        if self.budget_usd is not None:
            self.cost("", Usage(), datetime.now().astimezone(), one_request=True)


UNLIMITED: Final = Limits()


class Meter:
    """Adds up what one run takes, and says once it is too much.

    The agent's own word counts where it says what something costs, else the price table. A budget that cannot be
    checked, because nobody knows what the model costs, counts as passed: it would be no budget otherwise.
    """

    def __init__(self, limits: Limits, model: str | None) -> None:
        self.passed = asyncio.Event()
        """Set once a limit is passed."""
        self.reason = ""
        """Which, and by how much; empty while none is."""
        self._limits = limits
        self._model = model
        self._tokens = 0
        self._cost = 0.0
        self._begun: dict[str, tuple[int, float]] = {}
        """Of messages that have told what they took at least: it is part of the sums until they tell what they took."""

    @property
    def is_blind(self) -> bool:
        """Whether there are limits, and the agent has told nothing to hold against them."""
        return self._limits != UNLIMITED and not self._tokens and not self._cost

    @property
    def kind(self) -> str:
        """The limit's name: ``budget`` or ``max_tokens``."""
        return self.reason.partition(":")[0] or ("max_tokens" if self._limits.budget_usd is None else "budget")

    def add(self, event: BaseEvent) -> None:
        """Take an event of the run."""
        if self._limits == UNLIMITED or self.passed.is_set():
            return
        match event:
            case Started():
                self._model = event.model or self._model
                if self._limits.budget_usd is not None and self._model is None:
                    self._pass("budget: the agent does not tell its model, so nobody knows what it costs; name one")
            case UsageEvent():
                self._add_usage(event)
            case Completed():
                self._take_total(event)
            case _:
                return
        self._compare()

    def _add_usage(self, event: UsageEvent) -> None:
        tokens, cost = event.usage.input_tokens + event.usage.output_tokens, self._cost_of(event)
        before = self._begun.pop(event.message_id or "", (0, 0.0))
        if event.partial and event.message_id:
            self._begun[event.message_id] = tokens, cost
        self._tokens += tokens - before[0]
        self._cost += cost - before[1]

    def _cost_of(self, event: UsageEvent) -> float:
        if self._limits.budget_usd is None:
            return 0.0
        told = (event.model_extra or {}).get("cost_usd")
        if isinstance(told, int | float):
            return told
        model = event.model or self._model
        one_request = event.message_id is not None
        cost = self._limits.cost(model, event.usage, event.timestamp, one_request=one_request) if model else None
        if cost is None:
            self._pass(f"budget: no price is known for the model {model}, so nobody knows what it costs")
        return cost or 0.0

    def _take_total(self, completed: Completed) -> None:
        """The agent's own count of all, if it has one: it may know of more than it told on the way."""
        if completed.usage is not None:
            self._tokens = max(self._tokens, completed.usage.input_tokens + completed.usage.output_tokens)
        self._cost = max(self._cost, completed.cost_usd or 0.0)

    def _compare(self) -> None:
        budget, most = self._limits.budget_usd, self._limits.max_tokens
        if budget is not None and self._cost > budget:
            self._pass(f"budget: ${self._cost:.4f} of ${budget:.4f}")
        if most is not None and self._tokens > most:
            self._pass(f"max_tokens: {self._tokens} of {most}")

    def _pass(self, reason: str) -> None:
        self.reason = self.reason or reason
        self.passed.set()
