"""An index of a root in the test's own process, and what is in it."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

from workcast.broker.root import Root
from workcast.broker.roots import Roots
from workcast.consumer.protocol import StatsPage
from workcast.consumer.stats_page import parse_query, stats_page
from workcast.index.database import index_path, open_to_read
from workcast.index.indexer import Indexer
from workcast.index.store import Store
from workcast.ledger.prices import shipped_prices

LONG = 60.0


@contextmanager
def indexing(root: Root) -> Generator[Indexer]:
    """An indexer whose steps the test takes."""
    indexer = Indexer(root, shipped_prices())
    indexer.open()
    try:
        yield indexer
    finally:
        indexer.close()


def index_all(root: Root) -> None:
    """Index all logs to their ends."""
    with indexing(root) as indexer:
        finish(indexer)


def finish(indexer: Indexer) -> None:
    indexer.sweep()
    while indexer.has_changed:
        indexer.step()


def stats(root: Root, by: str, *, seconds: float = LONG) -> StatsPage:
    return stats_page(Roots(root), shipped_prices(), parse_query(by), seconds)


def heads(root: Root) -> dict[str, int]:
    """Return how far each log is indexed."""
    connection = open_to_read(root.state, shipped_prices().fingerprint)
    if connection is None:
        return {}
    with closing(connection):
        return {name: head for name, (_, head) in Store(connection).heads().items()}


def index_files(root: Root) -> list[Path]:
    return sorted(root.state.glob(f"{index_path(root.state).name}*"))


def soon() -> float:
    return time.monotonic() + LONG
