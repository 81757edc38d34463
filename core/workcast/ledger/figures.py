"""The figures of a log's runs, for sums over many runs, and where in the log its events lie.

A bounded fold, whose state can be saved and restored anywhere, on the same :class:`~workcast.ledger.tally.Tally` as
summaries: so the sums over any groups of runs are those of the summaries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic_core import from_json, to_json

from workcast.events.usage import Usage
from workcast.ledger.buckets import (
    ANSWERS,
    CALLS,
    CHANGES,
    ERRORS,
    EVENTS,
    FAILED,
    FIGURES,
    PROMPTS,
    TOKENS,
    Buckets,
    Spread,
)
from workcast.ledger.call_times import CallTimes
from workcast.ledger.event_fields import moment, text
from workcast.ledger.prices import PriceTable
from workcast.ledger.rows import RunRow
from workcast.ledger.summary import WorkcellStatus
from workcast.ledger.tally import Tally

OTHER_TOOLS: Final = "other"
"""Stands for the tools of a run beyond its first 128."""
MAX_TOOLS: Final = 128
_MAX_OPEN: Final = 1024
"""Calls of a run that wait for a result, the newest. One that was forgotten gets no time."""
_MAX_ANSWERED: Final = 256
"""Calls with a result that are remembered, the newest. One that was forgotten counts twice if it is reported again."""
_MAX_LINES: Final = 2**53
_CHARACTERS_PER_TOKEN: Final = 4
_COUNTED: Final = frozenset(
    {
        "started", "prompt_sent", "response_complete", "tool_call", "tool_result", "file_write", "error", "usage",
        "completed",
    }
)  # fmt: skip
_NO_SECOND: Final = ("", 0)


@dataclass(slots=True)
class ToolFigures:
    """The calls of one tool in one run."""

    calls: int = 0
    failed: int = 0
    """Whose result is an error."""
    times: CallTimes = field(default_factory=CallTimes)
    """From a call's event to its result's."""
    result_tokens: int = 0
    """Of the main agent's results: their characters divided by four."""
    carried_tokens: int = 0
    """An estimate of what the results cost when later messages read them again; see :meth:`Figures.add`."""

    def merge(self, other: ToolFigures) -> None:
        """Add the calls of another run."""
        self.calls += other.calls
        self.failed += other.failed
        self.times.merge(other.times)
        self.result_tokens += other.result_tokens
        self.carried_tokens += other.carried_tokens


