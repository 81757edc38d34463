"""What one run took: its messages against what the agent says of the whole, in tokens, money and time."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from workcast.events.usage import Usage
from workcast.ledger.prices import PriceTable, dollars
from workcast.ledger.rows import RunRow, RunStatus, UsageSource

_MAX_MODELS: Final = 32
_MAX_OPEN: Final = 256
"""Open calls that are timed; with more of them, the oldest no longer count as open."""
_VERSION_SUFFIX: Final = re.compile(r"(-\d{8})?(\[\w+\])?$")
NOTHING: Final = Usage()


@dataclass(slots=True)
class Counted:
    """What one message was counted for."""

    usage: Usage
    model: str | None
    computed: int | None
    """Picodollars by the price table."""
    told: int | None = None
    """Picodollars as the agent told them."""


@dataclass(slots=True)
class CallClock:
    """How long at least one call was open. Moments are milliseconds since 1970."""

    spent_ms: int = 0
    since: int | None = None
    open: dict[str, str] = field(default_factory=dict[str, str])
    """Keys and tools of the open calls, the oldest first."""

    def start(self, key: str, tool: str, now: int) -> None:
        """A call was made."""
        if len(self.open) >= _MAX_OPEN:
            del self.open[next(iter(self.open))]
        self.open[key] = tool
        self.since = now if self.since is None else self.since

    def end(self, key: str | None, tool: str | None, now: int) -> str | None:
        """A call has its result: by its key, else the newest open one of that tool whose key is none of the agent's.

        Returns:
            The key of the call; None if no such call is open.
        """
        if key is None:
            key = next((k for k in reversed(self.open) if k.startswith("#") and self.open[k] == tool), None)
        if key is None or self.open.pop(key, None) is None:
            return None
        if not self.open:
            self.stop(now)
        return key

    def stop(self, now: int) -> None:
        """Nothing is open any more."""
        self.spent_ms = self.spent(now)
        self.since = None
        self.open.clear()

    def spent(self, now: int) -> int:
        """Until ``now``, in milliseconds."""
        return self.spent_ms + (max(0, now - self.since) if self.since is not None else 0)


@dataclass(slots=True)
class Run:
    """One run, as far as it is known."""

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
    """The time of the last step; never goes back."""
    clock: CallClock = field(default_factory=CallClock)
    messages: int = 0
    calls: int = 0

    by_model: dict[str, Usage] = field(default_factory=dict[str, Usage])
    computed: int = 0
    told_by_messages: int | None = None
    unpriced: dict[str, int] = field(default_factory=dict[str, int])
    """How many messages of a model have no price."""

    told_usage: Usage | None = None
    told_cost: int | None = None
    told_models: dict[str, Usage] = field(default_factory=dict[str, Usage])
    session_usage: Usage | None = None
    session_cost: int | None = None
    before_usage: Usage | None = None
    """What earlier runs of the session were counted for; None if that is not known."""
    before_cost: int | None = None

    def asked(self, timestamp: str | None, at: int | None) -> None:
        """A prompt was given."""
        now = self.step(timestamp, at)
        if self.prompt_ms is None and at is not None:
            self.prompt_ms = now

    def step(self, timestamp: str | None, at: int | None) -> int:
        """Something happened that time is taken from. Returns the time it is now, which never goes back."""
        if at is not None:
            self.now_ms = max(self.now_ms or at, at)
            if self.started_ms is None:
                self.started_ms, self.started = at, timestamp
        return self.now_ms or 0

    def count(self, counted: Counted, sign: int = 1) -> None:
        """Add a message, or with ``sign`` -1 take it out again."""
        name = counted.model or "?"
        if name not in self.by_model and len(self.by_model) >= _MAX_MODELS:
            name = "?"
        before = self.by_model.get(name, NOTHING)
        self.by_model[name] = before + counted.usage if sign > 0 else before - counted.usage
        if counted.computed is not None:
            self.computed += sign * counted.computed
        elif counted.usage != NOTHING:
            self.unpriced[name] = self.unpriced.get(name, 0) + sign
        if counted.told is not None:
            self.told_by_messages = (self.told_by_messages or 0) + sign * counted.told

    @property
    def messages_usage(self) -> Usage:
        """The sum over the messages."""
        return sum(self.by_model.values(), NOTHING)

    def usage(self) -> tuple[Usage, UsageSource]:
        """What the run took, and what says so."""
        if self.told_usage is not None:
            return self.told_usage, "run"
        if self.session_usage is not None and self.before_usage is not None:
            increment = self.session_usage - self.before_usage
            if increment == increment.at_least_zero():  # else the agent began to count anew
                return increment, "session"
        return self.messages_usage, "messages" if self.by_model else "none"

    def cost(self) -> int | None:
        """Picodollars as the agent reported them."""
        if self.told_cost is not None:
            return self.told_cost
        if self.session_cost is not None and self.before_cost is not None and self.session_cost >= self.before_cost:
            return self.session_cost - self.before_cost
        return self.told_by_messages

    def computed_cost(self, prices: PriceTable) -> tuple[int | None, list[str]]:
        """Picodollars by the price table, and the models that it does not know.

        The messages, each priced as one request, and the rest of the run's figure by model. Where the two name their
        models differently, so that nobody can tell the rest by model, the run's figure is priced instead.
        """
        usage, source = self.usage()
        unpriced = {model for model, count in self.unpriced.items() if count}
        if source == "none":
            return None, []
        if source == "messages" or usage == self.messages_usage:
            return (None if unpriced else self.computed), sorted(unpriced)
        told = self.told_models if source == "run" and self.told_models else {self.model or "?": usage}
        mine = {_plain(model): used for model, used in self.by_model.items() if used != NOTHING}
        if len(told) == 1:
            rest = dict.fromkeys(told, usage - self.messages_usage)
        elif mine.keys() <= {_plain(model) for model in told}:
            rest = {model: used - mine.get(_plain(model), NOTHING) for model, used in told.items()}
        else:
            return self._priced(prices, 0, told, set())
        return self._priced(prices, self.computed, rest, unpriced)

    def _priced(
        self, prices: PriceTable, cost: int, models: dict[str, Usage], unpriced: set[str]
    ) -> tuple[int | None, list[str]]:
        for model, used in models.items():
            more = used.at_least_zero()
            price = prices.cost(model, more, self.now_ms, one_request=False)
            if price is not None:
                cost += price
            elif more != NOTHING:
                unpriced.add(model)
        return (None if unpriced else cost), sorted(unpriced)

    def duration_ms(self) -> int | None:
        """From the first step to the last."""
        return None if self.started_ms is None or self.now_ms is None else self.now_ms - self.started_ms

    def row(self, prices: PriceTable) -> RunRow:
        """The run as viewers see it."""
        usage, source = self.usage()
        messages = self.messages_usage
        told, (computed, unpriced) = self.cost(), self.computed_cost(prices)
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
            cost_usd=_dollars(told), cost_computed_usd=_dollars(computed),
            cost_residual_usd=None if told is None or computed is None else dollars(told - computed),
            unpriced=unpriced, messages=self.messages, calls=self.calls,
        )  # fmt: skip


def _dollars(picodollars: int | None) -> float | None:
    return None if picodollars is None else dollars(picodollars)


def _plain(model: str) -> str:
    """A model's name without its date and its context."""
    return _VERSION_SUFFIX.sub("", model.lower(), count=1)
