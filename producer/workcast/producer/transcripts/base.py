"""What every reader of a transcript is: a pure translator from the lines that an agent keeps on disk to events.

A transcript is not what an agent prints. Its lines have their own times; nobody tells that the agent ended; the file
may grow for weeks, be cut back by a line, or begin with lines copied from another. So each event is told with its
source: a name of the line that depends on nothing but the line, by which whoever writes knows what is in a log already.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Final, Literal, NamedTuple

from workcast.events.models import BaseEvent, Completed, Started, Status
from workcast.producer.adapters.base import close_calls, milliseconds_between, optional, unknown_line
from workcast.producer.calls import OpenCall
from workcast.producer.decode import parse_object
from workcast.producer.fields import JsonObject, get_text
from workcast.producer.lines import CutLine

Turn = Literal["none", "open", "over"]
"""``over``: the agent has ended its turn, which is not told yet, as more of the same turn may follow."""

SILENCE: Final = "silence"
"""The ``reason`` of a ``completed`` that nothing tells but a long silence in the middle of a turn."""


class Telling(NamedTuple):
    """One event, with what tells it from all others of its session."""

    source: str
    event: BaseEvent
    model: str | None


class Links:
    """Which call started which sub-agent: what the readers of one session's files tell each other."""

    def __init__(self) -> None:
        self._calls: dict[str, str] = {}
        self._prompts: dict[str, list[str]] = {}

    def prompted(self, prompt: str, call_id: str) -> None:
        """A call was given this prompt for a sub-agent that nobody knows yet."""
        self._prompts.setdefault(prompt, []).append(call_id)

    def started(self, sub_agent: str, call_id: str) -> None:
        """A call has started this sub-agent."""
        self._calls[sub_agent] = call_id

    def call_of(self, sub_agent: str, prompt: str | None = None) -> str | None:
        """The call that started a sub-agent, if anybody told; ``prompt`` is the first that it was given."""
        if sub_agent not in self._calls and prompt is not None and (calls := self._prompts.get(prompt)):
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
    """How a turn ended, until it is told."""

    key: str
    at: datetime
    status: Status
    duration_ms: int | None


