"""``index``: keeps the index of roots; for ``up``, in a process of its own."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

from workcast.broker.price_file import usable_prices
from workcast.broker.root import Root
from workcast.broker.roots import Roots, parse_root
from workcast.cli.companion import keep_running, stop_at_eof
from workcast.cli.log_lines import log_to_stderr
from workcast.index.indexer import Indexer

_NICE: Final = 10
"""Other processes have precedence."""


def index_roots(roots: Roots) -> None:
    """Index until SIGINT or SIGTERM.

    Raises:
        WorkcastError: a root is missing, or cannot be written.
    """
    for root in roots.each:
        root.prepare()
    _run(_indexers(roots.each))


def index_beside(*roots: str) -> None:
    """Index at a low priority until stdin ends; :class:`Index` starts this."""
    log_to_stderr(verbose=False, timed=True)
    os.nice(_NICE)
    with suppress(psutil.Error, OSError, AttributeError):  # only Linux has priorities of reading and writing
        psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)
    indexers = _indexers([parse_root(Path(root)) for root in roots])
    stop_at_eof(lambda: _stop(indexers))
    _run(indexers)


def _indexers(roots: Sequence[Root]) -> list[Indexer]:
    """Make indexers that SIGINT and SIGTERM stop."""
    indexers = [Indexer(root, usable_prices()) for root in roots]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: _stop(indexers))
    return indexers


def _run(indexers: Sequence[Indexer]) -> None:
    threads = [threading.Thread(target=indexer.run, daemon=True) for indexer in indexers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _stop(indexers: Sequence[Indexer]) -> None:
    for indexer in indexers:
        indexer.stop()


class Index:
    """Keeps the index for an ``up``, in a process of its own.

    Args:
        roots: whose logs are indexed.
    """

    __name__ = "the indexer"

    def __init__(self, roots: Roots) -> None:
        self._roots = roots

    async def __call__(self, _root: Root, /) -> None:
        places = [f"{root.name}={root.directory}" if root.name else str(root.directory) for root in self._roots.each]
        await keep_running(self.__name__, "workcast.cli.index", "index_beside", places)
