"""The totals of a log: a bounded fold over its events, run by run, shared by summaries, accounts and limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from workcast.events.json_value import as_array, as_object
from workcast.events.usage import Usage
from workcast.ledger.event_fields import end_status, moment, reported_usage, text
from workcast.ledger.money import reported_amount
from workcast.ledger.open_calls import OpenCall
from workcast.ledger.prices import TableInState
from workcast.ledger.rows import RunRow, Totals
from workcast.ledger.run import MAX_MODELS, NOTHING, UNKNOWN_MODEL, Counted, Run

OUTPUT: Final = frozenset({"response_chunk", "response_complete", "thinking", "tool_call"})
"""Events that a model's output becomes."""
_STEPS: Final = frozenset({"started", "prompt_sent", "tool_call", "tool_result", "usage", "completed", "error"})
"""Events that advance a run's time."""
_MAX_SESSIONS: Final = 32
"""Sessions that are remembered. Of one that was forgotten, a later run's session figure is shown but not counted, as
for a session that began in another log."""
_MAX_RECENT: Final = 64
"""Messages that are remembered, the newest. One that was forgotten counts twice if it is reported again."""


@dataclass(slots=True)
class Session:
    """What the runs of one session used together."""

    usage: Usage
    cost: int | None
    """In picodollars."""


@dataclass(slots=True)
class Prompt:
    """A prompt that may belong to the current run or begin the next."""

    offset: int
    timestamp: str | None
    at: int | None


@dataclass(slots=True)
class Tally:
    """The state of the fold. It can be saved as JSON and restored."""

    prices: TableInState
    past: Totals = field(default_factory=Totals)
    """Of the runs before the current one."""
    run: Run | None = None
    sessions: dict[str, Session] = field(default_factory=dict[str, Session])
    recent: dict[str, Counted] = field(default_factory=dict[str, Counted])
    """The newest messages of the run, by id; see :meth:`count_recent`."""
    prompt: Prompt | None = None
    """The last event, if it was a prompt within a run: if the next one starts a run, that run begins here."""

    def add(self, offset: int, kind: str, event: Mapping[str, Any]) -> RunRow | None:
        """Fold an event, except its ``usage``, which :meth:`count` folds.

        Returns:
            The run that ended because the event began another.
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
                run.first_output_ms = moment(event.get("timestamp"))
            if kind in _STEPS and self.prompt is None:
                self._step(run, offset, kind, event)
        return ended

    def count(self, event: Mapping[str, Any], before: Counted | None, at: int | None) -> Counted | None:
        """Count a message's usage, in place of ``before``, what was counted for it; None if it reports none."""
        run, usage = self.run, reported_usage(event.get("usage"))
        if run is None or usage is None:
            return None
        model = text(event, "model") or run.model
        # Usage without a message is that of a turn, which may consist of many requests.
        one_request = isinstance(event.get("message_id"), str)
        cost = self.prices.cost(model, usage, at, one_request=one_request)
        counted = Counted(usage, model, cost, reported_amount(event.get("cost_usd")))
        if before is not None:
            run.count(before, -1)
        run.count(counted)
        return counted

    def count_recent(self, event: Mapping[str, Any]) -> Counted | None:
        """Like :meth:`count`, for callers that keep no messages: the tally itself remembers the newest ones."""
        message_id = text(event, "message_id")
        before = self.recent.pop(message_id, None) if message_id else None
        counted = self.count(event, before, moment(event.get("timestamp")))
        if message_id and counted is not None:
            self.recent[message_id] = counted
            if len(self.recent) > _MAX_RECENT:
                del self.recent[next(iter(self.recent))]
        return counted

    def totals(self) -> Totals:
        """Return the sums over all runs so far."""
        return self.past if self.run is None else self.past.plus(self.run.row(self.prices))

    # ── where runs begin ─────────────────────────────────────────────────────────────────────────────────────────────
    def _begin(self, offset: int, kind: str, event: Mapping[str, Any]) -> RunRow | None:
        """Begin a run if this event does: the first one, a prompt after the end, or a second ``started``."""
        run, prompt, self.prompt = self.run, self.prompt, None
        if kind == "started" and run is not None and (run.has_started or run.end_offset is not None):
            if prompt is None:
                return self._open(offset)
            ended = self._open(prompt.offset)
            if self.run is not None:
                self.run.prompt(prompt.timestamp, prompt.at)
            return ended
        if prompt is not None and run is not None:
            run.prompt(prompt.timestamp, prompt.at)
        if run is None or (kind == "prompt_sent" and run.end_offset is not None):
            return self._open(offset)
        if kind == "prompt_sent":
            self.prompt = Prompt(offset, text(event, "timestamp"), moment(event.get("timestamp")))
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
        self.past = self.past.plus(row)
        if run.session_id:
            self._remember(run.session_id, run)
        return row

    def _remember(self, session_id: str, run: Run) -> None:
        usage, cost = run.used_in_session()
        self.sessions.pop(session_id, None)
        if usage is not None:
            self.sessions[session_id] = Session(usage, cost)
        if len(self.sessions) > _MAX_SESSIONS:
            del self.sessions[next(iter(self.sessions))]

    # ── within a run ─────────────────────────────────────────────────────────────────────────────────────────────────
    def _step(self, run: Run, offset: int, kind: str, event: Mapping[str, Any]) -> None:
        timestamp = text(event, "timestamp")
        if kind == "prompt_sent":
            run.prompt(timestamp, moment(timestamp))
            return
        now = run.step(timestamp, moment(timestamp))
        run.agent = run.agent or text(event, "toolchain")
        if kind != "usage":  # whose model may be a sub-agent's
            run.model = run.model or text(event, "model")
        is_main = event.get("parent_call_id") is None
        match kind:
            case "started":
                self._started(run, event)
            case "tool_call" if is_main:
                call = OpenCall(text(event, "call_id"), text(event, "tool") or "?")
                run.clock.start(call.call_id or f"#{offset}", call, now)
            case "tool_result" if is_main:
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
            run.usage_before, run.cost_before = session.usage, session.cost
        elif event.get("resumed") is not True:
            run.usage_before, run.cost_before = Usage(), 0

    def _completed(self, run: Run, offset: int, event: Mapping[str, Any]) -> None:
        run.end_offset = offset
        run.status = end_status(event)
        run.clock.stop(run.now_ms or 0)
        run.reported_usage = reported_usage(event.get("usage"))
        run.reported_cost = reported_amount(event.get("cost_usd"))
        run.session_usage = reported_usage(event.get("session_usage"))
        run.session_cost = reported_amount(event.get("session_cost_usd"))
        run.reported_models = {}
        for reported in map(as_object, as_array(event.get("models")) or []):
            usage = reported_usage(reported.get("usage")) if reported is not None else None
            if reported is not None and usage is not None:
                model = text(reported, "model") or UNKNOWN_MODEL
                if model not in run.reported_models and len(run.reported_models) >= MAX_MODELS:
                    model = UNKNOWN_MODEL
                run.reported_models[model] = run.reported_models.get(model, NOTHING) + usage
