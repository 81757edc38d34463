"""The summary of a workcell: a pure fold over its events, small enough to show a fleet at a glance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

from workcast.events.usage import Usage
from workcast.ledger.prices import PriceTable, shipped_prices
from workcast.ledger.tally import Tally

WorkcellStatus = Literal["new", "running", "success", "failed", "timeout", "cancelled", "lost"]

MAX_BYTES: Final = 4096
"""A summary's JSON is never longer."""
_MAX_OPEN_CALLS: Final = 8
_MAX_TYPES: Final = 32
_MAX_VERSIONS: Final = 8
_MAX_TEXT: Final = 120
_SHORTER: Final = (_MAX_TEXT, 60, 30, 15)
"""Characters of its texts that a summary keeps, one after the other, until it fits."""
_MAX_TIMESTAMP: Final = 40
_MAX_COUNTS: Final = 8
_CONTROLS: Final = dict.fromkeys((*range(32), *range(127, 160)), " ")
_ENDED: Final[Mapping[str, WorkcellStatus]] = {
    "success": "success", "failed": "failed", "timeout": "timeout", "cancelled": "cancelled",
}  # fmt: skip


class OpenCall(BaseModel):
    """A tool call that has no result yet."""

    model_config = ConfigDict(frozen=True)

    call_id: str | None = None
    tool: str
    since: str | None = None
    """The timestamp of the call's event."""


class EventMark(BaseModel):
    """Which event, and when: enough to link to it."""

    model_config = ConfigDict(frozen=True)

    offset: int
    type: str
    timestamp: str | None = None


class Summary(BaseModel):
    """The running state of one workcell, as shown in the fleet."""

    model_config = ConfigDict(frozen=True)

    id: str
    epoch: int = 0
    base: int = 0
    head: int = 0
    status: WorkcellStatus = "new"
    agent: str | None = None
    model: str | None = None
    issue_id: str | None = None
    counts: dict[str, int] = {}
    """Events by type; ``malformed`` counts lines that are no event."""
    unknown: dict[str, int] = {}
    """Lines that no rule knows, by the agent and version that printed them (``claude 2.1.330``)."""
    usage: Usage = Usage()
    """Of all runs: each one's own figure, else the sum of its messages."""
    cost_usd: float | None = None
    """Of all runs, as their agents reported it."""
    cost_computed_usd: float | None = None
    """Of all runs, by the price table; None if any model is not priced."""
    duration_ms: int = 0
    """Of all runs; of one that goes on, until its last step."""
    tools_ms: int = 0
    """Of that, while a call of the main agent was open."""
    errors: int = 0
    open_calls: list[OpenCall] = []
    """The calls that have been open longest, at most eight."""
    activity: str = ""
    """What the agent does now, in words."""
    first: EventMark | None = None
    last: EventMark | None = None
    origin: str = ""


Mark = tuple[int, str, str | None]
"""An event's offset, type and timestamp."""


@dataclass(slots=True)
class Fold:
    """The state behind a summary. It can be kept as JSON and taken up again at the offset it had reached.

    No pydantic model, whose checked assignments would cost half of the time of a fold.
    """

    offset: int = 0
    """The offset after the last event folded."""
    status: WorkcellStatus = "new"
    agent: str | None = None
    model: str | None = None
    issue_id: str | None = None
    agent_version: str | None = None
    counts: dict[str, int] = field(default_factory=dict[str, int])
    unknown: dict[str, int] = field(default_factory=dict[str, int])
    tally: Tally = field(default_factory=lambda: Tally(shipped_prices()))
    errors: int = 0
    open_calls: dict[str, OpenCall] = field(default_factory=dict[str, OpenCall])
    activity: str = ""
    first: Mark | None = None
    last: Mark | None = None

    @classmethod
    def from_state(cls, state: object, prices: PriceTable) -> Fold:
        """Restore a fold from its :meth:`to_state`.

        Raises:
            pydantic.ValidationError: it is not the state of a fold, or its costs were computed with another table.
        """
        return _FOLD.validate_python(state, context=prices)

    def to_state(self) -> dict[str, Any]:
        """All there is to keep, as JSON values."""
        state: dict[str, Any] = _FOLD.dump_python(self, mode="json")
        return state

    def add(self, event: Mapping[str, Any] | None) -> None:
        """Take the next line in: an event's fields, or None for a line that is no event."""
        offset, self.offset = self.offset, self.offset + 1
        kind = _name(event["type"][:64]) if event is not None else "malformed"
        name = kind if kind in self.counts or len(self.counts) < _MAX_TYPES else "other"
        self.counts[name] = self.counts.get(name, 0) + 1
        self.last = (offset, kind, _text(event, "timestamp"))
        self.first = self.first or self.last
        if event is None:
            return
        self.agent = _text(event, "toolchain") or self.agent
        if event.get("parent_call_id") is None:  # a sub-agent's may be another
            self.model = _text(event, "model") or self.model
        self.issue_id = _text(event, "issue_id") or self.issue_id
        self.tally.add(offset, kind, event)
        self._progress(kind, event)
        activity = _activity(kind, event)
        if activity is not None:
            self.activity = activity

    def _progress(self, kind: str, event: Mapping[str, Any]) -> None:
        if kind == "unknown":
            version = " ".join(filter(None, (self.agent, self.agent_version))) or "?"
            name = version if version in self.unknown or len(self.unknown) < _MAX_VERSIONS else "other"
            self.unknown[name] = self.unknown.get(name, 0) + 1
        if kind == "started":
            self.agent_version = _text(event, "agent_version")
            self.open_calls.clear()
            self.status = "running"
        elif kind == "completed":
            self.status = _ENDED.get(str(event.get("status")), "failed")
            self.open_calls.clear()
        elif kind == "prompt_sent" or self.status == "new":
            self.status = "running"
        if kind == "usage":
            self.tally.count_recent(event)
        elif kind == "tool_call":
            call = OpenCall(
                call_id=_text(event, "call_id"), tool=_text(event, "tool") or "?", since=_text(event, "timestamp")
            )
            self.open_calls[call.call_id or f"#{self.offset}"] = call
        elif kind == "tool_result":
            self._close_call(event)
        elif kind == "error":
            self.errors += 1

    def _close_call(self, event: Mapping[str, Any]) -> None:
        """Drop the call that a result answers: by its id, else the newest open one of the same tool."""
        call_id, tool = _text(event, "call_id"), _text(event, "tool")
        if call_id is None:
            same = [key for key, call in self.open_calls.items() if call.call_id is None and call.tool == tool]
            call_id = same[-1] if same else ""
        self.open_calls.pop(call_id, None)

    def summary(self, workcell: str, epoch: int, base: int, origin: str) -> Summary:
        """What the fleet sees."""
        totals = self.tally.totals()
        return Summary(
            id=workcell, epoch=epoch, base=base, head=self.offset, status=self.status, agent=self.agent,
            model=self.model, issue_id=self.issue_id, counts=self.counts, unknown=self.unknown,
            usage=totals.usage, cost_usd=totals.cost_usd,
            cost_computed_usd=None if totals.unpriced else totals.cost_computed_usd,
            duration_ms=totals.duration_ms, tools_ms=totals.tools_ms, errors=self.errors,
            open_calls=list(self.open_calls.values())[:_MAX_OPEN_CALLS], activity=self.activity,
            first=_event_mark(self.first), last=_event_mark(self.last), origin=origin,
        )  # fmt: skip


