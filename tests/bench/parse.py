"""Parsing: recorded stdout through the adapters, against a loop that decodes each line and builds one model."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import orjson
import psutil

from bench.gateway import Row
from support.recorded import RECORDED
from workcast.events.models import ResponseChunk
from workcast.producer.adapters import adapter_for
from workcast.producer.adapters.base import Adapter
from workcast.producer.adapters.claude import ClaudeAdapter
from workcast.producer.lines import LineSplitter
from workcast.producer.replay import Recording, relabel

_AT: Final = datetime(2026, 1, 1, tzinfo=UTC)
_READ_BYTES: Final = 1 << 16
_ROUND_BYTES: Final = 4 << 20
_AGENTS: Final = ("claude", "codex", "gemini", "opencode")


def parse(_: Path) -> list[Row]:
    """Measure each agent, all agents by turns, and the growth of memory in one long run.

    ``BENCH_PARSE_BYTES`` sets how much is read for each: 1 GB of all agents together takes about 20 seconds.
    """
    size = int(os.environ.get("BENCH_PARSE_BYTES", str(64 << 20)))
    rows: list[Row] = []
    for agents in (*((agent,) for agent in _AGENTS), _AGENTS):
        recorded = [recording for recording in RECORDED.values() if recording.agent in agents]
        rows += _speed(agents[0] if len(agents) == 1 else "all agents", recorded, size)
    return [*rows, _memory(RECORDED["claude-2.1.330-tools"], size)]


def _speed(name: str, recorded: Sequence[Recording], size: int) -> list[Row]:
    whole = [_stdout(recording) for recording in recorded]
    pieces = [(r.agent, _pieces(stdout)) for r, stdout in zip(recorded, whole, strict=True)]
    at_once = sum(map(len, whole))
    times = max(1, _ROUND_BYTES // at_once)
    floor = cost = float("inf")
    for _ in range(max(1, size // (times * at_once))):  # by turns, so that the machine's load hits both
        floor = min(floor, _seconds(lambda: _decode(whole), times))
        cost = min(cost, _seconds(lambda: _parse(pieces), times))
    per_second = times * at_once / 1e6
    return [
        (f"{name}: orjson and one model per line", f"{per_second / floor:,.0f} MB/s", "1.00"),
        (f"{name}: stdout to events", f"{per_second / cost:,.0f} MB/s", f"{floor / cost:.2f}"),
    ]


def _decode(recordings: Sequence[bytes]) -> None:
    for stdout in recordings:
        for line in stdout.split(b"\n"):
            if line:
                decoded = orjson.loads(line)
                ResponseChunk(timestamp=_AT, content=decoded["type"])


def _parse(recordings: Sequence[tuple[str, Sequence[bytes]]]) -> None:
    for agent, pieces in recordings:
        _feed(adapter_for(agent)(), LineSplitter(), pieces)


def _feed(adapter: Adapter, lines: LineSplitter, pieces: Sequence[bytes]) -> None:
    for piece in pieces:
        for line in lines.feed(piece):
            adapter.feed(line, _AT)


def _memory(recording: Recording, size: int) -> Row:
    """Measure one run of ``size`` bytes: the same turn again and again, each time with new ids."""
    adapter, lines = ClaudeAdapter(), LineSplitter()
    process = psutil.Process()
    done, number, resident = 0, 0, list[int]()
    for share in (0.1, 0.5, 1.0):
        while done < size * share:
            number += 1
            turn = b"".join(relabel(timed.line, number) + b"\n" for timed in recording.lines)
            _feed(adapter, lines, _pieces(turn))
            done += len(turn)
        resident.append(process.memory_info().rss)
    shown = " / ".join(f"{rss / 2**20:.1f}" for rss in resident)
    return f"RSS at 10 / 50 / 100 % of a run of {size >> 20} MiB", f"{shown} MiB", ""


def _stdout(recording: Recording) -> bytes:
    return b"".join(timed.line + b"\n" for timed in recording.lines)


def _pieces(stdout: bytes) -> list[bytes]:
    return [stdout[at : at + _READ_BYTES] for at in range(0, len(stdout), _READ_BYTES)]


def _seconds(work: Callable[[], None], times: int) -> float:
    start = time.process_time()
    for _ in range(times):
        work()
    return time.process_time() - start


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="workcast-bench-") as directory:
        for row in parse(Path(directory)):
            sys.stdout.write("{:<54}{:>34}  {}\n".format(*row))
