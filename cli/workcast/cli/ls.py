"""``ls``: workcells and their state."""

from __future__ import annotations

import sys
from typing import Final

from workcast.broker.errors import RootError
from workcast.broker.log_summary import read_summary
from workcast.broker.price_file import current_prices
from workcast.broker.root import Root
from workcast.cli.gateway_client import fetch, gateway_url
from workcast.cli.listing import Column, Row, print_listing
from workcast.cli.printable import harmless_json
from workcast.consumer.protocol import Workcells
from workcast.ledger.prices import PriceTable
from workcast.ledger.summary import Summary

_TIMEOUT_SECONDS: Final = 10.0

_COLUMNS: Final = (
    Column("WORKCELL"),
    Column("STATUS"),
    Column("AGENT", goes=3),
    Column("EVENTS", goes=1, is_number=True),
    Column("COST", goes=2, is_number=True),
    Column("ACTIVITY", is_text=True),
)
_COLORS = {
    "running": "cyan",
    "success": "green",
    "failed": "red",
    "timeout": "red",
    "cancelled": "yellow",
    "lost": "red",
}


def list_fleet(root: Root, url: str | None, *, as_json: bool) -> None:
    """Print one line per workcell, with ``as_json`` a JSON object each.

    Raises:
        GatewayError: the gateway cannot be reached.
        PricesError: the price table cannot be read.
        RootError: the root is missing or cannot be read.
    """
    address = gateway_url(root, url)
    summaries = _from_gateway(address) if address else _from_files(root)
    if as_json:
        for summary in summaries:
            sys.stdout.write(harmless_json(summary.model_dump_json()) + "\n")
        return
    print_listing(_COLUMNS, map(_row, summaries))


def _row(summary: Summary) -> Row:
    cost = "" if summary.cost_usd is None else f"${summary.cost_usd:.2f}"
    agent = " ".join(filter(None, (summary.agent, summary.model)))
    cells = (summary.id, summary.status, agent, str(summary.head - summary.base), cost, summary.activity)
    return Row(cells, _COLORS.get(summary.status, ""))


def _from_gateway(address: str) -> list[Summary]:
    url = f"{address}/api/workcells"
    workcells = fetch(url, Workcells, f"list the workcells of {address}", _TIMEOUT_SECONDS).workcells
    return [workcell.summary or Summary(id=workcell.id) for workcell in workcells]


def _from_files(root: Root) -> list[Summary]:
    root.check()
    prices = current_prices()
    try:
        workcells = root.ids()
    except OSError as error:
        raise RootError(f"cannot read {error.filename or root.workcells}: {error.strerror}") from error
    return [_read(root, workcell, prices) for workcell in workcells]


def _read(root: Root, workcell: str, prices: PriceTable) -> Summary:
    """Return a workcell's summary, or why there is none: it must not hide the others."""
    try:
        return read_summary(root, workcell, prices)
    except OSError as error:
        return Summary(id=workcell, activity=f"cannot read {error.filename or workcell}: {error.strerror}")
