"""``search``: what in the logs answers a question."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Final, TypeAlias

from pydantic import ValidationError

from workcast.broker.history import History
from workcast.broker.log_summary import read_summary
from workcast.broker.price_file import current_prices
from workcast.broker.root import Root
from workcast.broker.roots import Roots
from workcast.cli.gateway_client import GatewayError, gateway_url, stream_lines
from workcast.cli.listing import Column, Row, print_listing
from workcast.cli.messages import say
from workcast.cli.printable import harmless_json
from workcast.consumer.protocol import SearchEnd, SearchHit
from workcast.consumer.search_page import hit_line
from workcast.index.log_scan import SearchedLog
from workcast.index.search import Search, Starts
from workcast.question.parse import parse_question

_TIMEOUT_SECONDS: Final = 300.0
"""Without a line: a search of many gigabytes may find nothing for long."""
_TURN_SECONDS: Final = 0.2
_TURN_HITS: Final = 1000
_LIMIT: Final = 100
_BEFORE_MARK: Final = 30
"""Code points of a snippet that are printed before what was found, so that a narrow terminal shows that."""

_COLUMNS: Final = (
    Column("WORKCELL"),
    Column("OFFSET", is_number=True),
    Column("TIME", goes=2),
    Column("TYPE", goes=1),
    Column("FOUND", is_text=True),
)
Found: TypeAlias = SearchHit | SearchEnd


def search(root: Root, question: str, limit: int | None, url: str | None, *, as_json: bool) -> None:
    """Print a line for each hit, the newest workcell first; with ``as_json`` a JSON object each, as they are found.

    Args:
        limit: of hits; 0: all; None: 100 as text, all as JSON.

    Raises:
        GatewayError: the gateway cannot be reached.
        PricesError: the price table cannot be read.
        QuestionError: the question is malformed.
        RootError: the root is missing or cannot be read.
    """
    limit = (0 if as_json else _LIMIT) if limit is None else limit
    parse_question(question, datetime.now(UTC))  # a malformed one is reported alike with and without a gateway
    address = gateway_url(root, url)
    lines = _from_gateway(address, question, limit) if address else _from_files(root, question)
    with closing(lines):
        hits = islice(_hits(lines), limit or None)
        if as_json:
            for hit in hits:
                sys.stdout.write(harmless_json(hit.model_dump_json()) + "\n")
        else:
            print_listing(_COLUMNS, map(_row, hits))
        if limit and next(_hits(lines), None) is not None:
            say(f"the first {limit} hits; --limit N shows more, --limit 0 all")


def _hits(lines: Iterator[Found]) -> Iterator[SearchHit]:
    """Yield the hits; say what the end says is missing."""
    for line in lines:
        if isinstance(line, SearchHit):
            yield line
        elif line.skipped:
            say(f"{line.skipped} logs could not be read, or were replaced meanwhile: they were not searched")


def _row(hit: SearchHit) -> Row:
    at = hit.marks[0][0] if hit.marks else 0
    start = max(0, at - _BEFORE_MARK)
    text = ("…" if start else "") + " ".join(hit.snippet[start:].split())
    return Row((hit.workcell, str(hit.offset), hit.timestamp or "", hit.type, text))


def _from_gateway(address: str, question: str, limit: int) -> Generator[Found]:
    query: dict[str, str | int] = {"q": question, **({"limit": limit + 1} if limit else {})}
    purpose = f"search the logs of {address}"
    for line in stream_lines(f"{address}/api/search", purpose, _TIMEOUT_SECONDS, query):
        try:
            yield (SearchEnd if b'"done"' in line[:8] else SearchHit).model_validate_json(line)
        except ValidationError as error:
            raise GatewayError(f"cannot {purpose}: expected a workcast gateway there, got another program") from error


def _from_files(root: Root, question: str) -> Generator[Found]:
    root.check()
    history = History(Roots(root))
    prices = current_prices()
    logs, unreadable = _logs(root, history)
    summary = partial(read_summary, root, prices=prices)
    asked = parse_question(question, datetime.now(UTC))
    found = Search(asked, logs, history, Starts(history), summary)
    total = 0
    while not found.is_done:
        hits = found.advance(_TURN_SECONDS, _TURN_HITS)
        total += len(hits)
        for hit in hits:
            yield SearchHit.model_validate_json(hit_line(hit))
    skipped = found.skipped + unreadable
    yield SearchEnd(total=total, next=None, complete=not skipped, scanned=found.scanned, skipped=skipped)


def _logs(root: Root, history: History) -> tuple[list[SearchedLog], int]:
    logs: list[SearchedLog] = []
    unreadable = 0
    for workcell in root.ids():
        try:
            extent = history.extent(workcell)
        except OSError:
            unreadable += 1
            continue
        if extent is not None:
            logs.append(SearchedLog(workcell, root.directory.name, extent.epoch, extent.base, extent.end))
    return logs, unreadable
