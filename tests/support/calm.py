"""Calm workcells beside hostile ones, under a real ``up``: their producers, their viewers, and checks of both."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

import psutil

from support.calm_writer import KIND
from support.chaos import lasting_port
from support.history_checker import Log, epochs_shown, problems
from support.processes import PROGRAM, Program, environment
from support.socket_viewers import SocketViewer
from support.waiting import wait_until, wait_until_async
from workcast.broker.log import LogReader
from workcast.broker.log_facts import epoch_of
from workcast.broker.root import Root
from workcast.events.wire import wire

WRITERS: Final = ("calm-0", "calm-1")
RUN: Final = "calm-run"
CALM: Final = (*WRITERS, RUN)
PAUSE_S: Final = 0.03
STEADY: Final = 3
"""Viewers that only watch, whose delays count."""
RESTLESS: Final = 2
"""Viewers that reconnect, subscribe again, pause and stop reading."""
SETTLED: Final = 90.0
"""Seconds within which every viewer must be complete after a fault."""
AGENT: Final = """
import sys, time
number = 0
while not __import__("os").path.exists("finish"):
    print("calm", number, flush=True)
    number += 1
    time.sleep(0.05)
open("count", "w").write(str(number))
"""


class TimedViewer(SocketViewer):
    """A viewer that measures how long each calm event took from its emit to here."""

    def __init__(self, ports: Sequence[int], random: Random) -> None:
        self.delays: list[tuple[float, float]] = []
        """For each event: when it came (seconds of the epoch), and its delay in seconds."""
        super().__init__(ports, dict.fromkeys(CALM, "start"), random)

    def _take(self, message: dict[str, Any]) -> None:
        super()._take(message)
        if message["op"] == "events":
            now = time.time_ns()
            self.delays += [
                (now / 1e9, (now - event["at_ns"]) / 1e9) for event in message["events"] if event["type"] == KIND
            ]


class CalmWorld:
    """A real ``up``, calm producers and their viewers, in one root.

    Used in a running event loop. A fault of ``up`` or its broker is mended at once.
    """

    def __init__(self, directory: Path, random: Random) -> None:
        self.random = random
        self.root = Root(directory / "root")
        self.root.directory.mkdir()
        self.root.prepare()
        self.port = lasting_port()
        self.complaints: list[str] = []
        """Tracebacks that ``up`` printed, and its unexpected exits."""
        self.disturbed: list[tuple[float, float]] = []
        """From each fault of ``up`` or its broker until every steady viewer was live again; the start is one, too."""
        self._producers: list[subprocess.Popen[bytes]] = []
        self._up = self._start()
        self.viewers = [TimedViewer([self.port], Random(random.random())) for _ in range(STEADY + RESTLESS)]

    # ── processes ────────────────────────────────────────────────────────────────────────────────────────────────────
    def _start(self) -> Program:
        return Program("up", "--root", str(self.root.directory), "--port", str(self.port))

    async def begin(self) -> None:
        """Start the producers, and wait until every viewer sees them."""
        for name in WRITERS:
            command = [sys.executable, "-m", "support.calm_writer", str(self.root.log(name)), name, str(PAUSE_S)]
            self._produce(command)
        words = ["run", "exec", "--root", str(self.root.directory), "--workcell", RUN, "--"]
        self._produce([str(PROGRAM), *words, sys.executable, "-IS", "-u", "-c", AGENT])
        await self._await_live()
        self.disturbed.append((0, time.time()))  # the start is not what is measured

    def _produce(self, command: list[str]) -> None:
        env = environment(PYTHONPATH=str(Path(__file__).parents[1]))
        pipe = subprocess.PIPE
        self._producers.append(
            subprocess.Popen(
                command, env=env, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, start_new_session=True
            )
        )

    async def _await_live(self) -> None:
        await wait_until_async(
            lambda: all(viewer.live == set(CALM) for viewer in self.viewers[:STEADY]), SETTLED, self._state()
        )

    def _state(self) -> str:
        shown = [(sorted(viewer.live), viewer.cursors) for viewer in self.viewers]
        return f"every steady viewer is live: {shown}\n{self._up.process.poll()}\n{self._up.err[-3000:]}"

    def end_producers(self) -> dict[str, int]:
        """Let the producers come to their end; return how many events, or lines, each has written."""
        (self.root.directory / "finish").touch()
        counts: dict[str, int] = {}
        for name, producer in zip(CALM, self._producers, strict=True):
            out, _ = producer.communicate(timeout=60)
            if producer.returncode:
                self.complaints.append(f"the producer of {name} exited with {producer.returncode}")
            counts[name] = int(out or (self.root.directory / "count").read_bytes())
        return counts

    def close(self) -> None:
        """End everything."""
        for producer in self._producers:
            if producer.poll() is None:
                for process in [*psutil.Process(producer.pid).children(recursive=True), psutil.Process(producer.pid)]:
                    with contextlib.suppress(psutil.Error):
                        process.kill()
                producer.wait()
        self._end()

    def _end(self) -> None:
        code = self._up.process.poll()
        if code is not None:
            self.complaints.append(f"up exited unexpectedly with {code}: {self._up.err[-3000:]}")
        self._up.__exit__(None, None, None)
        if (at := self._up.err.find("Traceback")) >= 0:
            self.complaints.append(self._up.err[max(0, at - 500) : at + 6000])

    # ── faults ───────────────────────────────────────────────────────────────────────────────────────────────────────
    async def disturb(self, fault: str) -> None:
        """Let something happen to ``up`` or its broker, and wait until every steady viewer is live again."""
        began = time.time()
        await asyncio.to_thread({"kill up": self._kill_up, "kill broker": self._kill_broker, "stop": self._stop}[fault])
        live_before = {viewer: len(viewer.history) for viewer in self.viewers[:STEADY]}
        await self._await_live()
        await wait_until_async(
            lambda: all(len(viewer.history) > count for viewer, count in live_before.items()), SETTLED, self._state()
        )
        self.disturbed.append((began, time.time() + 1))

    def _kill_up(self) -> None:
        self._end()
        self._up = self._start()

    def _broker(self) -> psutil.Process | None:
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(self._up.pid).children():
                if "valkey-server" in " ".join(child.cmdline()):
                    return child
        return None

    def _kill_broker(self) -> None:
        if (broker := self._broker()) is not None:
            broker.kill()

    def _stop(self) -> None:
        """Stop ``up`` and its broker for a moment, as a machine that is out of memory does."""
        processes = [psutil.Process(self._up.pid), *([broker] if (broker := self._broker()) else [])]
        for process in processes:
            with contextlib.suppress(psutil.Error):
                os.kill(process.pid, signal.SIGSTOP)
        stopped_at = time.monotonic()
        wait_until(lambda: time.monotonic() - stopped_at > self.random.uniform(0.1, 1.5))
        for process in processes:
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                os.kill(process.pid, signal.SIGCONT)

    # ── judgement ────────────────────────────────────────────────────────────────────────────────────────────────────
    def _lines(self, workcell: str) -> list[bytes]:
        return self.root.log(workcell).read_bytes().split(b"\n")[:-1]

    def _epoch(self, workcell: str) -> int:
        reader = LogReader(self.root.log(workcell))
        reader.refresh()
        return epoch_of(self.root, workcell, reader)

    async def complete(self) -> None:
        """Wait until every viewer has all events of all calm workcells."""
        for viewer in self.viewers:
            await viewer.settle()
        for workcell in CALM:
            epoch, end = self._epoch(workcell), len(self._lines(workcell))

            def all_are_there(workcell: str = workcell, epoch: int = epoch, end: int = end) -> bool:
                return all(viewer.is_at(workcell, epoch, end) for viewer in self.viewers)

            await wait_until_async(all_are_there, SETTLED, f"{workcell} at {end}: {self._state()}")

    def judge(self, counts: dict[str, int]) -> list[str]:
        """List what is wrong: in the logs, against what the producers have written, and in what the viewers got."""
        found = list(self.complaints)
        for workcell in CALM:
            lines = self._lines(workcell)
            events: list[dict[str, Any]] = [json.loads(line) for line in lines]
            if {event.get("workcell_id") for event in events} != {workcell}:
                found.append(f"{workcell} has foreign events")
            if workcell == RUN:
                text = "".join(event["output"] for event in events if event["type"] == "bash_output")
                numbers = [int(line.removeprefix("calm ")) for line in text.splitlines()]
                wrong = numbers != list(range(counts[RUN])) or events[-1]["type"] != "completed"
            else:
                wrong = [event["n"] for event in events if event["type"] == KIND] != list(range(counts[workcell]))
            if wrong:
                found.append(f"the log of {workcell} is not what its producer wrote")
            log = Log([wire(line) for line in lines])
            histories = [viewer.history for viewer in self.viewers]
            shown = epochs_shown(workcell, histories, [log])
            epoch = self._epoch(workcell)
            found += [f"epoch {one} of {workcell} showed other events" for one, fits in shown.items() if not fits]
            for number, viewer in enumerate(self.viewers):
                wrongs = problems(workcell, viewer.history, {epoch: log}, complete=epoch)
                found += [f"viewer {number}, {workcell}: {problem}" for problem in wrongs[:5]]
        return found

    def delays(self) -> tuple[list[float], list[float]]:
        """Return the delays at the steady viewers in seconds, sorted: all, and those outside of faults."""
        every = [delay for viewer in self.viewers[:STEADY] for delay in viewer.delays]
        calm = [delay for at, delay in every if not any(begin <= at <= end for begin, end in self.disturbed)]
        return sorted(delay for _, delay in every), sorted(calm)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which this share of sorted values lies."""
    return values[min(len(values) - 1, int(share * len(values)))]
