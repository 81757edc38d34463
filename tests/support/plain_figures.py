"""The figures of a log, the simplest way: all its events at once, and the rows of its account."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import TypeAdapter

from workcast.events.usage import Usage
from workcast.ledger.account import Account
from workcast.ledger.row_store import MemoryRows, Row
from workcast.ledger.rows import CallRow, MessageRow, RunRow, SubagentRow, Totals

Event = Mapping[str, Any]


@dataclass
class PlainTool:
    calls: int = 0
    failed: int = 0
    times: list[int] = field(default_factory=list[int])


@dataclass
class PlainRun:
    """A run of an account, and what lies between its first event and the next one's."""

    row: dict[str, Any]
    events: int = 0
    errors: int = 0
    lines_added: int = 0
    lines_removed: int = 0
    paths: Counter[str] = field(default_factory=Counter[str])
    tools: dict[str, PlainTool] = field(default_factory=dict[str, PlainTool])


def totals_of(events: Sequence[Event | None]) -> Totals:
    return _account(events).totals()


def counts_of(events: Sequence[Event | None], totals: Totals | None = None) -> dict[str, int]:
    """Return how often each figure of a bucket occurs."""
    totals = totals or totals_of(events)
    kinds = Counter(event["type"] for event in events if event is not None)
    results = [event for event in events if event is not None and event["type"] == "tool_result"]
    return {
        "events": len(events),
        "prompts": kinds["prompt_sent"],
        "answers": kinds["response_complete"],
        "calls": kinds["tool_call"],
        "failed": sum(result.get("error") is not None for result in results),
        "changes": kinds["file_write"],
        "errors": kinds["error"],
        "tokens": totals.messages_usage.total,
    }


def runs_of(events: Sequence[Event | None]) -> list[PlainRun]:
    return figures_of(events)[0]


def figures_of(events: Sequence[Event | None]) -> tuple[list[PlainRun], Totals]:
    account = _account(events)
    runs = [PlainRun(json.loads(row)) for row in account.page("runs", 0, 10**6)[1]]
    for offset, event in enumerate(events):
        run = next((run for run in reversed(runs) if run.row["offset"] <= offset), runs[0] if runs else None)
        if run is not None:
            _count(run, event)
    for data in account.page("calls", 0, 10**6)[1]:
        call: dict[str, Any] = json.loads(data)
        tool = runs[int(call["run"]) - 1].tools.setdefault(call["tool"], PlainTool())
        tool.calls += 1
        tool.failed += call["error"] is True
        if call["duration_ms"] is not None:
            tool.times.append(call["duration_ms"])
    if not runs and events:  # lines in which no run has begun
        runs = [PlainRun({"status": "new", "agent": None, "model": None, "duration_ms": 0, "usage": {}}, len(events))]
    return runs, account.totals()


def usage_of(run: PlainRun) -> Usage:
    return Usage.model_validate(run.row["usage"])


_ADAPTERS: Final = {kind.__name__: TypeAdapter[Any](kind) for kind in (RunRow, MessageRow, CallRow, SubagentRow)}


class _Rows(MemoryRows[Row]):
    """As its base, whose adapter takes 5 ms to make."""

    def __init__(self, kind: type[Row]) -> None:
        self._adapter = _ADAPTERS[kind.__name__]
        self._rows: dict[str, Row] = {}


def _account(events: Sequence[Event | None]) -> Account:
    account = Account(new_store=_Rows)
    for event in events:
        account.add(event)
    return account


def _count(run: PlainRun, event: Event | None) -> None:
    run.events += 1
    if event is None:
        return
    run.errors += event["type"] == "error"
    if event["type"] == "file_write":
        run.lines_added += _lines(event.get("lines_added"))
        run.lines_removed += _lines(event.get("lines_removed"))
        path = event.get("path")
        if isinstance(path, str) and path:
            run.paths[path] += 1


def _lines(value: object) -> int:
    return value if type(value) is int and 0 <= value < 2**53 else 0


def stats_of(logs: Mapping[str, Sequence[PlainRun]], by: str) -> dict[str | None, dict[str, int]]:
    """Return the sums over all runs of these logs, for one key."""
    groups: dict[str | None, dict[str, int]] = {}
    for workcell, runs in logs.items():
        for run in runs:
            if by == "tool":
                for name, tool in run.tools.items():
                    figures = {"runs": 1, "calls": tool.calls, "failed": tool.failed, "ms": sum(tool.times)}
                    _add(groups.setdefault(name, {}), figures)
            elif by == "path":
                for path, changes in run.paths.items():
                    _add(groups.setdefault(path, {}), {"runs": 1, "changes": changes})
            else:
                key = workcell if by == "workcell" else run.row[by]
                _add(groups.setdefault(key, {}), _figures(run))
    return groups


def _figures(run: PlainRun) -> dict[str, int]:
    return {
        "runs": int(run.row["status"] != "new"), "events": run.events, "errors": run.errors,
        "calls": sum(tool.calls for tool in run.tools.values()), "tokens": usage_of(run).total,
        "duration": run.row["duration_ms"] or 0, "added": run.lines_added,
    }  # fmt: skip


def _add(sums: dict[str, int], figures: dict[str, int]) -> None:
    for name, number in figures.items():
        sums[name] = sums.get(name, 0) + number
