"""What one run used: the sums of its messages, and the figures that the agent reports for the whole."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from workcast.events.usage import Usage
from workcast.ledger.money import add, subtract
from workcast.ledger.open_calls import CallClock
from workcast.ledger.prices import PriceTable
from workcast.ledger.rows import RunRow, RunStatus, UsageSource

MAX_MODELS: Final = 32
"""Models of a run that are counted apart; the tokens of further ones are counted as those of an unknown model."""
UNKNOWN_MODEL: Final = "?"
NOTHING: Final = Usage()
_VERSION_SUFFIX: Final = re.compile(r"(-\d{8})?(\[\w+\])?$")


@dataclass(slots=True)
class Counted:
    """What was counted for one message; amounts are in picodollars."""

    usage: Usage
    model: str | None
    computed: int | None
    """By the price table."""
    reported: int | None = None
    """By the agent."""

    @property
    def cost(self) -> int | None:
        """As the agent reported it, else as computed."""
        return self.computed if self.reported is None else self.reported


@dataclass(slots=True)
class Run:
    """The state of one run; amounts are in picodollars, moments in milliseconds since 1970."""

    number: int
    offset: int
    end_offset: int | None = None
    status: RunStatus = "running"
    agent: str | None = None
    model: str | None = None
    session_id: str | None = None
    has_started: bool = False
    started: str | None = None
    started_ms: int | None = None
    prompt_ms: int | None = None
    first_output_ms: int | None = None
    now_ms: int | None = None
    """The time of the last step; it never decreases."""
    clock: CallClock = field(default_factory=CallClock)
    messages: int = 0
    calls: int = 0

    # the sums of the messages
    by_model: dict[str, Usage] = field(default_factory=dict[str, Usage])
    computed: int = 0
    reported_by_messages: int | None = None
    cost: int = 0
    """Of each message as the agent reported it, else as computed."""
    unpriced: dict[str, int] = field(default_factory=dict[str, int])
    """How many messages of a model have no price."""

    # the figures of ``completed``
    reported_usage: Usage | None = None
    reported_cost: int | None = None
    reported_models: dict[str, Usage] = field(default_factory=dict[str, Usage])
    session_usage: Usage | None = None
    session_cost: int | None = None
    usage_before: Usage | None = None
    """What earlier runs of the session used; None if that is not known."""
    cost_before: int | None = None

    def prompt(self, timestamp: str | None, at: int | None) -> None:
        """Record a prompt."""
        now = self.step(timestamp, at)
        if self.prompt_ms is None and at is not None:
            self.prompt_ms = now

    def step(self, timestamp: str | None, at: int | None) -> int:
        """Record an event that advances the run's time, and return that time."""
        if at is not None:
            self.now_ms = max(self.now_ms or at, at)
            if self.started_ms is None:
                self.started_ms, self.started = at, timestamp
        return self.now_ms or 0

    def count(self, counted: Counted, sign: int = 1) -> None:
        """Add a message, or with ``sign`` -1 remove it."""
        name = counted.model or UNKNOWN_MODEL
        if name not in self.by_model and len(self.by_model) >= MAX_MODELS:
            name = UNKNOWN_MODEL
        before = self.by_model.get(name, NOTHING)
        self.by_model[name] = before + counted.usage if sign > 0 else before - counted.usage
        if counted.computed is not None:
            self.computed += sign * counted.computed
        elif counted.usage != NOTHING:
            self.unpriced[name] = self.unpriced.get(name, 0) + sign
        if counted.reported is not None:
            self.reported_by_messages = (self.reported_by_messages or 0) + sign * counted.reported
        self.cost += sign * (counted.cost or 0)

    @property
    def messages_usage(self) -> Usage:
        """The sum over the messages."""
        return sum(self.by_model.values(), NOTHING)

    def usage(self) -> tuple[Usage, UsageSource]:
        """Return what the run used, and where that figure comes from."""
        if self.reported_usage is not None:
            return self.reported_usage, "run"
        if self.session_usage is not None and self.usage_before is not None:
            increment = self.session_usage - self.usage_before
            if increment == increment.at_least_zero():  # else the agent restarted its count
                return increment, "session"
        return self.messages_usage, "messages" if self.by_model else "none"

    def total_cost(self) -> int | None:
        """Return the cost as the agent reported it."""
        if self.reported_cost is not None:
            return self.reported_cost
        if self.session_cost is not None and self.cost_before is not None and self.session_cost >= self.cost_before:
            return self.session_cost - self.cost_before
        return self.reported_by_messages

    def computed_cost(self, prices: PriceTable) -> tuple[int | None, list[str]]:
        """Return the cost by the price table, and the models without a price.

        It is that of the messages, each priced as one request, and of the rest of the run's own figure, by model. If
        the two name their models differently, so that the rest of each model is not known, it is that of the run's
        own figure alone.
        """
        usage, source = self.usage()
        unpriced = {model for model, count in self.unpriced.items() if count}
        if source == "none":
            return None, []
        if source == "messages" or usage == self.messages_usage:
            return (None if unpriced else self.computed), sorted(unpriced)
        by_model = self.reported_models if source == "run" else {}
        by_model = by_model or {self.model or UNKNOWN_MODEL: usage}
        counted = {_base_name(model): used for model, used in self.by_model.items() if used != NOTHING}
        if len(by_model) == 1:
            rest = dict.fromkeys(by_model, usage - self.messages_usage)
        elif counted.keys() <= {_base_name(model) for model in by_model}:
            rest = {model: used - counted.get(_base_name(model), NOTHING) for model, used in by_model.items()}
        else:
            return self._price(by_model, prices, 0, set())
        return self._price(rest, prices, self.computed, unpriced)

    def _price(
        self, models: dict[str, Usage], prices: PriceTable, cost: int, unpriced: set[str]
    ) -> tuple[int | None, list[str]]:
        """Add the price of each model's tokens to ``cost``, and the models without one to ``unpriced``."""
        for model, used in models.items():
            more = used.at_least_zero()
            price = prices.cost(model, more, self.now_ms, one_request=False)
            if price is not None:
                cost += price
            elif more != NOTHING:
                unpriced.add(model)
        return (None if unpriced else cost), sorted(unpriced)

    def duration_ms(self) -> int | None:
        """Return the time from the first step to the last."""
        return None if self.started_ms is None or self.now_ms is None else self.now_ms - self.started_ms

    def row(self, prices: PriceTable) -> RunRow:
        """Return the run's row in the account."""
        usage, source = self.usage()
        messages = self.messages_usage
        reported, (computed, unpriced) = self.total_cost(), self.computed_cost(prices)
        duration = self.duration_ms()
        tools = self.clock.spent(self.now_ms or 0)
        asked = self.prompt_ms if self.prompt_ms is not None else self.started_ms
        first = self.first_output_ms
        return RunRow(
            run=self.number, offset=self.offset, end_offset=self.end_offset, status=self.status, agent=self.agent,
            model=self.model, session_id=self.session_id, started=self.started, duration_ms=duration,
            ttft_ms=None if first is None or asked is None else max(0, first - asked), tools_ms=tools,
            model_ms=None if duration is None else max(0, duration - tools), usage=usage, usage_source=source,
            messages_usage=messages, usage_residual=usage - messages, session_usage=self.session_usage,
            cost=reported, cost_computed=computed, cost_residual=subtract(reported, computed), unpriced=unpriced,
            messages=self.messages, calls=self.calls,
        )  # fmt: skip

    def used_in_session(self) -> tuple[Usage | None, int | None]:
        """Return what the session used so far, and its cost: as the agent reported it, else as it was counted."""
        usage, cost = self.session_usage, self.session_cost
        if usage is None and self.usage_before is not None:
            usage = self.usage_before + self.usage()[0]
        if cost is None and self.cost_before is not None:
            cost = add(self.cost_before, self.total_cost())
        return usage, cost


def _base_name(model: str) -> str:
    """Return a model's name without its date and context length."""
    return _VERSION_SUFFIX.sub("", model.lower(), count=1)
