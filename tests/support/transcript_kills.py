"""A program that imports a session's files in forked processes, and kills each at a random moment."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

from support.forks import fork, kill_in_a_moment
from support.transcripts import import_session, transcript_at
from workcast.broker.root import Root
from workcast.producer.transcripts.session_log import SessionLog

SLICE_BYTES = 3000


def import_slowly(root: Root, paths: list[Path], pipe: int) -> None:
    """Import one small slice after another; write a byte to ``pipe`` after each."""
    session = SessionLog(root, transcript_at(paths[0]).workcell)
    for path in paths:
        session.add(transcript_at(path))
    while True:
        more = session.sync(SLICE_BYTES)
        os.write(pipe, b".")
        if not more:
            session.settle(final=True)
            os.write(pipe, b"!")


def kill_one(root: Root, paths: list[Path], after: int) -> None:
    """Fork an importer and kill it some time after ``after`` slices."""
    child, read_end = fork(lambda pipe: import_slowly(root, paths, pipe))
    for _ in range(after):
        if os.read(read_end, 1) != b".":
            break
    kill_in_a_moment(child, 20_000)  # somewhere within the slice that follows
    os.close(read_end)


def main() -> None:
    root, kills = Root(Path(sys.argv[1])), int(sys.argv[2])
    random.seed(int(sys.argv[3]))
    paths = [Path(word) for word in sys.argv[4:]]
    root.prepare()
    for _ in range(kills):
        kill_one(root, paths, random.randrange(4))
    import_session(root, *paths)


if __name__ == "__main__":
    main()