_FOLD: Final = TypeAdapter(Fold)


def _event_mark(mark: Mark | None) -> EventMark | None:
    return EventMark(offset=mark[0], type=mark[1], timestamp=mark[2]) if mark else None


def to_json(summary: Summary) -> bytes:
    """A summary as JSON of at most 4 KiB: counts and calls that do not fit are left out, and then texts are cut."""
    data = summary.model_dump_json().encode()
    for limit in _SHORTER:
        if len(data) <= MAX_BYTES:
            break
        data = _reduce(summary, limit).model_dump_json().encode()
    return data


def _reduce(summary: Summary, limit: int) -> Summary:
    """Without what is least missed, and with texts of at most ``limit`` characters."""
    counts: dict[str, int] = {}
    for kind, count in sorted(summary.counts.items(), key=lambda item: -item[1])[:_MAX_COUNTS]:
        name = _short(kind, limit)
        counts[name] = counts.get(name, 0) + count
    less: dict[str, object] = {
        "counts": counts,
        "unknown": {"other": sum(summary.unknown.values())} if summary.unknown else {},
        "open_calls": [],
        "first": _reduce_mark(summary.first, limit),
        "last": _reduce_mark(summary.last, limit),
        "activity": _short(summary.activity, limit),
    }
    less |= {
        name: _short(text, limit)
        for name in ("agent", "model", "issue_id")
        if isinstance(text := getattr(summary, name), str)
    }
    return summary.model_copy(update=less)


def _reduce_mark(mark: EventMark | None, limit: int) -> EventMark | None:
    if mark is None:
        return None
    # Half a timestamp would be another time.
    timestamp = mark.timestamp if len(mark.timestamp or "") <= _MAX_TIMESTAMP else None
    return EventMark(offset=mark.offset, type=_short(mark.type, limit), timestamp=timestamp)


def _text(event: Mapping[str, Any] | None, key: str) -> str | None:
    value = event.get(key) if event is not None else None
    return _short(value) if isinstance(value, str) and value else None


def _name(kind: str) -> str:
    """A type as it is counted: 64 control characters would take 384 bytes of the summary's 4 KiB, for each type."""
    return kind if kind.isprintable() else " ".join(kind.translate(_CONTROLS).split())


def _short(text: str, limit: int = _MAX_TEXT) -> str:
    """One line of at most ``limit`` characters."""
    if len(text) <= limit and text.isprintable() and "  " not in text:
        return text
    line = " ".join(text[: 2 * _MAX_TEXT].split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _activity(kind: str, event: Mapping[str, Any]) -> str | None:
    """What an event says about what goes on, in words; None if it says nothing new."""
    match kind:
        case "started":
            return "starting"
        case "prompt_sent":
            return "waiting for the model"
        case "thinking":
            return "thinking"
        case "response_chunk" | "response_complete":
            return "answering"
        case "tool_call":
            return _short(f"calling {event.get('tool')}")
        case "bash_command":
            return _short(f"$ {event.get('command')}")
        case "file_read":
            return _short(f"reading {event.get('path')}")
        case "file_write":
            return _short(f"writing {event.get('path')}")
        case "tool_result":
            return "waiting for the model"
        case "error":
            return _short(f"{'retrying' if event.get('retryable') else 'error'}: {event.get('error')}")
        case "completed":
            return ""
        case _:
            return None
