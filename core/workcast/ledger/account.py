"""The account of a log: what each message, call, sub-agent and run took, and all of them together.

A fold, fed line by line: whoever reads the log can stop anywhere and go on later. docs/events.md says what the figures
mean.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from workcast.events.usage import Usage
from workcast.ledger.prices import PriceTable, dollars, picodollars, shipped_prices
from workcast.ledger.row_store import RowStore
from workcast.ledger.rows import CallRow, MessageRow, RunRow, SubagentRow, Totals
from workcast.ledger.run import CallClock, Counted
from workcast.ledger.tally import OUTPUT, Tally, moment, text

Rows = Literal["runs", "messages", "calls", "subagents"]

_MAX_AGENTS: Final = 256
"""Agents whose last moment is known; of one that was forgotten, the next message has no time to first token."""
_READ: Final = OUTPUT | {"tool_result", "usage", "error", "started", "prompt_sent"}
_SPOKEN: Final = OUTPUT - {"tool_call"}


@dataclass(slots=True)
class _Agent:
    """The main agent or a sub-agent of the run."""

    last_ms: int | None = None
    """When it was last heard of, or got something to answer; but see ``spoke``."""
    spoke: Mapping[str, Any] | None = None
    """A piece of its message that came after that, whose time nobody has needed yet."""
    message: str | None = None
    """The message that it spoke last."""
    clock: CallClock = field(default_factory=CallClock)

    def heard(self) -> int | None:
        """When it was last heard of, in milliseconds since 1970."""
        if self.spoke is not None:
            at, self.spoke = moment(self.spoke), None
            self.last_ms = max(self.last_ms or 0, at or 0) or None
        return self.last_ms


class Account:
    """The state of the fold; not safe for several threads at once."""

    def __init__(self, base: int = 0, prices: PriceTable | None = None) -> None:
        self.base = self.offset = base
        """The offset after the last event folded; ``base`` is that of the first."""
        self.prices = prices or shipped_prices()
        self._tally = Tally(self.prices)
        self._agents: OrderedDict[str | None, _Agent] = OrderedDict()
        self._runs = RowStore(RunRow)
        self._messages = RowStore(MessageRow)
        self._made = RowStore(CallRow)
        self._subagents = RowStore(SubagentRow)
        self._run = 0

    def add(self, event: Mapping[str, Any] | None) -> None:
        """Take the next line in: an event's fields, or None for a line that is no event."""
        offset, self.offset = self.offset, self.offset + 1
        if event is None:
            return
        kind: str = event["type"]
        ended = self._tally.add(offset, kind, event)
        if ended is not None:
            self._runs.put(str(ended.run), ended)
        run = self._tally.run
        if run is not None and run.number != self._run:
            self._run = run.number
            self._agents.clear()
        if kind in _SPOKEN and event.get("parent_call_id") is None:
            agent = self._agents.get(None)
            if agent is not None and event.get("message_id") == agent.message:
                agent.spoke = event  # most of a log: the next piece of the message
                return
        if kind in _READ:
            self._read(offset, kind, event)

    def totals(self) -> Totals:
        """All runs together."""
        return self._tally.totals()

    def page(self, rows: Rows, start: int, limit: int) -> tuple[int, list[bytes]]:
        """How many rows of a kind there are, and some of them as JSON, in the order in which the log begins them."""
        if self._tally.run is not None:
            self._runs.put(str(self._run), self._tally.run.row(self.prices))
        match rows:
            case "runs":
                return self._runs.count, self._runs.page(start, limit)
            case "messages":
                return self._messages.count, self._messages.page(start, limit)
            case "calls":
                return self._made.count, self._made.page(start, limit)
            case "subagents":
                return self._subagents.count, self._subagents.page(start, limit)

    def _read(self, offset: int, kind: str, event: Mapping[str, Any]) -> None:
        parent, at = text(event, "parent_call_id"), moment(event)
        agent = self._agent(parent)
        last = agent.heard()
        now = max(last or 0, at or 0) or None
        message_id = text(event, "message_id")
        if kind in OUTPUT and message_id is not None and message_id != agent.message:
            ttft = None if last is None or at is None else max(0, at - last)
            self._begin_message(offset, event, agent, message_id, ttft)
        match kind:
            case "tool_call":
                self._call(offset, event, agent, now)
            case "tool_result":
                self._result(offset, event, agent, now)
            case "usage":
                self._usage(offset, event, at)
            case "error" if event.get("kind") == "stream_abandoned" and message_id is not None:
                self._abandon(message_id)
            case _:
                pass
        agent.last_ms = now
        if parent is not None:
            self._heard(offset, parent, agent, event, now)

    def _agent(self, parent: str | None) -> _Agent:
        agent = self._agents.get(parent)
        if agent is None:
            call = self._made.get(f"{self._run}:{parent}") if parent is not None else None
            agent = self._agents[parent] = _Agent(moment({"timestamp": call.started}) if call is not None else None)
            if len(self._agents) > _MAX_AGENTS:
                self._agents.popitem(last=False)
        self._agents.move_to_end(parent)
        return agent

    # ── messages ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def _begin_message(
        self, offset: int, event: Mapping[str, Any], agent: _Agent, message_id: str, ttft_ms: int | None
    ) -> None:
        agent.message, key = message_id, f"{self._run}:{message_id}"
        if self._messages.get(key) is None:
            row = self._message(offset, event)
            row.started, row.ttft_ms = text(event, "timestamp"), ttft_ms
            self._messages.add(key, row)

    def _message(self, offset: int, event: Mapping[str, Any]) -> MessageRow:
        """A new row, counted."""
        run, parent = self._tally.run, text(event, "parent_call_id")
        if run is not None:
            run.messages += 1
        if parent is not None:
            subagent = self._subagent(offset, parent)
            subagent.messages += 1
            self._subagents.put(f"{self._run}:{parent}", subagent)
        return MessageRow(
            run=self._run, offset=offset, message_id=text(event, "message_id"), parent_call_id=parent,
            model=text(event, "model"), started=None, ttft_ms=None,
        )  # fmt: skip

    def _usage(self, offset: int, event: Mapping[str, Any], at: int | None) -> None:
        message_id = text(event, "message_id")
        key = f"{self._run}:{message_id}" if message_id is not None else f"{self._run}:#{offset}"
        row = self._messages.get(key)
        before = None
        if row is not None and row.usage is not None:
            before = Counted(row.usage, row.model, _pico(row.cost_computed_usd), _pico(row.cost_usd))
        counted = self._tally.count(event, before, at)
        if counted is None:
            return
        row = row or self._message(offset, event)
        row.usage, row.model, row.partial = counted.usage, counted.model, event.get("partial") is True
        row.cost_computed_usd, row.cost_usd = _usd(counted.computed), _usd(counted.told)
        self._messages.put(key, row)
        if row.parent_call_id is not None:  # whoever began a message has it, whatever its count says
            self._count_subagent(offset, row.parent_call_id, counted, before)

    def _abandon(self, message_id: str) -> None:
        key = f"{self._run}:{message_id}"
        row = self._messages.get(key)
        if row is not None:
            row.abandoned = True
            self._messages.put(key, row)

    # ── calls ────────────────────────────────────────────────────────────────────────────────────────────────────────
    def _call(self, offset: int, event: Mapping[str, Any], agent: _Agent, now: int | None) -> None:
        call_id, tool = text(event, "call_id"), text(event, "tool") or "?"
        key = f"{self._run}:{call_id or f'#{offset}'}"
        if self._made.get(key) is not None:
            return  # told again: still the same call
        parent = text(event, "parent_call_id")
        agent.clock.start(call_id or f"#{offset}", tool, now or 0)
        row = CallRow(
            run=self._run, offset=offset, result_offset=None, call_id=call_id, parent_call_id=parent,
            message_id=text(event, "message_id"), tool=tool, started=text(event, "timestamp"), duration_ms=None,
            told_ms=None, error=None,
        )  # fmt: skip
        self._made.add(key, row)
        if self._tally.run is not None:
            self._tally.run.calls += 1
        if parent is not None:
            subagent = self._subagent(offset, parent)
            subagent.calls += 1
            self._subagents.put(f"{self._run}:{parent}", subagent)

    def _result(self, offset: int, event: Mapping[str, Any], agent: _Agent, now: int | None) -> None:
        call_id = text(event, "call_id")
        key = agent.clock.end(call_id, text(event, "tool"), now or 0) or call_id
        row = self._made.get(f"{self._run}:{key}") if key is not None else None
        if row is None:
            return
        started, ended, told = moment({"timestamp": row.started}), moment(event), event.get("duration_ms")
        row.result_offset, row.error = offset, event.get("error") is not None
        row.duration_ms = None if started is None or ended is None else max(0, ended - started)
        row.told_ms = told if isinstance(told, int) and 0 <= told < 2**53 else None
        self._made.put(f"{self._run}:{key}", row)

    # ── sub-agents ───────────────────────────────────────────────────────────────────────────────────────────────────
    def _subagent(self, offset: int, call_id: str) -> SubagentRow:
        row = self._subagents.get(f"{self._run}:{call_id}")
        if row is not None:
            return row
        call = self._made.get(f"{self._run}:{call_id}")
        return SubagentRow(
            run=self._run, offset=offset, call_id=call_id, model=None, started=call.started if call else None,
            duration_ms=None, tools_ms=0, messages=0, calls=0, usage=Usage(), cost_computed_usd=0.0,
        )  # fmt: skip

    def _count_subagent(self, offset: int, call_id: str, counted: Counted, before: Counted | None) -> None:
        row = self._subagent(offset, call_id)
        row.model = counted.model or row.model
        row.usage = row.usage + counted.usage - (before.usage if before is not None else Usage())
        if counted.computed is None:
            row.unpriced = sorted({*row.unpriced, counted.model or "?"})[:16]
            row.cost_computed_usd = None
        elif row.cost_computed_usd is not None:
            earlier = before.computed or 0 if before is not None else 0
            row.cost_computed_usd = dollars(picodollars(row.cost_computed_usd) + counted.computed - earlier)
        self._subagents.put(f"{self._run}:{call_id}", row)

    def _heard(self, offset: int, call_id: str, agent: _Agent, event: Mapping[str, Any], now: int | None) -> None:
        row = self._subagent(offset, call_id)
        row.started = row.started or text(event, "timestamp")
        started = moment({"timestamp": row.started})
        if started is not None and now is not None:
            row.duration_ms = max(row.duration_ms or 0, now - started)
        row.tools_ms = agent.clock.spent(now or 0)
        self._subagents.put(f"{self._run}:{call_id}", row)


def _usd(value: int | None) -> float | None:
    return None if value is None else dollars(value)


def _pico(value: float | None) -> int | None:
    return None if value is None else picodollars(value)
