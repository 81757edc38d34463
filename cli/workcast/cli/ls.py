"""``ls``: workcells and their state."""

from __future__ import annotations

import sys
from typing import Any, Final

import httpx
from pydantic import ValidationError

from workcast.broker.errors import RootError
from workcast.broker.log import LogReader
from workcast.broker.log_facts import epoch_of
from workcast.broker.price_file import current_prices
from workcast.broker.root import Root
from workcast.broker.run_lock import writer_signs
from workcast.cli.gateway_client import GatewayError, gateway_url
from workcast.cli.listing import Column, Row, print_listing
from workcast.cli.printable import harmless_json
from workcast.consumer.protocol import Workcells
from workcast.events.wire import inspect
from workcast.ledger.lost import as_lost, is_lost
from workcast.ledger.prices import PriceTable
from workcast.ledger.summary import Fold, Summary
from workcast.ledger.tally import Tally

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
    """Print a line a workcell, or with ``as_json`` an object of JSON a line.

    Raises:
        GatewayError: the gateway cannot be reached.
        PricesError: the price table cannot be read.
        RootError: the root is not there.
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
    try:
        reply = httpx.get(f"{address}/api/workcells", timeout=10, trust_env=False).raise_for_status()
        workcells = Workcells.model_validate_json(reply.content).workcells
    except httpx.HTTPStatusError as error:
        raise GatewayError(f"cannot list the workcells of {address}: HTTP {error.response.status_code}") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise GatewayError(f"cannot list the workcells of {address}: {error}; is workcast up there?") from error
    except ValidationError as error:
        raise GatewayError(f"expected a workcast gateway at {address}, got an answer of something else") from error
    return [workcell.summary or Summary(id=workcell.id) for workcell in workcells]


def _from_files(root: Root) -> list[Summary]:
    root.check()
    prices = current_prices()
    try:
        return [_fold(root, workcell, prices) for workcell in root.ids()]
    except OSError as error:
        raise RootError(f"cannot read {error.filename or root.workcells}: {error.strerror}") from error


def _fold(root: Root, workcell: str, prices: PriceTable) -> Summary:
    """A workcell's summary straight from its log: as slow as the log is long."""
    reader = LogReader(root.log(workcell))
    signs = writer_signs(root.workcell(workcell))
    reader.refresh()
    fold = Fold(offset=reader.base, tally=Tally(prices))
    while fold.offset < reader.end:
        lines: list[bytes] = reader.read(fold.offset, 4096, 4 << 20).lines
        if not lines:
            break  # it was replaced meanwhile
        for line in lines:
            event: dict[str, Any] | None = inspect(line)[1]
            fold.add(event)
    summary = fold.summary(workcell, epoch_of(root, workcell, reader), reader.base, "")
    return as_lost(summary) if fold.offset > reader.base and is_lost(fold.status, signs) else summary
