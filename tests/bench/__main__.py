"""``make bench``: the cost of an event at each step, as a ratio to a floor measured in the same run."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect as connect_viewer

from bench.ended_runs import ended_runs
from bench.fleet import fleet
from bench.gateway import Row, deliveries, fresh_root, many_viewers, memory, replay, stream_url
from bench.index import index
from bench.parse import parse
from bench.startup import startup
from bench.viewers import latencies, measure_viewer
from support.logs import event_line, write_log
from support.processes import Up
from support.waiting import wait_until
from workcast.broker.connection import connect
from workcast.broker.embedded import EmbeddedBroker
from workcast.broker.keys import feed_key, summary_key
from workcast.broker.relay import Relay
from workcast.broker.root import Root
from workcast.producer import TelemetryWriter

TEXT = "x" * 100


def seconds_per_call(call: Callable[[], object], count: int = 20_000) -> float:
    """Return the best of five rounds, to exclude the other load of the machine."""
    rounds: list[float] = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(count // 5):
            call()
        rounds.append((time.perf_counter() - start) / (count // 5))
    return min(rounds)


def emit(directory: Path) -> list[Row]:
    """Measure an emit against ``json.dumps``, write and flush on one open handle, without any guarantee."""

    def earlier(file: io.TextIOWrapper) -> None:
        event = {"type": "response_chunk", "timestamp": datetime.now(UTC).isoformat(), "content": TEXT}
        event |= {"role": "assistant", "workcell_id": "wc", "issue_id": "1", "toolchain": "claude", "model": "opus"}
        file.write(json.dumps(event) + "\n")
        file.flush()

    with (directory / "plain.jsonl").open("a") as file:
        floor = seconds_per_call(lambda: earlier(file))
    context = {"workcell_id": "wc", "issue_id": "1", "toolchain": "claude", "model": "opus"}
    with TelemetryWriter(directory / "emit" / "telemetry.jsonl", context) as writer:
        cost = seconds_per_call(lambda: writer.response_chunk(TEXT))
    return [
        ("json.dumps, write, flush on one handle", f"{floor * 1e6:.1f} µs", "1.00"),
        ("emit: validated, locked, whole after a crash", f"{cost * 1e6:.1f} µs", f"{cost / floor:.2f}"),
    ]


def relay(directory: Path) -> list[Row]:
    """Measure a backlog through the relay against pipelined, unchecked XADD of the same lines into one stream."""
    root = fresh_root(directory, "relay")
    count = 50_000
    lines = [event_line(number, TEXT) for number in range(count)]
    write_log(root, "wc", lines)
    with EmbeddedBroker(root) as broker:
        client: Any = connect(broker.url)
        start = time.perf_counter()
        for at in range(0, count, 512):
            with client.pipeline(transaction=False) as pipe:
                for line in lines[at : at + 512]:
                    pipe.xadd("floor", {"d": line})
                pipe.execute()
        floor = count / (time.perf_counter() - start)
        client.delete("floor")
        start = time.perf_counter()
        relaying = Relay(root, broker.url)
        relaying.start()
        wait_until(lambda: int(client.hget(summary_key("wc"), "head") or 0) == count, what="the whole log relayed")
        took = time.perf_counter() - start
        rate = int(client.xlen(feed_key(0))) / took
        latency = file_to_feed(root, client)
        relaying.close()
        client.close()
    return [
        ("XADD by redis-py, pipelined by 512", f"{floor:,.0f}/s", "1.00"),
        ("relay: synced, in stream and feed, folded", f"{rate:,.0f}/s", f"{rate / floor:.2f}"),
        ("file to feed, p50 / p99", f"{latency[0] * 1e3:.2f} / {latency[1] * 1e3:.2f} ms", ""),
    ]


def file_to_feed(root: Root, client: Any) -> tuple[float, float]:
    """Measure the seconds from an emit until a blocked XREAD returns the event."""
    times: list[float] = []
    with TelemetryWriter(root.log("wc")) as writer:
        for _ in range(300):
            last = client.xrevrange(feed_key(0), count=1)[0][0]
            start = time.perf_counter()
            writer.response_chunk(TEXT)
            client.xread({feed_key(0): last}, block=2000)
            times.append(time.perf_counter() - start)
    return percentiles(times)


def percentiles(times: list[float]) -> tuple[float, float]:
    cuts = statistics.quantiles(times, n=100)
    return cuts[49], cuts[98]


def emit_to_viewer(directory: Path, viewers: int, events: int = 300, pause: float = 0.01) -> list[Row]:
    """Measure from an emit in one process to its frame at a viewer in another, with ``viewers`` watching."""
    root = fresh_root(directory, f"viewers-{viewers}")
    with Up(root.directory) as up, TelemetryWriter(root.log("wc")) as writer:
        writer.started("claude")
        up.show("wc", 1)
        url = stream_url(up)
        with many_viewers(url, viewers - 1) if viewers > 1 else contextlib.nullcontext():
            times = asyncio.run(_measure(url, writer, events, pause))
    p50, p99 = percentiles(times)
    return [(f"emit to viewer, {viewers} viewers, p50 / p99", f"{p50 * 1e3:.2f} / {p99 * 1e3:.2f} ms", "")]


async def _measure(url: str, writer: TelemetryWriter, events: int, pause: float) -> list[float]:
    async with connect_viewer(url, compression=None) as socket:
        await measure_viewer(socket)
        received = asyncio.create_task(latencies(socket, events))
        for _ in range(events):
            writer.response_chunk(TEXT, at=time.monotonic())
            await asyncio.sleep(pause)
        return await received


def main() -> None:
    """Print each row as soon as it is measured."""
    parts: list[Callable[[Path], list[Row]]] = [
        emit,
        relay,
        partial(emit_to_viewer, viewers=1),
        partial(emit_to_viewer, viewers=100),
        partial(emit_to_viewer, viewers=1000, events=100, pause=0.1),
        deliveries,
        fleet,
        replay,
        memory,
        parse,
        index,
        startup,
        ended_runs,
    ]
    sys.stdout.write(f"{'what':<54}{'measured':>34}  ratio to the floor\n")
    with tempfile.TemporaryDirectory(prefix="workcast-bench-") as name:
        for part in parts:
            for what, measured, ratio in part(Path(name)):
                sys.stdout.write(f"{what:<54}{measured:>34}  {ratio}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
