"""The totals of a log: a bounded fold over its events, run after run. Summary and account share it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from workcast.events.json_value import as_array, as_object
from workcast.events.usage import Usage
from workcast.ledger.prices import TableInState, picodollars
from workcast.ledger.rows import RunRow, RunStatus, Totals
from workcast.ledger.run import Counted, Run

OUTPUT: Final = frozenset({"response_chunk", "response_complete", "thinking", "tool_call"})
"""What a model says."""
_STEPS: Final = frozenset({"started", "prompt_sent", "tool_call", "tool_result", "usage", "completed", "error"})
"""What a run's time is taken from."""
_ENDED: Final[Mapping[str, RunStatus]] = {
    "success": "success", "failed": "failed", "timeout": "timeout", "cancelled": "cancelled",
}  # fmt: skip
_KINDS: Final = tuple(Usage.model_fields)
_MAX_TOKENS: Final = 2**53
_MAX_SESSIONS: Final = 32
_MAX_RECENT: Final = 64
_MAX_MODELS: Final = 64
_MAX_TEXT: Final = 256


@dataclass(slots=True)
class Session:
    """What the runs of one session took together."""

    usage: Usage
    cost: int | None


@dataclass(slots=True)
class Prompt:
    """A prompt whose run is not yet known."""

    offset: int
    timestamp: str | None
    at: int | None


