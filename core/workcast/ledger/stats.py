"""Sums of the figures of many runs, grouped by what runs, calls or changes have in common."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Final, Literal

from workcast.events.usage import Usage
from workcast.ledger.figures import RunFigures, ToolFigures
from workcast.ledger.money import add
from workcast.ledger.rows import MAX_UNPRICED

StatsKey = Literal["tool", "agent", "model", "day", "workcell", "issue", "root", "status", "path"]
Key = tuple[str | None, ...]

FAILED: Final = frozenset({"failed", "timeout", "lost"})
"""The statuses of runs that failed; a run that was cancelled did not."""


@dataclass(frozen=True, slots=True)
class Member:
    """A run, and where it is."""

    workcell: str
    root: str
    figures: RunFigures


@dataclass(slots=True)
class Sums:
    """The figures of one group. Amounts are in picodollars, spans in milliseconds."""

    runs: int = 0
    failed_runs: int = 0
    events: int = 0
    errors: int = 0
    usage: Usage = field(default_factory=Usage)
    """Set by :meth:`finished`."""
    cost: int | None = None
    """As the agents reported it, of the runs where they did."""
    cost_computed: int | None = None
    """By the price table, of the runs whose models all have prices."""
    unpriced: set[str] = field(default_factory=set[str])
    duration_ms: int = 0
    tools_ms: int = 0
    lines_added: int = 0
    lines_removed: int = 0
    changes: int = 0
    """Events that report a change of a file; counted only by path."""
    tool: ToolFigures = field(default_factory=ToolFigures)
    """Of all calls in the group."""
    tokens: list[int] = field(default_factory=lambda: [0] * len(Usage.model_fields))

    def add_run(self, run: RunFigures) -> None:
        """Add a whole run."""
        self._add_membership(run)
        self.events += run.events
        self.errors += run.errors
        self.tokens = [one + two for one, two in zip(self.tokens, run.usage, strict=True)]
        self.cost = add(self.cost, run.cost)
        self.cost_computed = add(self.cost_computed, run.cost_computed)
        self.unpriced.update(run.unpriced)
        self.duration_ms += run.duration_ms
        self.tools_ms += run.tools_ms
        self.lines_added += run.lines_added
        self.lines_removed += run.lines_removed
        for tool in run.tools.values():
            self.tool.merge(tool)

    def add_tool(self, run: RunFigures, tool: ToolFigures) -> None:
        """Add the calls of one tool in a run."""
        self._add_membership(run)
        self.tool.merge(tool)

    def add_changes(self, run: RunFigures, changes: int, lines_added: int, lines_removed: int) -> None:
        """Add the changes of one file in a run."""
        self._add_membership(run)
        self.changes += changes
        self.lines_added += lines_added
        self.lines_removed += lines_removed

    def _add_membership(self, run: RunFigures) -> None:
        if run.run:
            self.runs += 1
            self.failed_runs += run.status in FAILED

    def finished(self) -> Sums:
        """Return itself, with what is only summed up in the end."""
        self.usage = Usage.of(self.tokens)
        return self

    @property
    def unpriced_models(self) -> list[str]:
        """The models without a price, at most 64."""
        return sorted(self.unpriced)[:MAX_UNPRICED]


class Stats:
    """Groups runs, the calls of a tool in a run (by ``tool``), or the changes of a file in a run (by ``path``).

    Args:
        by: one or two keys; not both ``tool`` and ``path``, which have nothing in common.
        zone: of days; a run counts on the day on which it began.
    """

    def __init__(self, by: tuple[StatsKey, ...], zone: tzinfo = UTC) -> None:
        self.by = by
        self.total = Sums()
        self.groups: dict[Key, Sums] = {}
        self._zone = zone

    def add(self, member: Member) -> None:
        """Add a run; by path, its changes follow with :meth:`add_changes`."""
        run = member.figures
        self.total.add_run(run)
        if "tool" in self.by:
            for name, tool in run.tools.items():
                self._group(member, name).add_tool(run, tool)
        elif "path" not in self.by:
            self._group(member, None).add_run(run)

    def add_changes(self, member: Member, path: str, changes: int, lines_added: int, lines_removed: int) -> None:
        """Add the changes of one file in a run; nothing unless they are grouped by path."""
        self.total.changes += changes
        if "path" in self.by:
            self._group(member, path).add_changes(member.figures, changes, lines_added, lines_removed)

    def rows(self) -> list[tuple[Key, Sums]]:
        """Return the groups: days in their order, others by what they took, the most first."""
        rows = [(key, sums.finished()) for key, sums in self.groups.items()]
        rows.sort(key=lambda row: [part or "" for part in row[0]])
        if self.by[0] != "day":
            rows.sort(key=lambda row: _weight(row[1]), reverse=True)
        self.total.finished()
        return rows

    def _group(self, member: Member, part: str | None) -> Sums:
        key = tuple(part if name in ("tool", "path") else self._value(name, member) for name in self.by)
        found = self.groups.get(key)
        if found is None:
            found = self.groups[key] = Sums()
        return found

    def _value(self, name: StatsKey, member: Member) -> str | None:
        run = member.figures
        match name:
            case "workcell":
                return member.workcell
            case "root":
                return member.root
            case "agent":
                return run.agent
            case "model":
                return run.model
            case "issue":
                return run.issue_id
            case "day":
                return _day(run.started_ms, self._zone)
            case _:
                return run.status


def _weight(sums: Sums) -> tuple[int, ...]:
    return sum(sums.tokens[:2]), sums.changes, sums.tool.times.sum_ms, sums.tool.calls, sums.duration_ms, sums.events


def _day(at_ms: int | None, zone: tzinfo) -> str | None:
    if at_ms is None:
        return None
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone).date().isoformat()
    except (ValueError, OverflowError, OSError):
        return None