class TranscriptReader(ABC):
    """Reads one file of a session, from its first line on.

    Args:
        links: shared by the readers of the session's files.
        began: the time of lines that come before any with a time.
        sub_agent: whose file it is; None: the session's main one.
    """

    agent: ClassVar[str]

    def __init__(self, links: Links, began: datetime, sub_agent: str | None = None) -> None:
        self.links = links
        self.sub_agent = sub_agent
        self.last_at = began
        self.copied: frozenset[str] = frozenset()
        """The names of lines that are another session's."""
        self.forked_from: str | None = None
        self._told_at = began
        self.session: str | None = None
        self.model: str | None = None
        self._key = ""
        self._seen: set[str] = set()
        self._started = sub_agent is not None
        self._turn: Turn = "none"
        self._turn_at = began
        self._ending: _Ending | None = None
        self._abandoned = False
        self._before: list[Telling] = []
        """What the line that is read now makes certain of lines before it."""
        self._calls: dict[str, OpenCall] = {}
        self._called: set[str] = set()
        self._cost_usd: float | None = None
        """What the session has cost, as far as it told; ``_cost_before``: until the turn began."""
        self._cost_told = self._cost_before = 0.0
        self._prompt_id: str | None = None
        self._status: Status = "success"

    @property
    def turn(self) -> Turn:
        """Where the main agent's turn is."""
        return self._turn

    @property
    def busy(self) -> bool:
        """Whether something waits for its end: a turn or a call."""
        return self._turn != "none" or bool(self._calls)

    @property
    def abandoned(self) -> bool:
        """Whether the last thing told was :meth:`abandon`'s."""
        return self._abandoned

    @property
    def silence_source(self) -> str:
        """The source of what :meth:`abandon` would tell now."""
        return f"{self._key}:silence:0"

    def feed(self, raw: bytes) -> list[Telling]:
        """Read the next line. Never raises, whatever it holds."""
        if not raw.strip() or self._is_noise(raw):
            return []
        parsed = None if isinstance(raw, CutLine) else parse_object(raw)
        key = (None if parsed is None else self._name(parsed)) or _digest(raw)
        if key in self._seen or key in self.copied:
            return []  # the same line again, or one that is told elsewhere
        self._seen.add(key)
        self._key = key
        if parsed is None:
            return self._tell([unknown_line(self.agent, raw, self.last_at)])
        self.last_at = parse_time(get_text(parsed, "timestamp")) or self.last_at
        read = TranscriptLine(raw, parsed, key, self.last_at)
        events = self._read(read)
        if events is None:
            events = [unknown_line(self.agent, raw, self.last_at)]
        if events:
            self._told_at = self.last_at
        before, self._before = self._before, []
        return [*before, *self._revive(events), *self._tell(events)]

    def settle(self) -> list[Telling]:
        """No line came for a moment: tell that the turn is over, if it is."""
        return self._tell_ending()

    def abandon(self) -> list[Telling]:
        """No line came for long: whatever was going on is taken to be over. A later line revives the session."""
        if not self.busy:
            return []
        told = [*self._tell_ending(), *self._tell(self._close_calls(self.last_at), f"{self._key}:calls")]
        if self._turn == "open" and self.sub_agent is None:
            ending = _Ending(self._key, self.last_at, "cancelled", milliseconds_between(self._turn_at, self.last_at))
            told += self._tell([self._completed(ending, SILENCE)], f"{self._key}:silence")
            self._abandoned = True
        self._turn = "none"
        return told

    # ── for the readers of one agent's files ────────────────────────────────────────────────────────────────────────
    @abstractmethod
    def _read(self, line: TranscriptLine) -> list[BaseEvent] | None:
        """The events of a line; None: no rule knows it."""

    def _is_noise(self, raw: bytes) -> bool:
        """Whether a line is known to say nothing, before it is parsed."""
        _ = raw
        return False

    def _name(self, parsed: JsonObject) -> str | None:
        """What the agent calls the line; None: nothing, so that its content stands for it."""
        _ = parsed
        return None

    def _start(self, at: datetime, session: str | None, **said: Any) -> list[BaseEvent]:
        self.session = self.session or session
        if self._started:
            return []
        self._started = True
        return [Started(timestamp=at, toolchain=self.agent, **optional(session_id=session, **said))]

    def _begin_turn(self, at: datetime) -> None:
        """A turn begins; the end of the one before is told under its own name, be it told now or earlier."""
        self._before += self._tell_ending()
        if self._turn == "none":
            self._cost_before = self._cost_told
        self._turn, self._turn_at = "open", at

    def _end_turn(self, line: TranscriptLine, status: Status, duration_ms: int | None = None) -> None:
        if self.sub_agent is not None:
            self._turn = "none"
        else:
            took = milliseconds_between(self._turn_at, line.at) if duration_ms is None else duration_ms
            self._ending = _Ending(line.key, line.at, status, took)
            self._turn = "over"

    def _take_ending(self, at: datetime) -> list[BaseEvent]:
        """The end of the turn, told by the line that is read now; empty if none is to be told."""
        ending, self._ending = self._ending, None
        if ending is None:
            return []
        self._turn = "none"
        ending.at = max(ending.at, self._told_at)
        return [*self._close_calls(at), self._completed(ending)]

    def _last_ending(self, at: datetime) -> BaseEvent:
        """The end of the last turn once more, because more is known of it."""
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
        """The turn's share of what the session has cost, if that was told since the turn before.

        A fork goes on with the count of the session that it was made of, so its first count is nobody's share.
        """
        total = self._cost_usd
        if total is None or total == self._cost_before:
            return {}
        self._cost_told = total
        if self.forked_from is not None and not self._cost_before:
            return {"session_cost_usd": total}
        before = self._cost_before if total > self._cost_before else 0.0  # else the agent began to count anew
        return {"cost_usd": round(total - before, 9), "session_cost_usd": total}

    def _close_calls(self, at: datetime) -> list[BaseEvent]:
        closed = close_calls(self._calls.values(), at)
        self._calls.clear()
        return closed

    # ── sources ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def _tell(self, events: Sequence[BaseEvent], key: str | None = None) -> list[Telling]:
        name = self._key if key is None else key
        return [Telling(f"{name}:{part}", event, self._model_of(event)) for part, event in enumerate(events)]

    def _model_of(self, event: BaseEvent) -> str | None:
        """A sub-agent's model may be another than the session's: only what says whose it is names it."""
        whose = getattr(event, "parent_call_id", None) or (event.model_extra or {}).get("parent_call_id")
        return self.model if self.sub_agent is None or whose is not None else None

    def _tell_ending(self) -> list[Telling]:
        if self._ending is None:
            return []
        key = f"{self._ending.key}:end"
        return self._tell(self._take_ending(self._told_at), key)

    def _revive(self, events: Sequence[BaseEvent]) -> list[Telling]:
        if not events or not self._abandoned:
            return []
        self._abandoned = False
        if self._turn == "none":
            self._begin_turn(self.last_at)
        again = Started(timestamp=self.last_at, toolchain=self.agent, **optional(session_id=self.session, resumed=True))
        return self._tell([again], f"{self._key}:again")

    def was_abandoned(self) -> None:
        """A log tells that :meth:`abandon` was called after the line that was read last."""
        self._ending, self._turn, self._abandoned = None, "none", True
        self._calls.clear()


def parse_time(text: str | None) -> datetime | None:
    """A time as agents write it: ISO 8601, none meaning UTC; None if it is something else."""
    try:
        found = None if text is None else datetime.fromisoformat(text)
        return found and (found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC))
    except (ValueError, OverflowError):
        return None


def _digest(raw: bytes) -> str:
    return hashlib.blake2b(raw, digest_size=10).hexdigest()
