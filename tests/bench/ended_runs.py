"""Thousands of ended runs: the seconds until ``up`` shows all of them, its memory, and its CPU time while idle."""

from __future__ import annotations

import json
import random
import shutil
import time
from pathlib import Path
from typing import Final

import httpx
import psutil
from websockets.sync.client import connect

from bench.gateway import Row, fresh_root, stream_url
from support.logs import event_line, write_log
from support.processes import Up
from support.waiting import wait_until
from workcast.broker.names import PROOF_FILE, RUN_LOCK_FILE
from workcast.broker.root import Root

_COMPLETED: Final = b'{"type":"completed","timestamp":"2026-01-01T00:00:01.000Z","status":"success","exit_code":0}'
_STARTED: Final = (
    b'{"type":"started","timestamp":"2026-01-01T00:00:00.000Z","toolchain":"claude","model":"opus","session_id":"s"}'
)
_DEADLINE_S: Final = 300.0


def ended_runs(directory: Path, short: int = 10_000, idle_seconds: float = 20.0) -> list[Row]:
    """Start an ``up`` twice on a root with ``short`` runs of 20 to 200 lines: the second time finds its own files."""
    root = fresh_root(directory, "ended")
    make_ended_runs(root, short)
    rows: list[Row] = []
    taken: dict[str, float] = {}
    for start in ("first", "second"):
        what = f"{start} start with {short:,} ended runs"
        taken = measure_start(root, short, idle_seconds if start == "second" else 0.0)
        rows += [(f"{what}: answers", f"{taken['answers']:.2f} s", "")]
        rows += [("… healthy, whole fleet", f"{taken['healthy']:.2f} / {taken['fleet']:.2f} s", "")]
        rows += [("… CPU time until then", f"{taken['cpu']:.2f} s", "")]
        rows += [("… memory of up + server (PSS)", f"{taken['up']:.0f} + {taken['server']:.0f} MB", "")]
    rows += [("… CPU while idle", f"{taken['idle']:.1f} % of a core", "")]
    shutil.rmtree(root.directory)
    return rows


def make_ended_runs(root: Root, short: int, long: int = 0) -> None:
    """Write the logs of ended runs: ``short`` of 20 to 200 lines, ``long`` of 10,000."""
    choose = random.Random(14)
    lines = [event_line(number, "x" * 80) for number in range(10_000)]
    for number in range(short + long):
        count = 10_000 if number < long else choose.randint(20, 200)
        workcell = f"claude-{number:05d}"
        first = _STARTED.replace(b'"s"', b'"%d"' % number)
        write_log(root, workcell, [first, *lines[: count - 2], _COMPLETED])
        (root.workcell(workcell) / PROOF_FILE).write_text("{}")
        (root.workcell(workcell) / RUN_LOCK_FILE).write_text("1\n")


def measure_start(root: Root, expected: int, idle_seconds: float = 0.0) -> dict[str, float]:
    """Start an ``up``, and measure seconds from its start, MB, and percent of a core."""
    began = time.perf_counter()
    with Up(root.directory) as up, httpx.Client(base_url=up.url, timeout=_DEADLINE_S) as client:
        taken = {"answers": time.perf_counter() - began}

        def is_healthy() -> bool:
            return client.get("/healthz").status_code == 200

        wait_until(is_healthy, _DEADLINE_S, "healthy")
        taken["healthy"] = time.perf_counter() - began
        _await_fleet(up, expected)
        taken["fleet"] = time.perf_counter() - began
        process = psutil.Process(up.pid)
        taken["cpu"] = _cpu(process)
        if idle_seconds:
            wait_until(lambda: _is_indexed(client), _DEADLINE_S, "all logs indexed, which follows a start")
            before = _cpu(process)
            time.sleep(idle_seconds)
            taken["idle"] = (_cpu(process) - before) / idle_seconds * 100
        server = psutil.Process(up.state("broker.json")["pid"])
        taken["up"], taken["server"] = _megabytes(process), _megabytes(server)
        up.interrupt()
        up.wait(60)
    return taken


def _await_fleet(up: Up, expected: int) -> None:
    """Watch the fleet, as the page does, until it shows that all runs have succeeded."""
    ended: set[str] = set()
    with connect(stream_url(up), compression=None, proxy=None, max_size=None) as viewer:
        viewer.send(json.dumps({"op": "subscribe", "fleet": True}))
        while len(ended) < expected:
            message = json.loads(viewer.recv(_DEADLINE_S))
            ended |= {one["id"] for one in message.get("workcells", ()) if one.get("status") == "success"}


def _is_indexed(client: httpx.Client) -> bool:
    return "\nworkcast_index_behind_events 0.0\n" in client.get("/metrics").text


def _cpu(process: psutil.Process) -> float:
    """CPU seconds of an ``up`` and its children, the embedded server among them."""
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return sum(one.user + one.system for one in times)


def _megabytes(process: psutil.Process) -> float:
    return process.memory_full_info().pss / 1e6
