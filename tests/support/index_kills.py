"""A program that forks indexers and kills each, before any statement or at a random moment, while the logs grow."""

from __future__ import annotations

import os
import random
import signal
import sys
from functools import partial
from pathlib import Path

from support.forks import fork, kill_in_a_moment
from support.indexed import finish
from support.logs import write_log
from workcast.broker.root import Root
from workcast.index.indexer import Indexer
from workcast.ledger.prices import shipped_prices


def index(root: Root, statement: int | None, pipe: int) -> None:
    """Index in small parts, again and again; die before the SQL statement of this number, if one is given.

    A byte is written to ``pipe`` after each round.
    """
    indexer = Indexer(root, shipped_prices(), turn_bytes=2000)
    indexer.open()
    left = statement

    def count(_: str) -> None:
        nonlocal left
        left = left - 1 if left is not None else None
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    if indexer._store is not None:
        indexer._store.connection.set_trace_callback(count)
    while True:
        indexer.sweep()
        for _ in range(10):
            indexer.step()
            os.write(pipe, b".")
        if statement is not None and not indexer.has_changed:
            os.kill(os.getpid(), signal.SIGKILL)  # there were fewer


def main() -> None:
    root, lines, points = Root(Path(sys.argv[1])), Path(sys.argv[2]).read_bytes().splitlines(), int(sys.argv[3])
    random.seed(int(sys.argv[4]))
    for point in range(points):
        share = len(lines) // points
        for cell in ("a", "b", "c"):
            write_log(root, cell, lines[point * share : (point + 1) * share])
        statement = random.randrange(1, 60) if point % 3 else None
        child, read_end = fork(partial(index, root, statement))
        if statement is None:
            os.read(read_end, 1)
            kill_in_a_moment(child, 30_000)
        else:
            os.waitpid(child, 0)
        os.close(read_end)
    indexer = Indexer(root, shipped_prices())
    indexer.open()
    finish(indexer)
    indexer.close()


if __name__ == "__main__":
    main()
