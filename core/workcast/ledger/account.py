"""The account of a log: what each message, call, sub-agent and run used, and all of them together.

A fold that takes line after line and can stop anywhere. It adds rows to the sums of a
:class:`~workcast.ledger.tally.Tally`; docs/events.md explains the figures.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from workcast.events.usage import Usage
from workcast.ledger.event_fields import moment, text
from workcast.ledger.open_calls import CallClock, OpenCall
from workcast.ledger.prices import PriceTable, shipped_prices
from workcast.ledger.row_store import MemoryRows, RowStoreFactory
from workcast.ledger.rows import CallRow, MessageRow, RunRow, SubagentRow, Totals
from workcast.ledger.run import UNKNOWN_MODEL, Counted
from workcast.ledger.tally import OUTPUT, Tally

Rows = Literal["runs", "messages", "calls", "subagents"]

_MAX_AGENTS: Final = 256
"""Agents whose state is kept, those with the latest events. Of one that was forgotten, the next message has no time to
first token, and calls without ids that are open stay without a result."""
_MAX_UNPRICED: Final = 16
_MAX_MS: Final = 2**53
_READ: Final = OUTPUT | {"tool_result", "usage", "error", "started", "prompt_sent"}
_PIECES: Final = OUTPUT - {"tool_call"}


@dataclass(slots=True)
class _Agent:
    """The main agent or a sub-agent of the run."""

    last_ms: int | None = None
    """The time of its last event or of what it got to answer; but see ``piece``."""
    piece: Mapping[str, Any] | None = None
    """A later piece of its message, whose time has not been needed yet."""
    message: str | None = None
    """Its last message."""
    clock: CallClock = field(default_factory=CallClock)

    def last_heard(self) -> int | None:
        """Return the time of its last event, in milliseconds since 1970."""
        if self.piece is not None:
            at, self.piece = moment(self.piece.get("timestamp")), None
            self.last_ms = max(self.last_ms or 0, at or 0) or None
        return self.last_ms


class Account:
    """The state of the fold; not safe for several threads at once.

    Args:
        base: the offset of the log's first event.
        prices: the table by which costs are computed; None: the built-in one.
        new_store: makes the stores of the rows.
    """

    def __init__(
        self, base: int = 0, prices: PriceTable | None = None, new_store: RowStoreFactory = MemoryRows
    ) -> None:
        self.base = self.offset = base
        """``offset`` is that after the last event folded."""
        self.prices = prices or shipped_prices()
        self._tally = Tally(self.prices)
        self._agents: OrderedDict[str | None, _Agent] = OrderedDict()
        self._runs = new_store(RunRow)
        self._messages = new_store(MessageRow)
        self._calls = new_store(CallRow)
        self._subagents = new_store(SubagentRow)
        self._run = 0

    def add(self, event: Mapping[str, Any] | None) -> None:
        """Fold the next line: an event's fields, or None for a line that is not an event."""
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
        if kind in _PIECES and event.get("parent_call_id") is None:
            agent = self._agents.get(None)
            if agent is not None and event.get("message_id") == agent.message:
                agent.piece = event  # most of a log: the next piece of the same message
                return
        if kind in _READ:
            self._read(offset, kind, event)

    def totals(self) -> Totals:
        """Return the sums over all runs so far."""
        return self._tally.totals()

    def page(self, rows: Rows, start: int, limit: int) -> tuple[int, list[bytes]]:
        """Return how many rows of a kind there are, and at most ``limit`` of them as JSON, in the order of the log."""
        if self._tally.run is not None:
            self._runs.put(str(self._run), self._tally.run.row(self.prices))
        match rows:
            case "runs":
                return self._runs.count, self._runs.page(start, limit)
            case "messages":
                return self._messages.count, self._messages.page(start, limit)
            case "calls":
                return self._calls.count, self._calls.page(start, limit)
            case "subagents":
                return self._subagents.count, self._subagents.page(start, limit)

    def _read(self, offset: int, kind: str, event: Mapping[str, Any]) -> None:
        parent, at = text(event, "parent_call_id"), moment(event.get("timestamp"))
        agent = self._agent(parent)
        last = agent.last_heard()
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
            self._time_subagent(offset, parent, agent, event, now)

    def _agent(self, parent: str | None) -> _Agent:
        agent = self._agents.get(parent)
        if agent is None:
            call = self._calls.get(f"{self._run}:{parent}") if parent is not None else None
            agent = self._agents[parent] = _Agent(moment(call.started) if call is not None else None)
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
            row = self._new_message(offset, event)
            row.started, row.ttft_ms = text(event, "timestamp"), ttft_ms
            self._messages.add(key, row)

    def _new_message(self, offset: int, event: Mapping[str, Any]) -> MessageRow:
        """Make a row and count it."""
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
            before = Counted(row.usage, row.model, row.cost_computed, row.cost)
        counted = self._tally.count(event, before, at)
        if counted is None:
            return
        row = row or self._new_message(offset, event)
        row.usage, row.model, row.partial = counted.usage, counted.model, event.get("partial") is True
        row.cost_computed, row.cost = counted.computed, counted.reported
        self._messages.put(key, row)
        if row.parent_call_id is not None:  # a message belongs to the agent that began it, whatever its usage says
            self._count_subagent(offset, row.parent_call_id, counted, before)

    def _abandon(self, message_id: str) -> None:
        key = f"{self._run}:{message_id}"
        row = self._messages.get(key)
        if row is not None:
            row.abandoned = True
            self._messages.put(key, row)

    # ── calls ────────────────────────────────────────────────────────────────────────────────────────────────────────
    def _call(self, offset: int, event: Mapping[str, Any], agent: _Agent, now: int | None) -> None:
        call = OpenCall(text(event, "call_id"), text(event, "tool") or "?", text(event, "timestamp"))
        name = call.call_id or f"#{offset}"
        key = f"{self._run}:{name}"
        if self._calls.get(key) is not None:
            return  # the same call, reported again
        agent.clock.start(name, call, now or 0)
        parent = text(event, "parent_call_id")
        row = CallRow(
            run=self._run, offset=offset, result_offset=None, call_id=call.call_id, parent_call_id=parent,
            message_id=text(event, "message_id"), tool=call.tool, started=call.since, duration_ms=None,
            told_ms=None, error=None,
        )  # fmt: skip
        self._calls.add(key, row)
        if self._tally.run is not None:
            self._tally.run.calls += 1
        if parent is not None:
            subagent = self._subagent(offset, parent)
            subagent.calls += 1
            self._subagents.put(f"{self._run}:{parent}", subagent)

    def _result(self, offset: int, event: Mapping[str, Any], agent: _Agent, now: int | None) -> None:
        call_id = text(event, "call_id")
        name = agent.clock.end(call_id, text(event, "tool"), now or 0) or call_id
        row = self._calls.get(f"{self._run}:{name}") if name is not None else None
        if row is None:
            return
        started, ended, reported = moment(row.started), moment(event.get("timestamp")), event.get("duration_ms")
        row.result_offset, row.error = offset, event.get("error") is not None
        row.duration_ms = None if started is None or ended is None else max(0, ended - started)
        row.told_ms = reported if isinstance(reported, int) and 0 <= reported < _MAX_MS else None
        self._calls.put(f"{self._run}:{name}", row)

    # ── sub-agents ───────────────────────────────────────────────────────────────────────────────────────────────────
    def _subagent(self, offset: int, call_id: str) -> SubagentRow:
        """Return the row of a sub-agent, or a new one."""
        row = self._subagents.get(f"{self._run}:{call_id}")
        if row is not None:
            return row
        call = self._calls.get(f"{self._run}:{call_id}")
        return SubagentRow(
            run=self._run, offset=offset, call_id=call_id, model=None, started=call.started if call else None,
            duration_ms=None, tools_ms=0, messages=0, calls=0, usage=Usage(), cost_computed=0,
        )  # fmt: skip

    def _count_subagent(self, offset: int, call_id: str, counted: Counted, before: Counted | None) -> None:
        row = self._subagent(offset, call_id)
        row.model = counted.model or row.model
        row.usage = row.usage + counted.usage - (before.usage if before is not None else Usage())
        if counted.computed is None:
            row.unpriced = sorted({*row.unpriced, counted.model or UNKNOWN_MODEL})[:_MAX_UNPRICED]
            row.cost_computed = None
        elif row.cost_computed is not None:
            row.cost_computed += counted.computed - (before.computed or 0 if before is not None else 0)
        self._subagents.put(f"{self._run}:{call_id}", row)

    def _time_subagent(
        self, offset: int, call_id: str, agent: _Agent, event: Mapping[str, Any], now: int | None
    ) -> None:
        row = self._subagent(offset, call_id)
        row.started = row.started or text(event, "timestamp")
        started = moment(row.started)
        if started is not None and now is not None:
            row.duration_ms = max(row.duration_ms or 0, now - started)
        row.tools_ms = agent.clock.spent(now or 0)
        self._subagents.put(f"{self._run}:{call_id}", row)
