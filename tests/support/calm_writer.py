"""A producer of known content, as a program: numbered events with the time of each, until its stdin ends.

Run with the path of a log, its workcell's id and the pause between two events in seconds; prints how many it wrote.
"""

from __future__ import annotations

import select
import sys
import time

from workcast.producer import TelemetryWriter

KIND = "calm"


def main() -> None:
    path, workcell, pause = sys.argv[1:]
    number = 0
    with TelemetryWriter(path, {"workcell_id": workcell}) as writer:
        while not select.select([sys.stdin], [], [], float(pause))[0]:
            writer.emit(KIND, {"n": number, "at_ns": time.time_ns()})
            number += 1
    print(number)


if __name__ == "__main__":
    main()
