"""``account``: what a workcell's runs used, in tokens, money and time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from typing import Final

from pydantic import TypeAdapter
from pydantic_core import to_json
from rich.console import Console
from rich.text import Text

from workcast.broker.accounts import Accounts
from workcast.broker.errors import RootError
from workcast.broker.history import History
from workcast.broker.price_file import current_prices
from workcast.broker.root import Root, check_workcell_id
from workcast.broker.roots import Roots
from workcast.cli.gateway_client import fetch, gateway_url
from workcast.cli.listing import Column, print_listing
from workcast.cli.listing import Row as ListedRow
from workcast.cli.printable import harmless_json, printable
from workcast.consumer.account_page import MAX_ROWS, account_page
from workcast.consumer.protocol import AccountPage
from workcast.events.usage import Usage
from workcast.ledger.account import Rows
from workcast.ledger.money import format_dollars
from workcast.ledger.rows import CallRow, MessageRow, RunRow, SubagentRow, Totals

Row = RunRow | MessageRow | CallRow | SubagentRow
_ROW: Final = TypeAdapter[Row](Row)

_TIMEOUT_SECONDS: Final = 300.0
"""The first account of a log takes as long as reading it: a million lines take several seconds."""


def show_account(root: Root, workcell: str, rows: Rows, url: str | None, *, as_json: bool) -> None:
    """Print the totals and the rows of one kind; with ``as_json``, one JSON object per line.

    Raises:
        GatewayError: the gateway cannot be reached, or does not have the workcell.
        RootError: no gateway runs, and the log cannot be read.
        PricesError: no gateway runs, and the price table is unusable.
    """
    check_workcell_id(workcell.rpartition(":")[2])
    address = gateway_url(root, url)
    pages = _pages(_from_gateway(address, workcell, rows) if address else _from_files(root, workcell, rows))
    first = next(pages)
    if as_json:
        head = {"workcell": workcell, **first.model_dump(mode="json", exclude={"rows", "offset", "count", "items"})}
        sys.stdout.write(harmless_json(to_json(head).decode()) + "\n")
        for row in _items(first, pages):
            sys.stdout.write(harmless_json(_ROW.dump_json(row).decode()) + "\n")
        return
    console = Console(soft_wrap=True)
    console.print(Text(_totals(first.totals)))
    console.print(Text(f"prices: {first.prices.source}, {first.prices.date}", "dim"))
    print_listing(_COLUMNS[rows], (ListedRow(_cells(row)) for row in _items(first, pages)))


def _items(first: AccountPage, pages: Generator[AccountPage]) -> Generator[Row]:
    yield from first.items
    for page in pages:
        yield from page.items


def _pages(fetch_page: Callable[[int], AccountPage]) -> Generator[AccountPage]:
    """Yield page after page, up to the number of rows that the first page states."""
    offset, count = 0, 1
    while offset < count:
        page = fetch_page(offset)
        count = page.count if offset == 0 else count
        yield page
        if not page.items:
            return
        offset += len(page.items)


def _from_gateway(address: str, workcell: str, rows: Rows) -> Callable[[int], AccountPage]:
    def fetch_page(offset: int) -> AccountPage:
        query: dict[str, str | int] = {"rows": rows, "offset": offset, "limit": MAX_ROWS}
        url, purpose = f"{address}/api/workcells/{workcell}/account", f"get the account of {workcell} from {address}"
        return fetch(url, AccountPage, purpose, _TIMEOUT_SECONDS, query)

    return fetch_page


def _from_files(root: Root, workcell: str, rows: Rows) -> Callable[[int], AccountPage]:
    root.check()
    prices = current_prices()
    history = History(Roots(root))
    try:
        extent = history.extent(workcell)
        if extent is None:
            raise RootError(f"expected a workcell in {root.directory}, got {workcell!r}; workcast ls lists them")
        account = None
        accounts = Accounts(history, prices)
        while account is None:
            account = accounts.advance(workcell, extent.epoch, extent.base, extent.end, _TIMEOUT_SECONDS)
    except OSError as error:
        raise RootError(f"cannot read {error.filename or root.workcells}: {error.strerror}") from error
    whole, epoch = account, extent.epoch
    return lambda offset: AccountPage.model_validate_json(account_page(whole, epoch, rows, offset, MAX_ROWS))


# ── as text ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def _totals(totals: Totals) -> str:
    unpriced = f" without {', '.join(map(printable, totals.unpriced))}" if totals.unpriced else ""
    residual = "" if totals.cost_residual is None else f", residual {format_dollars(totals.cost_residual)}"
    return (
        f"{_count(totals.runs, 'run')}, {_count(totals.messages, 'message')}, {_count(totals.calls, 'call')}\n"
        f"tokens: {_tokens(totals.usage)}; not accounted for by messages: {_tokens(totals.usage_residual)}\n"
        f"cost: {format_dollars(totals.cost)} as reported, {format_dollars(totals.cost_computed)} computed"
        f"{unpriced}{residual}\n"
        f"time: {_seconds(totals.duration_ms)}, {_seconds(totals.tools_ms)} of it in tools"
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _number(name: str, goes: int = 0) -> Column:
    return Column(name, goes, is_number=True)


_TOKENS: Final = (_number("INPUT"), _number("CACHE READ", 2), _number("CACHE WRITTEN", 1), _number("OUTPUT"))
_COLUMNS: Final[dict[Rows, tuple[Column, ...]]] = {
    "runs": (
        _number("RUN"), Column("STATUS"), Column("MODEL", goes=5), _number("TIME", 4), _number("TOOLS", 3), *_TOKENS,
        _number("REPORTED"), _number("COMPUTED"),
    ),
    "messages": (
        _number("OFFSET", 5), Column("MESSAGE", goes=4), Column("MODEL", goes=6), _number("FIRST", 3), *_TOKENS,
        _number("REPORTED"), _number("COMPUTED"),
    ),
    "calls": (_number("OFFSET"), Column("CALL", goes=1), Column("TOOL"), _number("TIME"), Column("ERROR")),
    "subagents": (
        _number("OFFSET", 5), Column("CALL", goes=4), Column("MODEL", goes=6), _number("TIME"), _number("TOOLS", 3),
        *_TOKENS, _number("COMPUTED"),
    ),
}  # fmt: skip


def _cells(row: Row) -> tuple[str, ...]:
    match row:
        case RunRow():
            return (
                str(row.run), row.status, row.model or "?", _seconds(row.duration_ms), _seconds(row.tools_ms),
                *_shares(row.usage), format_dollars(row.cost), format_dollars(row.cost_computed),
            )  # fmt: skip
        case MessageRow():
            unknown = ("abandoned" if row.abandoned else "?", "", "", "")
            tokens = _shares(row.usage) if row.usage is not None else unknown
            return (
                str(row.offset), row.message_id or "", row.model or "?", _seconds(row.ttft_ms), *tokens,
                format_dollars(row.cost), format_dollars(row.cost_computed),
            )  # fmt: skip
        case CallRow():
            return (
                str(row.offset), row.call_id or "", row.tool, _seconds(row.duration_ms), "error" if row.error else "",
            )  # fmt: skip
        case SubagentRow():
            return (
                str(row.offset), row.call_id, row.model or "?", _seconds(row.duration_ms), _seconds(row.tools_ms),
                *_shares(row.usage), format_dollars(row.cost_computed),
            )  # fmt: skip


def _tokens(usage: Usage) -> str:
    plain, read, written, out = _shares(usage)
    return f"{plain} in, {read} cache read, {written} cache written, {out} out"


def _shares(usage: Usage) -> tuple[str, str, str, str]:
    """Return uncached input, input read from the cache and written to it, and output."""
    plain = usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens
    return f"{plain:,}", f"{usage.cache_read_tokens:,}", f"{usage.cache_write_tokens:,}", f"{usage.output_tokens:,}"


def _seconds(value: int | None) -> str:
    return "?" if value is None else f"{value / 1000:.1f} s"
