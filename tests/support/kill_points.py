"""A program that forks writers and kills each at a random moment: 200 of them take seconds, not minutes."""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path

from support.forks import fork, kill_in_a_moment
from workcast.producer import TelemetryWriter


def write(path: Path, writer_id: int, pipe: int) -> None:
    """Emit without end; write a byte to ``pipe`` after each emit has returned."""
    with TelemetryWriter(path, {"workcell_id": "wc"}) as writer:
        number = 0
        while True:
            writer.response_chunk("x" * (number * 131 % 5000), writer=writer_id, number=number)
            os.write(pipe, b".")
            number += 1


def kill_one(path: Path, writer_id: int, after: int) -> int:
    """Fork a writer and kill it some time after ``after`` emits; return how many had returned."""
    child, read_end = fork(lambda pipe: write(path, writer_id, pipe))
    count = 0
    while count < after:
        count += len(os.read(read_end, after - count))
    kill_in_a_moment(child, 2000)  # somewhere within the emits that follow
    while piece := os.read(read_end, 65536):
        count += len(piece)
    os.close(read_end)
    return count


def main() -> None:
    path, points = Path(sys.argv[1]), int(sys.argv[2])
    random.seed(int(sys.argv[3]))
    returned = [kill_one(path, point, random.randrange(1, 30)) for point in range(points)]
    sys.stdout.write(json.dumps(returned))


if __name__ == "__main__":
    main()
