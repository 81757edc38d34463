"""The fleet: the CPU time of a gateway whose viewers all watch a fleet in which a quarter of the workcells change."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

import psutil

from bench.gateway import Row, fresh_root, many_viewers, stream_url
from support.processes import Up
from workcast.broker.connection import connect
from workcast.broker.embedded import EmbeddedBroker
from workcast.broker.keys import feed_key, summary_key, workcells_key
from workcast.ledger.summary import Summary, to_json

_WORKCELLS: Final = 200
_CHANGING: Final = 50
_TICK_S: Final = 0.25


def fleet(directory: Path, viewers: int = 300, seconds: float = 5.0) -> list[Row]:
    """CPU time of the gateway per tick of a quarter second, with one viewer and with many."""
    root = fresh_root(directory, "fleet")
    with EmbeddedBroker(root) as broker, Up(root.directory, "--redis-url", broker.url, verb="serve") as gateway:
        client: Any = connect(broker.url)
        for number in range(_WORKCELLS):
            _change(client, number, 0)
        costs: dict[int, float] = {}
        for count in (1, viewers):
            with many_viewers(stream_url(gateway), count, fleet=True):
                costs[count] = _cpu_per_tick(gateway.pid, client, seconds)
        client.close()
    what = f"fleet, {_CHANGING} of {_WORKCELLS} workcells changing"
    return [
        (f"{what}, 1 viewer", f"{costs[1] * 1e3:.1f} ms CPU per {_TICK_S * 1e3:.0f} ms", "1.00"),
        (
            f"… {viewers} viewers",
            f"{costs[viewers] * 1e3:.1f} ms CPU per {_TICK_S * 1e3:.0f} ms",
            f"{costs[viewers] / costs[1]:.2f}",
        ),
    ]


def _cpu_per_tick(pid: int, client: Any, seconds: float) -> float:
    process = psutil.Process(pid)
    before, start = process.cpu_times(), time.perf_counter()
    ticks = int(seconds / _TICK_S)
    for tick in range(1, ticks + 1):
        for number in range(_CHANGING):
            _change(client, (tick * _CHANGING + number) % _WORKCELLS, tick)
        ahead = start + tick * _TICK_S - time.perf_counter()
        if ahead > 0:
            time.sleep(ahead)
    after = process.cpu_times()
    return (after.user + after.system - before.user - before.system) / ticks


def _change(client: Any, number: int, head: int) -> None:
    """Write one summary and one feed entry, as a relay that has published an event does."""
    name = f"wc-{number:03d}"
    summary = Summary(
        id=name, epoch=1, head=head, status="running", agent="claude", model="opus", counts={"response_chunk": head},
        activity=f"answering {head}", origin="bench",
    )  # fmt: skip
    fields = {"epoch": 1, "head": head, "base": 0, "origin": "bench", "json": to_json(summary)}
    with client.pipeline(transaction=False) as pipe:
        pipe.hset(summary_key(name), mapping=fields)
        pipe.zadd(workcells_key(0), {name: head})
        pipe.xadd(feed_key(0), {"w": name, "e": 1, "o": max(head - 1, 0), "d": "{}"}, maxlen=10_000)
        pipe.execute()
