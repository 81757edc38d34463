"""The summary of a workcell: a fold over its events, small enough to send for a whole fleet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

from workcast.events.json_value import as_object
from workcast.events.usage import Usage
from workcast.ledger.event_fields import end_status
from workcast.ledger.money import known_dollars
from workcast.ledger.open_calls import OpenCall, OpenCalls
from workcast.ledger.prices import PriceTable, shipped_prices
from workcast.ledger.tally import Tally

WorkcellStatus = Literal["new", "running", "success", "failed", "timeout", "cancelled", "lost"]

MAX_BYTES: Final = 4096
"""Maximum size of a summary's JSON."""
_MAX_OPEN_CALLS: Final = 8
_MAX_TYPES: Final = 32
"""Event types that are counted apart; events of further types are counted as ``other``."""
_MAX_VERSIONS: Final = 8
"""Likewise for the versions of agents whose lines were not recognised."""
_MAX_TEXT: Final = 120
_SHORTER: Final = (_MAX_TEXT, 60, 30, 15)
"""Lengths to which texts are cut, in turn, until the summary fits."""
_MAX_TIMESTAMP: Final = 40
_MAX_COUNTS: Final = 8
_CONTROLS: Final = dict.fromkeys((*range(32), *range(127, 160)), " ")


class EventMark(BaseModel):
    """An event's place, type and time: enough to link to it."""

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
    """Events by type; ``malformed`` counts lines that are not events."""
    unknown: dict[str, int] = {}
    """Lines that the adapter did not recognise, by agent and version (``claude 2.1.330``)."""
    usage: Usage = Usage()
    """Of all runs: each run's own figure, else the sum of its messages."""
    cost_usd: float | None = None
    """Of all runs, as the agents reported it."""
    cost_computed_usd: float | None = None
    """Of all runs, by the price table; None if any model has no price."""
    duration_ms: int = 0
    """Of all runs; of one still running, until its last step."""
    tools_ms: int = 0
    """The part of it during which a call of the main agent was open."""
    errors: int = 0
    open_calls: list[OpenCall] = []
    """The calls that have been open longest, at most eight."""
    activity: str = ""
    """What the agent is doing now, in words."""
    first: EventMark | None = None
    last: EventMark | None = None
    origin: str = ""


_Event = tuple[int, str, str | None]
"""An event's offset, type and timestamp."""


@dataclass(slots=True)
class Fold:
    """The state of the fold. It can be saved as JSON and restored; its size is bounded, however long the log is.

    Not a pydantic model: validated assignments would take half of the fold's time.
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
    open_calls: OpenCalls = field(default_factory=OpenCalls)
    activity: str = ""
    first: _Event | None = None
    last: _Event | None = None

    @classmethod
    def from_state(cls, state: object, prices: PriceTable) -> Fold:
        """Restore a fold from its :meth:`to_state`.

        Raises:
            pydantic.ValidationError: it is not the state of a fold, or its costs were computed with another table.
        """
        fields = as_object(state)  # all fields have defaults, but without a tally the price table is not known
        return _FOLD.validate_python(fields if fields and "tally" in fields else None, context=prices)

    def to_state(self) -> dict[str, Any]:
        """Return the state as JSON values."""
        state: dict[str, Any] = _FOLD.dump_python(self)  # not as JSON, in which amounts are rounded to dollars
        return state

    def add(self, event: Mapping[str, Any] | None) -> None:
        """Fold the next line: an event's fields, or None for a line that is not an event."""
        offset, self.offset = self.offset, self.offset + 1
        kind = _name(event["type"][:64]) if event is not None else "malformed"
        name = kind if kind in self.counts or len(self.counts) < _MAX_TYPES else "other"
        self.counts[name] = self.counts.get(name, 0) + 1
        self.last = (offset, kind, _text(event, "timestamp"))
        self.first = self.first or self.last
        if event is None:
            return
        self.agent = _text(event, "toolchain") or self.agent
        if event.get("parent_call_id") is None:  # a sub-agent may use another
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
            self.status = end_status(event)
            self.open_calls.clear()
        elif kind == "prompt_sent" or self.status == "new":
            self.status = "running"
        if kind == "usage":
            self.tally.count_recent(event)
        elif kind == "tool_call":
            call = OpenCall(_text(event, "call_id"), _text(event, "tool") or "?", _text(event, "timestamp"))
            self.open_calls.start(call.call_id or f"#{self.offset}", call)
        elif kind == "tool_result":
            self.open_calls.end(_text(event, "call_id"), _text(event, "tool"))
        elif kind == "error":
            self.errors += 1

    def summary(self, workcell: str, epoch: int, base: int, origin: str) -> Summary:
        """Return the summary as shown in the fleet."""
        totals = self.tally.totals()
        return Summary(
            id=workcell, epoch=epoch, base=base, head=self.offset, status=self.status, agent=self.agent,
            model=self.model, issue_id=self.issue_id, counts=self.counts, unknown=self.unknown,
            usage=totals.usage, cost_usd=known_dollars(totals.cost),
            cost_computed_usd=None if totals.unpriced else known_dollars(totals.cost_computed),
            duration_ms=totals.duration_ms, tools_ms=totals.tools_ms, errors=self.errors,
            open_calls=list(self.open_calls.kept.values())[:_MAX_OPEN_CALLS], activity=self.activity,
            first=_mark(self.first), last=_mark(self.last), origin=origin,
        )  # fmt: skip


_FOLD: Final = TypeAdapter(Fold)


def _mark(event: _Event | None) -> EventMark | None:
    return EventMark(offset=event[0], type=event[1], timestamp=event[2]) if event else None


def to_json(summary: Summary) -> bytes:
    """Encode a summary in at most 4 KiB: a larger one loses most counts and all open calls, and its texts are cut."""
    data = summary.model_dump_json().encode()
    for limit in _SHORTER:
        if len(data) <= MAX_BYTES:
            break
        data = _reduce(summary, limit).model_dump_json().encode()
    return data


def _reduce(summary: Summary, limit: int) -> Summary:
    """Return the summary without its least important parts, and with texts of at most ``limit`` characters."""
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
    # A timestamp that is cut would be another time.
    timestamp = mark.timestamp if len(mark.timestamp or "") <= _MAX_TIMESTAMP else None
    return EventMark(offset=mark.offset, type=_short(mark.type, limit), timestamp=timestamp)


def _text(event: Mapping[str, Any] | None, key: str) -> str | None:
    value = event.get(key) if event is not None else None
    return _short(value) if isinstance(value, str) and value else None


def _name(kind: str) -> str:
    """Return the name under which a type is counted: without control characters, which take 6 bytes each in JSON."""
    return kind if kind.isprintable() else " ".join(kind.translate(_CONTROLS).split())


def _short(text: str, limit: int = _MAX_TEXT) -> str:
    """Return the text as one line of at most ``limit`` characters."""
    if len(text) <= limit and text.isprintable() and "  " not in text:
        return text
    line = " ".join(text[: 2 * _MAX_TEXT].split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _activity(kind: str, event: Mapping[str, Any]) -> str | None:
    """Describe what an event shows the agent to be doing; None if it shows nothing new."""
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
