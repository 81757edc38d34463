"""``stats``: the figures of all runs, summed up by what they have in common."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from datetime import UTC, datetime, timedelta
from typing import Final

from pydantic_core import to_json
from rich.console import Console
from rich.text import Text

from workcast.broker.errors import RootError
from workcast.broker.price_file import current_prices
from workcast.broker.root import Root
from workcast.broker.roots import Roots
from workcast.cli.gateway_client import fetch, gateway_url
from workcast.cli.listing import Column, Row, print_listing
from workcast.cli.messages import say
from workcast.cli.printable import harmless_json
from workcast.consumer.protocol import StatsFigures, StatsPage, StatsRow
from workcast.consumer.stats_page import MAX_ROWS, parse_query, stats_page

_TIMEOUT_SECONDS: Final = 300.0
_NOTHING: Final = "-"


def show_stats(root: Root, by: str, since: float | None, url: str | None, *, as_json: bool) -> None:
    """Print a row per group and the total; with ``as_json``, the total first, and one JSON object per line.

    Raises:
        StatsQueryError: ``by`` is malformed.
        GatewayError: the gateway cannot be reached.
        RootError: no gateway runs, and the root cannot be read.
        PricesError: no gateway runs, and the price table is unusable.
    """
    start = "" if since is None else (datetime.now(UTC) - timedelta(seconds=since)).isoformat()
    parse_query(by, since=start)
    address = gateway_url(root, url)
    pages = _pages(_from_gateway(address, by, start) if address else _from_files(root, by, start))
    first = next(pages)
    if not first.complete:
        say(f"workcast: {first.missing} events are not counted yet; the index is still being made")
    if as_json:
        head = first.model_dump(mode="json", exclude={"rows", "next"})
        sys.stdout.write(harmless_json(to_json(head).decode()) + "\n")
        for row in _rows(first, pages):
            sys.stdout.write(harmless_json(row.model_dump_json(exclude_none=True)) + "\n")
        return
    columns = (*(Column(key.upper()) for key in first.by), *_FIGURES)
    lines = [Row((*_keys(row), *_cells(row))) for row in _rows(first, pages)]
    print_listing(columns, lines)
    Console(soft_wrap=True).print(Text(_total(first.total)))


def _rows(first: StatsPage, pages: Generator[StatsPage]) -> Generator[StatsRow]:
    yield from first.rows
    for page in pages:
        yield from page.rows


def _pages(fetch_page: Callable[[str], StatsPage]) -> Generator[StatsPage]:
    cursor: str | None = ""
    while cursor is not None:
        page = fetch_page(cursor)
        cursor = page.next
        yield page


def _from_gateway(address: str, by: str, start: str) -> Callable[[str], StatsPage]:
    def fetch_page(cursor: str) -> StatsPage:
        query: dict[str, str | int] = {"by": by, "from": start, "limit": MAX_ROWS, "cursor": cursor}
        return fetch(f"{address}/api/stats", StatsPage, f"get figures from {address}", _TIMEOUT_SECONDS, query)

    return fetch_page


def _from_files(root: Root, by: str, start: str) -> Callable[[str], StatsPage]:
    root.check()
    prices = current_prices()

    def read_page(cursor: str) -> StatsPage:
        try:
            return stats_page(Roots(root), prices, parse_query(by, since=start, cursor=cursor), _TIMEOUT_SECONDS)
        except OSError as error:
            raise RootError(f"cannot read {error.filename or root.workcells}: {error.strerror}") from error

    return read_page


# ── as text ─────────────────────────────────────────────────────────────────────────────────────────────────────────
_FIGURES: Final = (
    Column("RUNS", is_number=True),
    Column("FAILED", goes=6, is_number=True),
    Column("CALLS", goes=4, is_number=True),
    Column("ERRORS", goes=7, is_number=True),
    Column("TOKENS", is_number=True),
    Column("REPORTED", goes=2, is_number=True),
    Column("COMPUTED", goes=3, is_number=True),
    Column("TIME", goes=5, is_number=True),
    Column("P50", goes=9, is_number=True),
    Column("P95", goes=8, is_number=True),
    Column("LINES", goes=10, is_number=True),
)


def _keys(row: StatsRow) -> tuple[str, ...]:
    keys = row.key if isinstance(row.key, list) else [row.key]
    return tuple("?" if key is None else key for key in keys)


def _cells(figures: StatsFigures) -> tuple[str, ...]:
    """Return a cell per figure; of a tool, tokens are those that its results cost again, and the time is its calls'."""
    call_ms, tokens = figures.call_ms, figures.carried_tokens
    duration = figures.duration_ms
    if duration is None and call_ms is not None:
        duration = call_ms.sum
    failed = figures.failed_runs if figures.usage is not None or call_ms is None else figures.failed_calls
    added, removed = figures.lines_added, figures.lines_removed
    return (
        _number(figures.runs), _number(failed), _number(figures.calls), _number(figures.errors),
        _number(figures.usage.total) if figures.usage is not None else _NOTHING if tokens is None else f"~{tokens:,}",
        _dollars(figures.cost_usd), _dollars(figures.cost_computed_usd), _seconds(duration),
        _seconds(call_ms.p50 if call_ms else None), _seconds(call_ms.p95 if call_ms else None),
        _NOTHING if added is None or removed is None else f"+{added:,} -{removed:,}",
    )  # fmt: skip


def _total(total: StatsFigures) -> str:
    usage = total.usage
    tokens = 0 if usage is None else usage.total
    return (
        f"total: {total.runs} runs, {total.failed_runs} failed, {_number(total.calls)} calls, {tokens:,} tokens, "
        f"{_dollars(total.cost_usd)} reported, {_dollars(total.cost_computed_usd)} computed, "
        f"{_seconds(total.duration_ms)}"
    )


def _number(value: int | None) -> str:
    return _NOTHING if value is None else f"{value:,}"


def _dollars(value: float | None) -> str:
    return _NOTHING if value is None else f"${value:.4f}"


def _seconds(value: int | None) -> str:
    return _NOTHING if value is None else f"{value / 1000:.1f} s"
