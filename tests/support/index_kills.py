"""A program that forks indexers and kills each at a random moment, while the logs grow."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

from support.forks import fork, kill_in_a_moment
from support.indexed import finish
from support.logs import write_log
from workcast.broker.root import Root
from workcast.index.indexer import Indexer
from workcast.ledger.prices import shipped_prices


def index(root: Root, pipe: int) -> None:
    """Index in small parts; write a byte to ``pipe`` after each round, and again and again once all is done."""
    indexer = Indexer(root, shipped_prices(), turn_bytes=2000)
    indexer.open()
    while True:
        indexer.sweep()
        for _ in range(10):
            indexer.step()
            os.write(pipe, b".")


def main() -> None:
    root, lines, points = Root(Path(sys.argv[1])), Path(sys.argv[2]).read_bytes().splitlines(), int(sys.argv[3])
    random.seed(int(sys.argv[4]))
    for point in range(points):
        share = len(lines) // points
        for cell in ("a", "b", "c"):
            write_log(root, cell, lines[point * share : (point + 1) * share])
        child, read_end = fork(lambda pipe: index(root, pipe))
        for _ in range(random.randrange(3)):
            os.read(read_end, 1)
        kill_in_a_moment(child, 30_000)
        os.close(read_end)
    indexer = Indexer(root, shipped_prices())
    indexer.open()
    finish(indexer)
    indexer.close()


if __name__ == "__main__":
    main()
