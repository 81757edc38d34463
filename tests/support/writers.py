"""Programs that append to a log in processes of their own, to be torn off at any moment."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from workcast.broker.log import Appender


def append_numbered(path: Path, name: str, count: int, size: int) -> None:
    """Append ``count`` events, and tell on stdout the number of each one that is in the log for certain."""
    with Appender(path) as appender:
        for number in range(count):
            line = f'{{"type":"x","from":"{name}","n":{number},"pad":"{"." * size}"}}\n'
            appender.append(line.encode())
            os.write(1, b"%d\n" % number)


if __name__ == "__main__":
    append_numbered(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
