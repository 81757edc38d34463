"""The rows of an account, and the totals over all runs.

Spans are in milliseconds, by the clocks that stamped the events. None means that a figure is not known.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Final, Literal

from pydantic import ConfigDict, Field

from workcast.events.usage import Usage
from workcast.ledger.money import Money, add

RunStatus = Literal["running", "success", "failed", "timeout", "cancelled", "lost"]
"""``lost``: the next run began before any event ended this one."""
UsageSource = Literal["run", "session", "messages", "none"]
"""Where a run's usage comes from: the agent's figure for the run; its figure for the session, less what earlier runs of
the session in this log used; the sum of the messages; or nothing, so that it is not known."""

MAX_UNPRICED: Final = 64
_BY_ALIAS: Final = ConfigDict(serialize_by_alias=True)


@dataclass(slots=True)
class RunRow:
    """One run of an agent."""

    __pydantic_config__: ClassVar[ConfigDict] = _BY_ALIAS

    run: int
    """From 1, in the order of the log."""
    offset: int
    """Of the run's first event."""
    end_offset: int | None
    """Of its ``completed``."""
    status: RunStatus
    agent: str | None
    model: str | None
    session_id: str | None
    started: str | None
    duration_ms: int | None
    """From the first event to ``completed``, or to the last event that marks a step."""
    ttft_ms: int | None
    """From the prompt (without one: from the start) to the model's first output."""
    tools_ms: int
    """The time during which at least one call of the main agent was open."""
    model_ms: int | None
    """The rest: waiting for the model, and the agent's own work."""
    usage: Usage
    usage_source: UsageSource
    messages_usage: Usage
    """The sum over the messages."""
    usage_residual: Usage
    """``usage`` less ``messages_usage``: what the messages do not account for. Counts may be negative."""
    session_usage: Usage | None
    """The agent's figure for the session, if it reports one."""
    cost: Annotated[Money | None, Field(alias="cost_usd")]
    """As the agent reported it."""
    cost_computed: Annotated[Money | None, Field(alias="cost_computed_usd")]
    """By the price table; None if any of the models has no price."""
    cost_residual: Annotated[Money | None, Field(alias="cost_residual_usd")]
    """Reported less computed."""
    unpriced: list[str]
    """Models without a price; ``?`` stands for an unknown model."""
    messages: int
    calls: int


@dataclass(slots=True)
class MessageRow:
    """One message of a model: a request and its answer. Agents that count by turns have one row per turn."""

    __pydantic_config__: ClassVar[ConfigDict] = _BY_ALIAS

    run: int
    offset: int
    """Of the message's first event."""
    message_id: str | None
    parent_call_id: str | None
    model: str | None
    started: str | None
    ttft_ms: int | None
    """From the last thing that the model waited for (prompt, results, its previous message) to the first event."""
    usage: Usage | None = None
    partial: bool = False
    """The usage is what was known when the message began: its output is a lower bound."""
    abandoned: bool = False
    """The stream broke off and another message replaced this one: only the run's own figure includes its usage."""
    cost: Annotated[Money | None, Field(alias="cost_usd")] = None
    cost_computed: Annotated[Money | None, Field(alias="cost_computed_usd")] = None


@dataclass(slots=True)
class CallRow:
    """One call of a tool."""

    run: int
    offset: int
    result_offset: int | None
    call_id: str | None
    parent_call_id: str | None
    message_id: str | None
    """The message that contains the call."""
    tool: str
    started: str | None
    duration_ms: int | None
    """From the call's event to its result's; None while it is open."""
    told_ms: int | None
    """As the result reports it."""
    error: bool | None


@dataclass(slots=True)
class SubagentRow:
    """The work below one call that started a sub-agent, without that of the sub-agent's own sub-agents."""

    __pydantic_config__: ClassVar[ConfigDict] = _BY_ALIAS

    run: int
    offset: int
    """Of the sub-agent's first event."""
    call_id: str
    model: str | None
    started: str | None
    duration_ms: int | None
    """From the call that started it to its last event, which may follow the call's result."""
    tools_ms: int
    messages: int
    calls: int
    usage: Usage
    """The sum over its messages."""
    cost_computed: Annotated[Money | None, Field(alias="cost_computed_usd")]
    unpriced: list[str] = field(default_factory=list[str])


@dataclass(slots=True)
class Totals:
    """The sums over all runs."""

    __pydantic_config__: ClassVar[ConfigDict] = _BY_ALIAS

    runs: int = 0
    duration_ms: int = 0
    tools_ms: int = 0
    model_ms: int = 0
    usage: Usage = field(default_factory=Usage)
    messages_usage: Usage = field(default_factory=Usage)
    usage_residual: Usage = field(default_factory=Usage)
    cost: Annotated[Money | None, Field(alias="cost_usd")] = None
    cost_computed: Annotated[Money | None, Field(alias="cost_computed_usd")] = None
    """Of the runs whose models all have prices."""
    cost_residual: Annotated[Money | None, Field(alias="cost_residual_usd")] = None
    """Of the runs for which both are known."""
    unpriced: list[str] = field(default_factory=list[str])
    """At most 64 models."""
    messages: int = 0
    calls: int = 0

    def plus(self, row: RunRow) -> Totals:
        """Return the totals with one more run."""
        return Totals(
            runs=self.runs + 1,
            duration_ms=self.duration_ms + (row.duration_ms or 0),
            tools_ms=self.tools_ms + row.tools_ms,
            model_ms=self.model_ms + (row.model_ms or 0),
            usage=self.usage + row.usage,
            messages_usage=self.messages_usage + row.messages_usage,
            usage_residual=self.usage_residual + row.usage_residual,
            cost=add(self.cost, row.cost),
            cost_computed=add(self.cost_computed, row.cost_computed),
            cost_residual=add(self.cost_residual, row.cost_residual),
            unpriced=sorted({*self.unpriced, *row.unpriced})[:MAX_UNPRICED],
            messages=self.messages + row.messages,
            calls=self.calls + row.calls,
        )
