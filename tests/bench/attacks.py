"""Attacks: what an innocent viewer's events and pings take while others attack the gateway (``make bench-attacks``).

Calm and attacked periods take turns, so that the machine's other load meets both. ``BENCH_ATTACKS=pings,resets``
chooses attacks, ``BENCH_ATTACK_EVENTS`` the length of the large log, ``BENCH_ATTACK_ROUNDS`` the number of turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import psutil
from websockets.asyncio.client import ClientConnection, connect

from bench.attackers import LARGE, attacks
from bench.gateway import fresh_root, stream_url
from bench.viewers import measure_viewer
from support.logs import event_line, write_log
from support.processes import Up
from support.waiting import wait_until_async
from workcast.broker.root import Root
from workcast.producer import TelemetryWriter

_EVENTS: Final = int(os.environ.get("BENCH_ATTACK_EVENTS", "1000000"))
_ROUNDS: Final = int(os.environ.get("BENCH_ATTACK_ROUNDS", "3"))
_CHOSEN: Final = os.environ.get("BENCH_ATTACKS", "")
_PERIOD_S: Final = 4.0
_SETTLING_S: Final = 1.0
"""After an attack has begun or ended, before the next measurement."""
_PAUSE_S: Final = 0.02
"""Between two events, and between two pings."""


@dataclass
class Times:
    """What events and pings took, in seconds."""

    events: list[float] = field(default_factory=list[float])
    pings: list[float] = field(default_factory=list[float])

    def add(self, other: Times) -> None:
        self.events += other.events
        self.pings += other.pings


class Innocent:
    """A viewer of a workcell with an event every 20 ms, which also pings the gateway every 20 ms."""

    def __init__(self, socket: ClientConnection, writer: TelemetryWriter) -> None:
        self._socket, self._writer = socket, writer
        self._times = Times()
        self._sent: dict[int, float] = {}
        self._pinged: list[float] = []
        self.counting = False

    async def read(self) -> None:
        """Note the seconds from each event's emit, and from each ping, to its arrival."""
        async for text in self._socket:
            now, message = time.monotonic(), json.loads(text)
            if message["op"] == "pong":
                sent = self._pinged.pop(0)
                if self.counting:
                    self._times.pings.append(now - sent)
            elif message["op"] == "events" and self.counting:
                self._times.events += [now - event["at"] for event in message["events"] if "at" in event]

    async def act(self) -> None:
        """Emit and ping, on time whatever the gateway does."""
        due = time.monotonic()
        while True:
            self._writer.response_chunk("x" * 100, at=time.monotonic())
            await asyncio.sleep(max(0.0, due + _PAUSE_S / 2 - time.monotonic()))
            self._pinged.append(time.monotonic())
            await self._socket.send('{"op":"ping"}')
            due += _PAUSE_S
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def calm_down(self) -> None:
        """Wait until what an attack has left is done: every ping is answered before the next, for a quarter second."""
        prompt = 0

        def is_calm() -> bool:
            nonlocal prompt
            prompt = prompt + 1 if len(self._pinged) <= 1 else 0
            return prompt >= 50

        with contextlib.suppress(AssertionError):  # measured as it is then
            await wait_until_async(is_calm, 30)

    async def measure(self, seconds: float) -> Times:
        """Return the times of the events and pings answered in the next seconds."""
        self._times, self.counting = Times(), True
        await asyncio.sleep(seconds)
        late = [time.monotonic() - sent for sent in self._pinged if time.monotonic() - sent > _PAUSE_S]
        self.counting = False
        self._times.pings += late
        return self._times


@contextlib.contextmanager
def attacker(kind: str, url: str) -> Generator[subprocess.Popen[bytes]]:
    place = urlsplit(url)
    command = [sys.executable, "-m", "bench.attackers", kind, str(place.hostname), str(place.port)]
    environment = {**os.environ, "PYTHONPATH": "tests"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process
        process.stdin.close()
        process.wait(30)


async def compare(kind: str, url: str, innocent: Innocent, gateway: psutil.Process) -> str:
    """Return a row: the innocent viewer's times in calm and under one attack, and their ratio."""
    calm, attacked = Times(), Times()
    used = 0.0
    for _ in range(_ROUNDS):
        await innocent.calm_down()
        calm.add(await innocent.measure(_PERIOD_S))
        with attacker(kind, url) as process:
            assert process.stdout is not None
            if kind != "idle_sockets":
                await asyncio.to_thread(process.stdout.readline)
            before = cpu(gateway)
            attacked.add(await innocent.measure(_PERIOD_S))
            used += cpu(gateway) - before
            if kind == "idle_sockets":  # measured while they connect, and once they are idle
                await asyncio.to_thread(process.stdout.readline)
                attacked.add(await innocent.measure(_PERIOD_S))
        await asyncio.sleep(_SETTLING_S)
    cells = [f"{kind:<18}"]
    for what, quiet, loud in (("events", calm.events, attacked.events), ("pings", calm.pings, attacked.pings)):
        (p50, p99), (high50, high99) = percentiles(quiet), percentiles(loud)
        cells.append(
            f"{what} {p50 * 1e3:5.1f} /{p99 * 1e3:6.1f} → {high50 * 1e3:6.1f} /{high99 * 1e3:7.1f} ms "
            f"{high99 / p99:6.2f}   "
        )
    return "".join(cells) + f"CPU {used / _ROUNDS / _PERIOD_S * 100:3.0f} %  n {len(attacked.events)}"


def percentiles(times: list[float]) -> tuple[float, float]:
    cuts = statistics.quantiles(times or [float("inf")] * 2, n=100)
    return cuts[49], cuts[98]


def cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


async def run(root: Root) -> None:
    with Up(root.directory) as up, TelemetryWriter(root.log("wc"), relay=False) as writer:
        writer.started("claude")
        await asyncio.to_thread(up.show, "wc", 1)
        await asyncio.to_thread(up.show, LARGE, _EVENTS)
        place = urlsplit(up.url)
        names = _CHOSEN.split(",") if _CHOSEN else list(attacks((str(place.hostname), place.port or 0)))
        async with connect(stream_url(up), compression=None, proxy=None, ping_interval=None, max_queue=None) as socket:
            await measure_viewer(socket)
            innocent = Innocent(socket, writer)
            tasks = [asyncio.create_task(innocent.read()), asyncio.create_task(innocent.act())]
            await wait_until_async(lambda: not any(task.done() for task in tasks))
            await asyncio.sleep(_SETTLING_S)
            for name in names:
                row = await compare(name, up.url, innocent, psutil.Process(up.pid))
                memory = psutil.Process(up.pid).memory_info().rss / 1e6
                sys.stdout.write(f"{row}  RSS {memory:.0f} MB\n")
                sys.stdout.flush()
                for task in tasks:
                    if task.done():
                        await task
            for task in tasks:
                task.cancel()


def main() -> None:
    """Print each row as soon as it is measured: p50 and p99, calm → attacked, and the ratio of the p99."""
    with tempfile.TemporaryDirectory(prefix="workcast-attacks-") as name:
        root = fresh_root(Path(name), "root")
        for start in range(0, _EVENTS, 50_000):
            write_log(root, LARGE, [event_line(n, "x" * 60) for n in range(start, min(start + 50_000, _EVENTS))])
        asyncio.run(run(root))


if __name__ == "__main__":
    main()
