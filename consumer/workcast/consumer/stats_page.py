"""Pages of figures over all runs, as the gateway answers them and ``workcast stats`` reads them."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Final, cast, get_args
from zoneinfo import ZoneInfo

from workcast.broker.root import Root
from workcast.broker.roots import Roots
from workcast.consumer.errors import StatsQueryError
from workcast.consumer.protocol import CallMs, StatsFigures, StatsPage, StatsRow
from workcast.events.usage import Usage
from workcast.index.view import View
from workcast.ledger.figures import RunFigures
from workcast.ledger.money import known_dollars
from workcast.ledger.prices import PriceTable
from workcast.ledger.stats import Key, Member, Stats, StatsKey, Sums
from workcast.ledger.summary import Summary
from workcast.question.parse import parse_question
from workcast.question.question import NameField, Names, Quantity, Question
from workcast.question.run_filter import RunFilter

MAX_ROWS: Final = 1000
_OF_RUNS: Final[frozenset[NameField]] = frozenset(("in", "root", "agent", "model", "status", "issue"))
_KEYS: Final[tuple[StatsKey, ...]] = get_args(StatsKey)


@dataclass(frozen=True, slots=True)
class StatsQuery:
    """Which runs to sum up, and how to group them."""

    by: tuple[StatsKey, ...]
    zone: tzinfo = UTC
    """Of days, and of times without a zone."""
    since: datetime | None = None
    """Runs that began from then on."""
    until: datetime | None = None
    """Runs that began before then."""
    start: int = 0
    """The number of the first row to return."""
    limit: int = MAX_ROWS
    filter: RunFilter | None = None
    """What else must hold of a run."""


def parse_query(
    by: str,
    *,
    question: str = "",
    since: str = "",
    until: str = "",
    zone: str = "UTC",
    cursor: str = "",
    limit: int = MAX_ROWS,
) -> StatsQuery:
    """Parse the parameters of a request.

    Raises:
        StatsQueryError: one of them is malformed.
        QuestionError: the question is.
    """
    keys = tuple(by.split(","))
    if not 1 <= len(keys) <= 2 or len(set(keys)) != len(keys) or not set(keys) <= set(_KEYS):
        raise StatsQueryError(f"expected by= with one or two of {', '.join(_KEYS)}, as in tool,agent; got {by[:80]!r}")
    if set(keys) == {"tool", "path"}:
        raise StatsQueryError("expected by= without both tool and path: changes of files have no tool; got both")
    found = _zone(zone)
    if cursor and not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 16):
        raise StatsQueryError(f"expected cursor= with the next of an earlier page, got {cursor[:40]!r}")
    asked = _question(question, found) if question else None
    return StatsQuery(
        cast("tuple[StatsKey, ...]", keys), found,
        _latest(_time("from", since, found), None if asked is None else asked.since),
        _earliest(_time("to", until, found), None if asked is None else asked.until),
        int(cursor or 0), limit, None if asked is None else RunFilter(asked),
    )  # fmt: skip


def stats_page(roots: Roots, prices: PriceTable, query: StatsQuery, seconds: float) -> StatsPage:
    """Sum up, reading what is not indexed for at most about so many seconds."""
    stats, missing = Stats(query.by, query.zone), 0
    until = time.monotonic() + seconds
    for root in roots.each:
        missing += _add_root(stats, root, prices, query, until)
    rows = stats.rows()
    end = query.start + query.limit
    return StatsPage(
        by=list(query.by), rows=[_row(key, sums, query.by) for key, sums in rows[query.start : end]],
        total=StatsFigures.model_validate(_run_figures(stats.total)), next=str(end) if end < len(rows) else None,
        complete=not missing, missing=missing,
    )  # fmt: skip


def _add_root(stats: Stats, root: Root, prices: PriceTable, query: StatsQuery, until: float) -> int:
    """Add the runs of a root; return how many lines of its logs could not be read in time."""
    missing, name = 0, root.name or root.directory.name
    with closing(View(root, prices)) as view:
        for log in view.logs(until, with_changes="path" in query.by):
            missing += log.missing
            if query.filter is not None and not query.filter.admits_place(log.workcell, name):
                continue
            members = {run.run: Member(log.workcell, name, run) for run in log.runs if _is_asked(run, query)}
            for member in members.values():
                stats.add(member)
            for change in log.changes:
                if (of := members.get(change.run)) is not None:
                    stats.add_changes(of, change.path, change.changes, change.lines_added, change.lines_removed)
    return missing


def _is_asked(run: RunFigures, query: StatsQuery) -> bool:
    since, until, started = query.since, query.until, run.started_ms
    if started is None and (since is not None or until is not None):
        return False
    if started is not None and since is not None and started < since.timestamp() * 1000:
        return False
    if started is not None and until is not None and started >= until.timestamp() * 1000:
        return False
    return query.filter is None or not query.filter.needs_summary or query.filter.admits(_summary(run))


def _summary(run: RunFigures) -> Summary:
    """Return a run as if it were all of its workcell."""
    return Summary.model_construct(
        id="", agent=run.agent, model=run.model, status=run.status, issue_id=run.issue_id, usage=Usage.of(run.usage),
        cost_usd=known_dollars(run.cost), cost_computed_usd=known_dollars(run.cost_computed),
        duration_ms=run.duration_ms,
    )  # fmt: skip


def _question(text: str, zone: tzinfo) -> Question:
    """Parse a question about runs.

    Raises:
        QuestionError: it is malformed.
        StatsQueryError: it asks for what only texts and events have.
    """
    question = parse_question(text, datetime.now(UTC), zone)
    others = [filter_ for filter_ in question.filters if not isinstance(filter_, Quantity)]
    if question.terms or any(not isinstance(one, Names) or one.field not in _OF_RUNS for one in others):
        raise StatsQueryError(
            f"expected q= with fields of runs alone ({', '.join(sorted(_OF_RUNS))}, cost, tokens, duration, since, "
            f"until), got {text[:80]!r}; words, is:, tool:, type: and path: are for a search"
        )
    return question


def _latest(one: datetime | None, other: datetime | None) -> datetime | None:
    return max((time for time in (one, other) if time is not None), default=None)


def _earliest(one: datetime | None, other: datetime | None) -> datetime | None:
    return min((time for time in (one, other) if time is not None), default=None)


def _row(key: Key, sums: Sums, by: tuple[StatsKey, ...]) -> StatsRow:
    if "tool" in by:
        figures = _tool_figures(sums)
    elif "path" in by:
        figures = {
            **_membership(sums), "changes": sums.changes, "lines_added": sums.lines_added,
            "lines_removed": sums.lines_removed,
        }  # fmt: skip
    else:
        figures = _run_figures(sums)
    return StatsRow.model_validate({"key": key[0] if len(key) == 1 else list(key), **figures})


def _membership(sums: Sums) -> dict[str, object]:
    return {"runs": sums.runs, "failed_runs": sums.failed_runs}


def _tool_figures(sums: Sums) -> dict[str, object]:
    return {**_membership(sums), **_call_figures(sums), "carried_tokens": sums.tool.carried_tokens}


def _call_figures(sums: Sums) -> dict[str, object]:
    times = sums.tool.times
    call_ms = CallMs(p50=times.percentile(50), p95=times.percentile(95), max=times.max_ms, sum=times.sum_ms)
    return {"calls": sums.tool.calls, "failed_calls": sums.tool.failed, "call_ms": call_ms}


def _run_figures(sums: Sums) -> dict[str, object]:
    return {
        **_membership(sums), **_call_figures(sums), "events": sums.events, "errors": sums.errors, "usage": sums.usage,
        "cost_usd": known_dollars(sums.cost), "cost_computed_usd": known_dollars(sums.cost_computed),
        "unpriced": sums.unpriced_models, "duration_ms": sums.duration_ms, "tools_ms": sums.tools_ms,
        "lines_added": sums.lines_added, "lines_removed": sums.lines_removed,
    }  # fmt: skip


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # a KeyError if there is no such zone
        raise StatsQueryError(f"expected tz= with a time zone, as in Europe/Berlin, got {name[:40]!r}") from None


def _time(name: str, text: str, zone: tzinfo) -> datetime | None:
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise StatsQueryError(
            f"expected {name}= with a day or a time, as in 2026-11-27 or 2026-11-27T09:00Z, got {text[:40]!r}"
        ) from None
