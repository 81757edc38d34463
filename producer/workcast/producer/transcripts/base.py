"""What every reader of a transcript is: a pure translator from the lines that an agent keeps on disk to events.

A transcript is not what an agent prints. Its lines have times of their own; nothing in it says that the agent ended;
the file may grow for weeks, be cut back by a line, or begin with lines copied from another one. So each event comes
with its source: a name that depends on nothing but the line, by which the writer finds the event in a log.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Final, Literal, NamedTuple

from workcast.events.cut_line import CutLine
from workcast.events.models import BaseEvent, Completed, Started, Status
from workcast.producer.adapters.base import close_calls, milliseconds_between, optional, unknown_line
from workcast.producer.calls import OpenCall
from workcast.producer.decode import parse_object
from workcast.producer.fields import JsonObject, get_text
from workcast.producer.open_calls import OpenCalls
from workcast.producer.recent import RecentMap
from workcast.producer.transcripts.disk_set import DiskSet

Turn = Literal["none", "open", "over"]
"""``over``: the agent has ended its turn, which is not emitted yet, as more of the same turn may follow."""

SILENCE: Final = "silence"
"""The ``reason`` of a ``completed`` that is inferred from a long silence in the middle of a turn."""
MAX_LINKED_CALLS: Final = 1000
"""Calls with the same prompt whose sub-agents are not known yet; beyond them, the oldest is forgotten."""


class SourcedEvent(NamedTuple):
    """One event, with what distinguishes it from all others of its session."""

    source: str
    event: BaseEvent
    model: str | None


class Links:
    """Which call started which sub-agent, shared by the readers of one session's files.

    It remembers the last 10,000 sub-agents and prompts: a sub-agent that is forgotten is shown without its call.
    """

    def __init__(self) -> None:
        self._calls: RecentMap[str, str] = RecentMap()
        self._prompts: RecentMap[str, list[str]] = RecentMap()

    def prompted(self, prompt: str, call_id: str) -> None:
        """Note that a call passed this prompt to a sub-agent that is not known yet."""
        key = _digest(prompt.encode("utf-8", "replace"))
        self._prompts[key] = [*(self._prompts.get(key) or ())[-MAX_LINKED_CALLS:], call_id]

    def started(self, sub_agent: str, call_id: str) -> None:
        """Note that a call started this sub-agent."""
        self._calls[sub_agent] = call_id

    def call_of(self, sub_agent: str, prompt: str | None = None) -> str | None:
        """Return the call that started a sub-agent, if known; ``prompt`` is the first one that it was given."""
        if sub_agent not in self._calls and prompt is not None:
            calls = self._prompts.get(_digest(prompt.encode("utf-8", "replace")))
            if calls:
                self._calls[sub_agent] = calls.pop(0)
        return self._calls.get(sub_agent)


@dataclass(frozen=True, slots=True)
class TranscriptLine:
    """A line that was parsed."""

    raw: bytes
    json: JsonObject
    key: str
    at: datetime


@dataclass(slots=True)
class _Ending:
    """How a turn ended, until that is emitted."""

    key: str
    at: datetime
    status: Status
    duration_ms: int | None


class TranscriptReader(ABC):
    """Reads one file of a session from its first line on.

    Args:
        links: shared by the readers of the session's files.
        began: the time of lines that come before any with a time.
        sub_agent: the sub-agent whose file it is; None for the session's main one.
    """

    agent: ClassVar[str]

    def __init__(self, links: Links, began: datetime, sub_agent: str | None = None) -> None:
        self.links = links
        self.sub_agent = sub_agent
        self.last_at = began
        self.copied: frozenset[str] = frozenset()
        """The names of lines that belong to another session."""
        self.forked_from: str | None = None
        self._emitted_at = began
        self.session: str | None = None
        self.model: str | None = None
        self._key = ""
        self._seen = DiskSet()
        """The names of all lines that were read."""
        self._started = sub_agent is not None
        self._turn: Turn = "none"
        self._turn_at = began
        self._ending: _Ending | None = None
        self._abandoned = False
        self._before: list[SourcedEvent] = []
        """What the current line makes certain about lines before it."""
        self._calls = OpenCalls()
        self._called = DiskSet()
        """The ids of all calls."""
        self._cost_usd: float | None = None
        """What the session has cost, as far as is known; ``_cost_before``: until the turn began."""
        self._cost_emitted = self._cost_before = 0.0
        self._prompt_id: str | None = None
        self._status: Status = "success"

    @property
    def turn(self) -> Turn:
        """Where the main agent's turn is."""
        return self._turn

    @property
    def busy(self) -> bool:
        """Whether a turn or a call waits for its end."""
        return self._turn != "none" or len(self._calls) > 0

    @property
    def abandoned(self) -> bool:
        """Whether the last events were those of :meth:`abandon`."""
        return self._abandoned

    @property
    def silence_source(self) -> str:
        """The source of the event that :meth:`abandon` would return now."""
        return f"{self._key}:silence:0"

    def feed(self, raw: bytes) -> list[SourcedEvent]:
        """Read the next line. Never raises, whatever it holds."""
        if not raw.strip() or self._is_noise(raw):
            return []
        parsed = None if isinstance(raw, CutLine) else parse_object(raw)
        key = (None if parsed is None else self._name(parsed)) or _digest(raw)
        if key in self.copied or not self._seen.add(key):
            return []  # the same line again, or one that belongs to another session
        self._key = key
        if parsed is None:
            return self._sourced([unknown_line(self.agent, raw, self.last_at)])
        self.last_at = parse_time(get_text(parsed, "timestamp")) or self.last_at
        line = TranscriptLine(raw, parsed, key, self.last_at)
        events = self._read(line)
        if events is None:
            events = [unknown_line(self.agent, raw, self.last_at)]
        if events:
            self._emitted_at = self.last_at
        before, self._before = self._before, []
        return [*before, *self._revive(events), *self._sourced(events)]

    def settle(self) -> list[SourcedEvent]:
        """Emit the end of a turn that is over, as no line came for a moment."""
        return self._emit_ending()

    def abandon(self) -> list[SourcedEvent]:
        """End everything that is open, as no line came for a long time. A later line revives the session."""
        if not self.busy:
            return []
        events = [*self._emit_ending(), *self._sourced(self._close_calls(self.last_at), f"{self._key}:calls")]
        if self._turn == "open" and self.sub_agent is None:
            ending = _Ending(self._key, self.last_at, "cancelled", milliseconds_between(self._turn_at, self.last_at))
            events += self._sourced([self._completed(ending, SILENCE)], f"{self._key}:silence")
            self._abandoned = True
        self._turn = "none"
        return events

    # ── for the readers of one agent's files ────────────────────────────────────────────────────────────────────────
    @abstractmethod
    def _read(self, line: TranscriptLine) -> list[BaseEvent] | None:
        """Return the events of a line; None if it has no rule."""

    def _is_noise(self, raw: bytes) -> bool:
        """Whether a line has no events, decided before it is parsed."""
        _ = raw
        return False

    def _name(self, parsed: JsonObject) -> str | None:
        """Return the agent's name of the line; None if it has none, so that its content has to do."""
        _ = parsed
        return None

    def _start(self, at: datetime, session: str | None, **known: Any) -> list[BaseEvent]:
        self.session = self.session or session
        if self._started:
            return []
        self._started = True
        return [Started(timestamp=at, toolchain=self.agent, **optional(session_id=session, **known))]

    def _begin_turn(self, at: datetime) -> None:
        """Begin a turn; the end of the one before has the same source whether it is emitted now or was earlier."""
        self._before += self._emit_ending()
        if self._turn == "none":
            self._cost_before = self._cost_emitted
        self._turn, self._turn_at = "open", at

    def _end_turn(self, line: TranscriptLine, status: Status, duration_ms: int | None = None) -> None:
        if self.sub_agent is not None:
            self._turn = "none"
        else:
            took = milliseconds_between(self._turn_at, line.at) if duration_ms is None else duration_ms
            self._ending = _Ending(line.key, line.at, status, took)
            self._turn = "over"

    def _take_ending(self, at: datetime) -> list[BaseEvent]:
        """Return the end of the turn as events of the current line; empty if there is none to emit."""
        ending, self._ending = self._ending, None
        if ending is None:
            return []
        self._turn = "none"
        ending.at = max(ending.at, self._emitted_at)
        return [*self._close_calls(at), self._completed(ending)]

    def _last_ending(self, at: datetime) -> BaseEvent:
        """Return the end of the last turn once more, because more is known about it."""
        return self._completed(_Ending(self._key, at, self._status, None))

    def _completed(self, ending: _Ending, reason: str | None = None) -> Completed:
        self._status = ending.status
        return Completed(
            timestamp=ending.at,
            status=ending.status,
            exit_code=None,
            duration_ms=ending.duration_ms,
            **optional(inferred=True, reason=reason, prompt_id=self._prompt_id),
            **self._cost(),
        )

    def _cost(self) -> dict[str, Any]:
        """Return the turn's share of what the session has cost, if that is known and has changed.

        A fork continues the count of the session that it was made of, so its first count is not a share.
        """
        total = self._cost_usd
        if total is None or total == self._cost_before:
            return {}
        self._cost_emitted = total
        if self.forked_from is not None and not self._cost_before:
            return {"session_cost_usd": total}
        before = self._cost_before if total > self._cost_before else 0.0  # else the agent restarted its count
        return {"cost_usd": round(total - before, 9), "session_cost_usd": total}

    def _open_call(self, call: OpenCall) -> list[BaseEvent]:
        """Add an open call; return the result of the one that it displaced, if any."""
        displaced = self._calls.open(call.call_id, call)
        return [] if displaced is None else close_calls([displaced], call.at)

    def _close_calls(self, at: datetime) -> list[BaseEvent]:
        return close_calls(self._calls.take_all(), at)

    # ── sources ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def _sourced(self, events: Sequence[BaseEvent], key: str | None = None) -> list[SourcedEvent]:
        name = self._key if key is None else key
        return [SourcedEvent(f"{name}:{part}", event, self._model_of(event)) for part, event in enumerate(events)]

    def _model_of(self, event: BaseEvent) -> str | None:
        """Return the model of an event; a sub-agent's may differ from the session's, so it needs the call."""
        parent = getattr(event, "parent_call_id", None) or (event.model_extra or {}).get("parent_call_id")
        return self.model if self.sub_agent is None or parent is not None else None

    def _emit_ending(self) -> list[SourcedEvent]:
        if self._ending is None:
            return []
        key = f"{self._ending.key}:end"
        return self._sourced(self._take_ending(self._emitted_at), key)

    def _revive(self, events: Sequence[BaseEvent]) -> list[SourcedEvent]:
        if not events or not self._abandoned:
            return []
        self._abandoned = False
        if self._turn == "none":
            self._begin_turn(self.last_at)
        again = Started(timestamp=self.last_at, toolchain=self.agent, **optional(session_id=self.session, resumed=True))
        return self._sourced([again], f"{self._key}:again")

    def was_abandoned(self) -> None:
        """Restore the state after :meth:`abandon`, which a log says was called after the last line."""
        self._ending, self._turn, self._abandoned = None, "none", True
        self._calls.take_all()


def parse_time(text: str | None) -> datetime | None:
    """Parse a time in ISO 8601, in UTC unless it says otherwise; None if it is not one."""
    try:
        found = None if text is None else datetime.fromisoformat(text)
        return found and (found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC))
    except (ValueError, OverflowError):
        return None


def _digest(raw: bytes) -> str:
    return hashlib.blake2b(raw, digest_size=10).hexdigest()