@dataclass(slots=True)
class Tally:
    """The state of the fold. It can be saved as JSON and restored."""

    prices: TableInState
    past: Totals = field(default_factory=Totals)
    past_cost: int | None = None
    past_computed: int | None = None
    past_residual: int | None = None
    run: Run | None = None
    sessions: dict[str, Session] = field(default_factory=dict[str, Session])
    recent: dict[str, Counted] = field(default_factory=dict[str, Counted])
    """The run's newest messages, for who folds without an account of them: one that is told again counts once."""
    prompt: Prompt | None = None
    """The last event, if it was a prompt within a run: should a run start next, this is its beginning."""

    def add(self, offset: int, kind: str, event: Mapping[str, Any]) -> RunRow | None:
        """Take an event in; its ``usage`` is taken by :meth:`count`.

        Returns:
            The run that the event put an end to by beginning another.
        """
        run = self.run
        if (
            run is not None
            and self.prompt is None
            and kind not in _STEPS
            and (run.first_output_ms is not None or kind not in OUTPUT)
        ):
            return None  # most of a log: nothing that changes a total
        ended = self._begin(offset, kind, event)
        run = self.run
        if run is None:
            return ended
        if kind == "completed" or run.end_offset is None:
            if kind in OUTPUT and run.first_output_ms is None:
                run.first_output_ms = moment(event)
            if kind in _STEPS and self.prompt is None:
                self._step(run, offset, kind, event)
        return ended

    def count(self, event: Mapping[str, Any], before: Counted | None, at: int | None) -> Counted | None:
        """Count the usage of a message, in place of what it was counted for ``before``; None if it tells none."""
        run, usage = self.run, believable_usage(event.get("usage"))
        if run is None or usage is None:
            return None
        model = text(event, "model") or run.model
        # Tokens without a message are those of a turn, which may be of many requests.
        one_request = isinstance(event.get("message_id"), str)
        cost = self.prices.cost(model, usage, at, one_request=one_request)
        counted = Counted(usage, model, cost, believable_cost(event.get("cost_usd")))
        if before is not None:
            run.count(before, -1)
        run.count(counted)
        return counted

    def count_recent(self, event: Mapping[str, Any]) -> None:
        """Like :meth:`count`, for who keeps no account: remembers the newest messages itself."""
        message_id = text(event, "message_id")
        counted = self.count(event, self.recent.pop(message_id, None) if message_id else None, moment(event))
        if message_id and counted is not None:
            self.recent[message_id] = counted
            if len(self.recent) > _MAX_RECENT:
                del self.recent[next(iter(self.recent))]

    def totals(self) -> Totals:
        """The sums over all runs until now."""
        if self.run is None:
            return self.past
        other = Tally(self.prices, self.past, self.past_cost, self.past_computed, self.past_residual)
        other.include(self.run, self.run.row(self.prices))
        return other.past

    # ── where runs begin ─────────────────────────────────────────────────────────────────────────────────────────────
    def _begin(self, offset: int, kind: str, event: Mapping[str, Any]) -> RunRow | None:
        """Begin a run if this event does: the first one, a prompt after the end, or a second ``started``."""
        run, prompt, self.prompt = self.run, self.prompt, None
        if kind == "started" and run is not None and (run.has_started or run.end_offset is not None):
            if prompt is None:
                return self._open(offset)
            ended = self._open(prompt.offset)
            if self.run is not None:
                self.run.asked(prompt.timestamp, prompt.at)
            return ended
        if prompt is not None and run is not None:
            run.asked(prompt.timestamp, prompt.at)
        if run is None or (kind == "prompt_sent" and run.end_offset is not None):
            return self._open(offset)
        if kind == "prompt_sent":
            self.prompt = Prompt(offset, text(event, "timestamp"), moment(event))
        return None

    def _open(self, offset: int) -> RunRow | None:
        ended = None if self.run is None else self._close(self.run)
        self.run = Run(number=self.past.runs + 1, offset=offset)
        self.recent.clear()
        return ended

    def _close(self, run: Run) -> RunRow:
        if run.end_offset is None:
            run.status = "lost"
            run.clock.stop(run.now_ms or 0)
        row = run.row(self.prices)
        self.include(run, row)
        if run.session_id:
            self._remember(run.session_id, run)
        return row

    def include(self, run: Run, row: RunRow) -> None:
        """Add a run to the past."""
        past, told, (computed, _) = self.past, run.cost(), run.computed_cost(self.prices)
        self.past_cost = _sum(self.past_cost, told)
        self.past_computed = _sum(self.past_computed, computed)
        if told is not None and computed is not None:
            self.past_residual = _sum(self.past_residual, told - computed)
        self.past = Totals(
            runs=past.runs + 1,
            duration_ms=past.duration_ms + (row.duration_ms or 0),
            tools_ms=past.tools_ms + row.tools_ms,
            model_ms=past.model_ms + (row.model_ms or 0),
            usage=past.usage + row.usage,
            messages_usage=past.messages_usage + row.messages_usage,
            usage_residual=past.usage_residual + row.usage_residual,
            cost_usd=_dollars(self.past_cost),
            cost_computed_usd=_dollars(self.past_computed),
            cost_residual_usd=_dollars(self.past_residual),
            unpriced=sorted({*past.unpriced, *row.unpriced})[:_MAX_MODELS],
            messages=past.messages + row.messages,
            calls=past.calls + row.calls,
        )

    def _remember(self, session_id: str, run: Run) -> None:
        """What the session took until now: as the agent told it, else as it was counted; unless nobody can know."""
        cost = run.session_cost
        if cost is None and run.before_cost is not None:
            cost = run.before_cost + (run.cost() or 0)
        usage = run.session_usage
        if usage is None and run.before_usage is not None:
            usage = run.before_usage + run.usage()[0]
        self.sessions.pop(session_id, None)
        if usage is not None:
            self.sessions[session_id] = Session(usage, cost)
        if len(self.sessions) > _MAX_SESSIONS:
            del self.sessions[next(iter(self.sessions))]

    # ── within a run ─────────────────────────────────────────────────────────────────────────────────────────────────
    def _step(self, run: Run, offset: int, kind: str, event: Mapping[str, Any]) -> None:
        if kind == "prompt_sent":
            run.asked(text(event, "timestamp"), moment(event))
            return
        now = run.step(text(event, "timestamp"), moment(event))
        run.agent = run.agent or text(event, "toolchain")
        if kind != "usage":  # whose model may be a sub-agent's
            run.model = run.model or text(event, "model")
        main = event.get("parent_call_id") is None
        match kind:
            case "started":
                self._started(run, event)
            case "tool_call" if main:
                run.clock.start(text(event, "call_id") or f"#{offset}", text(event, "tool") or "?", now)
            case "tool_result" if main:
                run.clock.end(text(event, "call_id"), text(event, "tool"), now)
            case "completed":
                self._completed(run, offset, event)
            case _:
                pass

    def _started(self, run: Run, event: Mapping[str, Any]) -> None:
        run.has_started = True
        run.agent = text(event, "toolchain") or run.agent
        run.model = text(event, "model") or run.model
        run.session_id = text(event, "session_id")
        session = self.sessions.get(run.session_id or "")
        if session is not None:
            run.before_usage, run.before_cost = session.usage, session.cost
        elif event.get("resumed") is not True:
            run.before_usage, run.before_cost = Usage(), 0

    def _completed(self, run: Run, offset: int, event: Mapping[str, Any]) -> None:
        run.end_offset = offset
        run.status = _ENDED.get(str(event.get("status")), "failed")
        run.clock.stop(run.now_ms or 0)
        run.told_usage = believable_usage(event.get("usage"))
        run.told_cost = believable_cost(event.get("cost_usd"))
        run.session_usage = believable_usage(event.get("session_usage"))
        run.session_cost = believable_cost(event.get("session_cost_usd"))
        run.told_models = {}
        for told in map(as_object, as_array(event.get("models")) or []):
            usage = believable_usage(told.get("usage")) if told is not None else None
            if told is not None and usage is not None and len(run.told_models) < _MAX_MODELS:
                model = text(told, "model") or "?"
                run.told_models[model] = run.told_models.get(model, Usage()) + usage


def text(event: Mapping[str, Any], key: str) -> str | None:
    """The first 256 characters of the text under ``key``; None if it is none, or empty."""
    value = event.get(key)
    return value[:_MAX_TEXT] if isinstance(value, str) and value else None


def moment(event: Mapping[str, Any]) -> int | None:
    """An event's time in milliseconds since 1970; None if it tells none."""
    value = event.get("timestamp")
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value)
        return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


def believable_usage(value: object) -> Usage | None:
    """The token counts in ``value``, if they are believable ones."""
    fields = as_object(value)
    if fields is None:
        return None
    counts = {name: fields[name] for name in _KINDS if name in fields}
    if any(type(count) is not int or not 0 <= count <= _MAX_TOKENS for count in counts.values()):
        return None
    return Usage(**counts)


def believable_cost(value: object) -> int | None:
    """US dollars in picodollars, if they are a believable sum."""
    return picodollars(value) if isinstance(value, int | float) and 0 <= value < _MAX_TOKENS else None


def _sum(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else one + other


def _dollars(value: int | None) -> float | None:
    return None if value is None else value / 10**12
