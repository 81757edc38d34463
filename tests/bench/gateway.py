"""The gateway: deliveries per CPU second, replay from each tier, memory per viewer."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import httpx
import psutil
from websockets.sync.client import connect

from support.logs import event_line, write_log
from support.processes import Up
from support.waiting import wait_until
from workcast.broker.root import Root
from workcast.producer import TelemetryWriter

Row = tuple[str, str, str]


@contextmanager
def many_viewers(url: str, count: int, *, fleet: bool = False) -> Generator[None]:
    """Run ``count`` live viewers of ``wc``, or of the fleet, in another process."""
    command = [sys.executable, "-m", "bench.viewers", url, str(count), *(("fleet",) if fleet else ())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": "tests"}) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield
        process.terminate()


def fresh_root(directory: Path, name: str) -> Root:
    root = Root(directory / name)
    root.directory.mkdir()
    root.prepare()
    return root


def stream_url(up: Up) -> str:
    return f"ws{up.url.removeprefix('http')}/api/stream"


def deliveries(directory: Path, viewers: int = 200, rate: int = 1000, seconds: float = 5.0) -> list[Row]:
    """Measure events delivered per second of the gateway's CPU time (relay, hub and sessions together)."""
    root = fresh_root(directory, "deliveries")
    with Up(root.directory) as up, TelemetryWriter(root.log("wc")) as writer:
        writer.started("claude")
        up.show("wc", 1)
        with many_viewers(stream_url(up), viewers):
            process = psutil.Process(up.pid)
            before, start = process.cpu_times(), time.perf_counter()
            count = int(rate * seconds)
            for number in range(count):
                writer.response_chunk("x" * 100)
                ahead = start + number / rate - time.perf_counter()
                if ahead > 0:
                    time.sleep(ahead)
            took = time.perf_counter() - start
            after = process.cpu_times()
    cpu = after.user + after.system - before.user - before.system
    return [
        (
            f"deliveries at {count / took:,.0f} events/s to {viewers} viewers",
            f"{viewers * count / cpu:,.0f} per CPU s",
            "",
        ),
        ("… CPU of the gateway and relay", f"{cpu / took * 100:.0f} %", ""),
    ]


def replay(directory: Path) -> list[Row]:
    """Measure events per second to one viewer: the newest from memory and stream, a long log from its file."""
    root = fresh_root(directory, "replay")
    count = 200_000
    write_log(root, "wc", [event_line(number, "x" * 100) for number in range(count)])
    rows: list[Row] = []
    with Up(root.directory) as up:
        for name, place, expected in (
            ("stream", {"last": 9_000}, 9_000), ("ring", {"last": 9_000}, 9_000), ("log", "start", count),
        ):  # fmt: skip
            with connect(stream_url(up), compression=None, proxy=None, max_size=None) as viewer:
                viewer.send(json.dumps({"op": "subscribe", "workcell": "wc", "from": "tail"}))
                wait_until(partial(_is_relayed, up, count))
                if name == "ring":  # events pushed while a viewer watches are in memory
                    write_log(root, "wc", [event_line(number, "x" * 100) for number in range(9_000)])
                    count += 9_000
                    wait_until(partial(_is_relayed, up, count))
                start = time.perf_counter()
                viewer.send(json.dumps({"op": "subscribe", "workcell": "wc", "from": place}))
                got = 0
                answered = False
                while got < expected:
                    message = json.loads(viewer.recv(20))
                    answered = answered or (message["op"] == "subscribed" and message["offset"] < count)
                    got += len(message["events"]) if answered and message["op"] == "events" else 0
                rows.append((f"replay from {name}", f"{got / (time.perf_counter() - start):,.0f} events/s", ""))
    return rows


def _is_relayed(up: Up, head: int) -> bool:
    reply = httpx.get(f"{up.url}/api/workcells/wc/events?limit=1")
    return reply.status_code == 200 and reply.json()["head"] == head


def memory(directory: Path, viewers: int = 500, frozen: int = 50) -> list[Row]:
    """Measure resident memory of ``up`` per idle viewer, and per viewer that never reads while 20 MB pass."""
    root = fresh_root(directory, "memory")
    with Up(root.directory) as up, TelemetryWriter(root.log("wc")) as writer, ExitStack() as stack:
        writer.started("claude")
        up.show("wc", 1)
        process = psutil.Process(up.pid)
        with many_viewers(stream_url(up), 5):
            start = process.memory_info().rss
            with many_viewers(stream_url(up), viewers):
                idle = (process.memory_info().rss - start) / viewers
        for _ in range(frozen):
            one = stack.enter_context(connect(stream_url(up), compression=None, proxy=None, close_timeout=0))
            one.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.send(json.dumps({"op": "subscribe", "workcell": "wc", "from": "tail"}))
        before = process.memory_info().rss
        for _ in range(2000):
            writer.response_chunk("x" * 10_000)
        with many_viewers(stream_url(up), 1):  # live: everything has passed
            stuck = (process.memory_info().rss - before) / frozen
    return [
        ("memory of an idle viewer", f"{idle / 1024:.0f} KiB", ""),
        ("memory of a frozen viewer, shared ring included", f"{stuck / 1024:.0f} KiB", ""),
    ]
