"""The index: its speed against decoding the same log, its size, and answers from it; all in CPU time of one process."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import msgspec

from bench.gateway import Row, fresh_root
from support.indexed import LONG, index_all, index_files
from support.logs import write_log
from workcast.broker.roots import Roots
from workcast.consumer.overview_page import overview_page
from workcast.consumer.stats_page import parse_query, stats_page
from workcast.ledger.prices import shipped_prices

_RUNS: Final = 100
_CALLS: Final = 1000
"""Of each run."""


def index(directory: Path) -> list[Row]:
    """Index runs of calls with their results and some chunks, and ask for figures of all of them."""
    root = fresh_root(directory, "index")
    logs = [list(_run(number)) for number in range(_RUNS)]
    for number, lines in enumerate(logs):
        write_log(root, f"wc{number}", lines)
    size = sum(len(line) + 1 for lines in logs for line in lines)
    decoding = _cpu_s(lambda: [msgspec.json.decode(line) for lines in logs for line in lines])
    indexing = _cpu_s(lambda: index_all(root))
    held = sum(path.stat().st_size for path in index_files(root))
    prices, query = shipped_prices(), parse_query("tool")
    stats = min(_cpu_s(lambda: stats_page(Roots(root), prices, query, LONG)) for _ in range(3))
    overview = min(_cpu_s(lambda: overview_page(root, "wc0", prices, 400, "offset", LONG)) for _ in range(3))
    return [
        ("msgspec decodes a log", f"{size / decoding / 1e6:.0f} MB/s", "1.00"),
        ("index: figures of the same log", f"{size / indexing / 1e6:.0f} MB/s", f"{decoding / indexing:.2f}"),
        ("… its size", f"{held / 1e6:.1f} MB of {size / 1e6:.0f} MB", f"{held / size:.2f}"),
        (f"stats by tool, {_RUNS * _CALLS:,} calls", f"{stats * 1e3:.0f} ms", ""),
        ("overview of a log", f"{overview * 1e3:.1f} ms", ""),
    ]


def _run(number: int) -> Iterable[bytes]:
    context = {"workcell_id": f"wc{number}", "toolchain": "claude", "model": "claude-opus-5-5"}

    def line(second: float, **fields: object) -> bytes:
        at = f"2026-11-22T{8 + int(second) // 3600:02d}:{int(second) // 60 % 60:02d}:{second % 60:06.3f}Z"
        return json.dumps({"timestamp": at, **context, **fields}).encode()

    yield line(0, type="started")
    for call in range(_CALLS):
        call_id, tool = f"toolu_{call}", ("Bash", "Read", "Edit", "Grep", "Task")[call % 5]
        for _ in range(4):
            yield line(call, type="response_chunk", content="some words of an answer", message_id=f"msg_{call}")
        yield line(call, type="tool_call", tool=tool, args={"command": "ls -la /some/where"}, call_id=call_id)
        yield line(call + (call * 7919 % 1000) / 1000, type="tool_result", result="x" * 100, call_id=call_id)
    yield line(_CALLS, type="completed", status="success")


def _cpu_s(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start