@dataclass(slots=True)
class RunFigures:
    """One run. Amounts are in picodollars, spans in milliseconds."""

    run: int
    """From 1, in the order of the log; 0 for the lines of a log in which no run has begun."""
    offset: int
    end_offset: int | None
    status: WorkcellStatus
    agent: str | None
    model: str | None
    issue_id: str | None
    started: str | None
    started_ms: int | None
    duration_ms: int
    tools_ms: int
    usage: tuple[int, ...]
    """In the order of :meth:`~workcast.events.usage.Usage.counts`."""
    cost: int | None
    cost_computed: int | None
    unpriced: list[str]
    events: int
    errors: int
    lines_added: int
    lines_removed: int
    tools: dict[str, ToolFigures]


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a file, as an event reports it."""

    offset: int
    run: int
    path: str
    lines_added: int
    lines_removed: int


@dataclass(slots=True)
class _Call:
    tool: str
    at: int | None
    call_id: str | None
    parent: str | None
    ms: int | None = None
    failed: bool = False


@dataclass(slots=True)
class _Counts:
    """What a run has so far, besides what the tally counts."""

    run: int
    issue_id: str | None = None
    events: int = 0
    errors: int = 0
    lines_added: int = 0
    lines_removed: int = 0
    message: str | None = None
    """The last message for which results were carried."""
    tools: dict[str, ToolFigures] = field(default_factory=dict[str, ToolFigures])
    open: dict[str, _Call] = field(default_factory=dict[str, _Call])
    answered: dict[str, _Call] = field(default_factory=dict[str, _Call])


@dataclass(slots=True)
class Figures:
    """The state of the fold; :meth:`take` returns the rows that are no longer part of it."""

    tally: Tally
    offset: int = 0
    """The offset after the last line folded."""
    by_offset: Buckets = field(default_factory=Buckets)
    by_time: Buckets = field(default_factory=Buckets)
    """In seconds since 1970. An event without a time, or with an earlier one, counts at the latest time before it."""
    untimed: list[int] = field(default_factory=lambda: [0] * len(FIGURES))
    """Of the lines before the first time."""
    counts: _Counts | None = None
    leading: int = 0
    """Lines before the first event."""
    since_prompt: int = 0
    """Lines from the prompt on that may begin the next run."""
    second: tuple[str, int] = _NO_SECOND
    """The last timestamp, to the second, and what it stands for."""
    latest: int | None = None
    ended: list[RunFigures] = field(default_factory=list[RunFigures])
    changes: list[Change] = field(default_factory=list[Change])

    @classmethod
    def from_state(cls, state: bytes, prices: PriceTable) -> Figures:
        """Restore a fold from its :meth:`to_state`.

        Raises:
            ValueError: it is not the state of a fold, or its costs were computed with another table.
        """
        return _FIGURES.validate_python(from_json(state), context=prices)  # as JSON, amounts would be in dollars

    def to_state(self) -> bytes:
        """Return the state as JSON; the rows that were not taken are part of it."""
        state: dict[str, Any] = _FIGURES.dump_python(self)  # as JSON, amounts would be rounded to dollars
        return to_json(state)

    def take(self) -> tuple[list[RunFigures], list[Change]]:
        """Return the runs that have ended and the changes since the last call; see :meth:`current` for the others."""
        taken = (self.ended, self.changes)
        self.ended, self.changes = [], []
        return taken

    def current(self) -> RunFigures | None:
        """Return the last run as it is now; of a log without an event, its lines; None if there is none."""
        if self.counts is not None and self.tally.run is not None:
            return _figures_of(self.tally.run.row(self.tally.prices), self.counts)
        return _without_run(self.leading) if self.leading else None

    def spread(self, most: int, *, by_time: bool) -> Spread:
        """Return the counts along the log, or along time in seconds since 1970, in at most ``most`` buckets."""
        if not by_time:
            return self.by_offset.spread(most)
        return Spread(0, 1, [self.untimed]) if self.latest is None and any(self.untimed) else self.by_time.spread(most)

    def add(self, event: Mapping[str, Any] | None) -> None:
        """Fold the next line: an event's fields, or None for a line that is not an event.

        The results of the main agent's calls stay in its context: with each later message, ``carried_tokens`` of their
        tools grow by their tokens, or, where these are more than the input of that message, by their share of it.
        """
        offset, self.offset = self.offset, self.offset + 1
        place, time_row = self.by_offset.at(offset), self._at(event)
        place[EVENTS] += 1
        time_row[EVENTS] += 1
        if event is None:
            if self.counts is None:
                self.leading += 1
            else:
                self.counts.events += 1
                self.since_prompt += 1
            return
        kind: str = event["type"]
        ended = self.tally.add(offset, kind, event)
        run = self.tally.run
        counts = self.counts
        if counts is None or ended is not None:
            counts = self._begin(offset, ended)
        counts.events += 1
        self.since_prompt = 1 if run is not None and self.tally.prompt is not None else 0
        if kind not in _COUNTED:
            return  # most of a log
        if self.since_prompt == 0:  # else the prompt may be that of the next run
            counts.issue_id = text(event, "issue_id") or counts.issue_id
        figure, number = self._count(offset, kind, event, counts)
        if number:
            place[figure] += number
            time_row[figure] += number

    def _at(self, event: Mapping[str, Any] | None) -> list[int]:
        """Return the counts at an event's time."""
        timestamp = event.get("timestamp") if event is not None else None
        if isinstance(timestamp, str) and timestamp:
            second = timestamp[:19] if timestamp.endswith("Z") else timestamp
            if second != self.second[0]:
                at = moment(timestamp)
                if at is not None:
                    self.second = (second, at // 1000)
                    if self.latest is None:
                        self.latest = at // 1000
                        first = self.by_time.at(self.latest)
                        first[:] = [one + two for one, two in zip(first, self.untimed, strict=True)]
                    self.latest = max(self.latest, at // 1000)
        return self.untimed if self.latest is None else self.by_time.at(self.latest)

    def _begin(self, offset: int, ended: RunRow | None) -> _Counts:
        """Begin to count a run, and close the one before it."""
        run = self.tally.run
        number = run.number if run is not None else 1
        counts = _Counts(number, events=self.leading)
        self.leading = 0
        if self.counts is not None and ended is not None:
            if run is not None and run.offset < offset:  # it began with the prompt just before
                self.counts.events -= self.since_prompt
                counts.events = self.since_prompt
            self.ended.append(_figures_of(ended, self.counts))
        self.counts = counts
        return counts

    def _count(self, offset: int, kind: str, event: Mapping[str, Any], counts: _Counts) -> tuple[int, int]:
        """Count an event; return which figure of its bucket grows, and by how much."""
        match kind:
            case "prompt_sent":
                return PROMPTS, 1
            case "response_complete":
                return ANSWERS, 1
            case "tool_call":
                self._call(offset, event, counts)
                return CALLS, 1
            case "tool_result":
                failed = event.get("error") is not None
                _result(event, counts, failed=failed)
                return FAILED, int(failed)
            case "file_write":
                self._change(offset, event, counts)
                return CHANGES, 1
            case "error":
                counts.errors += 1
                return ERRORS, 1
            case "usage":
                return TOKENS, self._usage(event, counts)
            case _:
                return EVENTS, 0

    def _usage(self, event: Mapping[str, Any], counts: _Counts) -> int:
        message = text(event, "message_id")
        before = self.tally.recent.get(message) if message is not None else None
        counted = self.tally.count_recent(event)
        if counted is None:
            return 0
        if message is not None and message != counts.message and event.get("parent_call_id") is None:
            counts.message = message
            _carry(counts, counted.usage.input_tokens)
        return counted.usage.total - (before.usage.total if before is not None else 0)

    def _call(self, offset: int, event: Mapping[str, Any], counts: _Counts) -> None:
        call_id = text(event, "call_id")
        key = call_id or f"#{offset}"
        if key in counts.open or key in counts.answered:
            return  # the same call, reported again
        tool = text(event, "tool") or "?"
        if tool not in counts.tools and len(counts.tools) >= MAX_TOOLS:
            tool = OTHER_TOOLS
        counts.tools.setdefault(tool, ToolFigures()).calls += 1
        counts.open[key] = _Call(tool, moment(event.get("timestamp")), call_id, text(event, "parent_call_id"))
        if len(counts.open) > _MAX_OPEN:
            del counts.open[next(iter(counts.open))]

    def _change(self, offset: int, event: Mapping[str, Any], counts: _Counts) -> None:
        added, removed = _lines(event.get("lines_added")), _lines(event.get("lines_removed"))
        counts.lines_added += added
        counts.lines_removed += removed
        path = event.get("path")
        if isinstance(path, str) and path:
            self.changes.append(Change(offset, counts.run, path, added, removed))


def _result(event: Mapping[str, Any], counts: _Counts, *, failed: bool) -> None:
    """Count a result for its call; one that is reported again replaces the one before."""
    key = text(event, "call_id") or _newest(event, counts)
    call = counts.open.pop(key, None) if key is not None else None
    is_first = call is not None
    if call is None and key is not None:
        call = counts.answered.pop(key, None)
    if call is None or key is None:
        return
    figures = counts.tools[call.tool]
    if call.ms is not None:
        figures.times.remove(call.ms)
    ended = moment(event.get("timestamp"))
    figures.failed += failed - call.failed
    call.failed = failed
    call.ms = None if call.at is None or ended is None else max(0, ended - call.at)
    if call.ms is not None:
        figures.times.add(call.ms)
    if is_first and call.parent is None:
        figures.result_tokens += _size(event.get("result")) // _CHARACTERS_PER_TOKEN
    counts.answered[key] = call
    if len(counts.answered) > _MAX_ANSWERED:
        del counts.answered[next(iter(counts.answered))]


def _newest(event: Mapping[str, Any], counts: _Counts) -> str | None:
    """Return the key of the newest open call without an id that a result without an id answers."""
    tool, parent = text(event, "tool"), text(event, "parent_call_id")
    return next(
        (
            key
            for key, call in reversed(counts.open.items())
            if call.call_id is None and call.tool == tool and call.parent == parent
        ),
        None,
    )


def _carry(counts: _Counts, read: int) -> None:
    """Count the results in the context once more, for a message with so many tokens of input."""
    held = sum(tool.result_tokens for tool in counts.tools.values())
    for tool in counts.tools.values():
        tool.carried_tokens += tool.result_tokens if held <= read else tool.result_tokens * read // held


def _size(result: object) -> int:
    """Return how many characters a result has."""
    if isinstance(result, str):
        return len(result)
    return 0 if result is None else len(to_json(result))


def _lines(value: object) -> int:
    return value if type(value) is int and 0 <= value < _MAX_LINES else 0


def _figures_of(row: RunRow, counts: _Counts) -> RunFigures:
    return RunFigures(
        run=row.run, offset=row.offset, end_offset=row.end_offset, status=row.status, agent=row.agent, model=row.model,
        issue_id=counts.issue_id, started=row.started, started_ms=moment(row.started),
        duration_ms=row.duration_ms or 0, tools_ms=row.tools_ms, usage=tuple(row.usage.counts()), cost=row.cost,
        cost_computed=row.cost_computed, unpriced=row.unpriced, events=counts.events, errors=counts.errors,
        lines_added=counts.lines_added, lines_removed=counts.lines_removed, tools=counts.tools,
    )  # fmt: skip


def _without_run(lines: int) -> RunFigures:
    return RunFigures(
        run=0, offset=0, end_offset=None, status="new", agent=None, model=None, issue_id=None, started=None,
        started_ms=None, duration_ms=0, tools_ms=0, usage=tuple(Usage().counts()), cost=None, cost_computed=None,
        unpriced=[], events=lines, errors=0, lines_added=0, lines_removed=0, tools={},
    )  # fmt: skip


_FIGURES: Final = TypeAdapter(Figures)
