"""The rows of an account, as they are told to viewers, and the totals over runs.

Money is in US dollars, spans are in milliseconds; what nobody knows is None.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from workcast.events.usage import Usage

RunStatus = Literal["running", "success", "failed", "timeout", "cancelled", "lost"]
"""``lost``: the next run began, and nothing had told the end of this one."""
UsageSource = Literal["run", "session", "messages", "none"]
"""What a run's usage is taken from: the agent's own figure for the run; its figure for the session, less what earlier
runs of the session in this log took; the sum of the messages; or nothing at all, so that it is not known."""


@dataclass(slots=True)
class RunRow:
    """One run of an agent."""

    run: int
    """From 1 on, in the order of the log."""
    offset: int
    """The run's first event."""
    end_offset: int | None
    """Its ``completed``."""
    status: RunStatus
    agent: str | None
    model: str | None
    session_id: str | None
    started: str | None
    duration_ms: int | None
    """From the first event to ``completed``, else to the last one that marked a step, by the capture clocks."""
    ttft_ms: int | None
    """From the prompt (without one: from the start) to the model's first word, thought or call."""
    tools_ms: int
    """While at least one call of the main agent was open."""
    model_ms: int | None
    """The rest: waiting for the model, and the agent's own work."""
    usage: Usage
    usage_source: UsageSource
    messages_usage: Usage
    """The sum over the messages."""
    usage_residual: Usage
    """What the messages do not account for: ``usage`` less ``messages_usage``. A kind may be negative."""
    session_usage: Usage | None
    """The agent's figure for the session, where it tells one."""
    cost_usd: float | None
    """As the agent reported it."""
    cost_computed_usd: float | None
    """By the price table; None if any model in it is not priced."""
    cost_residual_usd: float | None
    """Reported less computed."""
    unpriced: list[str]
    """Models that the price table does not know; ``?``: nobody told which model."""
    messages: int
    calls: int


@dataclass(slots=True)
class MessageRow:
    """One message of a model: a request and its answer. Where an agent counts by turns, a turn's usage is a row."""

    run: int
    offset: int
    """The first event that is of it."""
    message_id: str | None
    parent_call_id: str | None
    model: str | None
    started: str | None
    ttft_ms: int | None
    """From what the model waited for last (prompt, results, its own last message) to the message's first event."""
    usage: Usage | None = None
    partial: bool = False
    """What was known when the message began: the output is a lower bound."""
    abandoned: bool = False
    """Its stream broke off, and another message took its place. What it took is only in the run's own figure."""
    cost_usd: float | None = None
    cost_computed_usd: float | None = None


@dataclass(slots=True)
class CallRow:
    """One call of a tool."""

    run: int
    offset: int
    result_offset: int | None
    call_id: str | None
    parent_call_id: str | None
    message_id: str | None
    """The message that made it."""
    tool: str
    started: str | None
    duration_ms: int | None
    """From the call's event to its result's, by the capture clocks; None while it is open."""
    told_ms: int | None
    """As the result tells it."""
    error: bool | None


@dataclass(slots=True)
class SubagentRow:
    """What hangs under one call that started a sub-agent; what a sub-agent of its own did, hangs under that one."""

    run: int
    offset: int
    """The first event that is of it."""
    call_id: str
    model: str | None
    started: str | None
    duration_ms: int | None
    """From the call that started it to its last event; it may outlive the result of that call."""
    tools_ms: int
    messages: int
    calls: int
    usage: Usage
    """The sum over its messages."""
    cost_computed_usd: float | None
    unpriced: list[str] = field(default_factory=list[str])


@dataclass(slots=True)
class Totals:
    """The sums over all runs."""

    runs: int = 0
    duration_ms: int = 0
    tools_ms: int = 0
    model_ms: int = 0
    usage: Usage = field(default_factory=Usage)
    messages_usage: Usage = field(default_factory=Usage)
    usage_residual: Usage = field(default_factory=Usage)
    cost_usd: float | None = None
    cost_computed_usd: float | None = None
    """Of the runs whose models are all priced."""
    cost_residual_usd: float | None = None
    """Of the runs of which both are known."""
    unpriced: list[str] = field(default_factory=list[str])
    messages: int = 0
    calls: int = 0
