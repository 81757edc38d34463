"""A system of real processes (broker, relay, gateways, writers, viewers), and every fault that can happen to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import tempfile
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

from redis.exceptions import RedisError

from support.logbook import Logbook
from support.logs import event_line
from support.processes import Program
from support.socket_viewers import SocketViewer
from support.valkey import ReplicatedServer
from support.writers import Writers
from workcast.broker.connection import connect
from workcast.broker.keys import feed_key, stream_key, summary_key
from workcast.broker.root import Root

WORKCELLS: Final = ("one", "two")
_GATEWAYS: Final = 2
_ENVIRONMENT: Final = {
    "WORKCAST_RING_BYTES": "30000",  # small, so that the stream and the log are read too
    "WORKCAST_MAX_FRAME_BYTES": "12000",
    "WORKCAST_REDIS_PATIENCE": "60",
}
_ODD: Final = (
    b"no json",
    b"\xff\xfe",
    b"[]",
    b"",
    b'{ "type" :"odd" ,\t"n": 1.0 }  ',
    b'{"type":"x","s":"\xe2\x82\xac"}',
)


class World:
    """The processes of one root. A fault lasts until :meth:`heal`, or until another fault of the same part."""

    def __init__(self, directory: Path, random: Random) -> None:
        self.random = random
        self.root = Root(directory / "root")
        self.root.directory.mkdir()
        self.root.prepare()
        (directory / "broker").mkdir()
        self.server = ReplicatedServer(directory / "broker")
        self._replicated = False
        self.viewers: list[SocketViewer] = []
        self.logbooks = {name: Logbook(self.root, name, directory / name) for name in WORKCELLS}
        self.ports = [lasting_port() for _ in range(_GATEWAYS)]
        self._relay: Program | None = None
        self._gateways: dict[int, Program] = {}
        self._stopped: set[int] = set()
        self._writers = Writers()
        self._writing: list[tuple[contextlib.ExitStack, int]] = []
        self._lines = 0
        self.complaints: list[str] = []
        """Tracebacks that a process printed, and unexpected exits."""

    @contextlib.contextmanager
    def running(self) -> Generator[World]:
        """Start everything; end it with the context."""
        try:
            for logbook in self.logbooks.values():
                logbook.replace([self._line()])
            self.heal()
            yield self
        finally:
            self.end_writers()
            self._writers.close()
            for logbook in self.logbooks.values():
                logbook.close()
            for program in (self._relay, *self._gateways.values()):
                self._end(program)
            self._resume_all()
            self.server.close()

    def heal(self) -> None:
        """End all faults."""
        self._resume_all()
        self.server.start_if_down()
        if self._relay is None:
            self.start_relay()
        for port in self.ports:
            if port not in self._gateways:
                self.start_gateway(port)

    # ── processes ────────────────────────────────────────────────────────────────────────────────────────────────────
    def start_relay(self) -> None:
        self._relay = Program("relay", *self._place(), env=_ENVIRONMENT)

    def start_gateway(self, port: int) -> None:
        self._gateways[port] = Program("serve", *self._place(), "--port", str(port), env=_ENVIRONMENT)

    def _place(self) -> tuple[str, ...]:
        return ("--root", str(self.root.directory), "--redis-url", self.server.url)

    def _end(self, program: Program | None) -> None:
        """Send SIGKILL, whether or not the program is stopped."""
        if program is None:
            return
        code = program.process.poll()
        if code is not None:
            self.complaints.append(f"it exited unexpectedly with {code}: {program.err}")
        self._stopped.discard(program.pid)
        program.__exit__(None, None, None)
        if "Traceback" in program.err:
            self.complaints.append(program.err)

    def start_a_dead_process(self) -> None:
        """Start a gateway, the relay, or an empty broker, if one is down."""
        starts: list[Callable[[], None]] = [
            partial(self.start_gateway, port) for port in self.ports if port not in self._gateways
        ]
        if self._relay is None:
            starts.append(self.start_relay)
        if self.server.process is None:
            starts.append(self.server.start)
        if starts:
            self.random.choice(starts)()

    def printed(self) -> str:
        """Return the stderr and exit codes of the current processes."""
        programs = [program for program in (self._relay, *self._gateways.values()) if program is not None]
        return "\n".join(f"{program.process.args!r} {program.process.poll()}\n{program.err}" for program in programs)

    def kill_the_relay(self) -> None:
        self._end(self._relay)
        self._relay = None

    def replace_the_relay(self) -> None:
        """Kill the relay and start another one at once."""
        self._end(self._relay)
        self.start_relay()

    def kill_a_gateway(self) -> None:
        """Kill a gateway: its viewers lose their connections."""
        self._end(self._gateways.pop(self.random.choice(self.ports), None))

    def replace_a_gateway(self) -> None:
        port = self.random.choice(self.ports)
        self._end(self._gateways.pop(port, None))
        self.start_gateway(port)

    def stop_a_process(self) -> None:
        """Send SIGSTOP to a process, which resumes later."""
        processes = [self._relay, *self._gateways.values()]
        pids = [program.pid for program in processes if program is not None]
        if self.server.process is not None:
            pids.append(self.server.process.pid)
        running = sorted(set(pids) - self._stopped)
        if running:
            pid = self.random.choice(running)
            os.kill(pid, signal.SIGSTOP)
            self._stopped.add(pid)

    def resume_a_process(self) -> None:
        if self._stopped:
            pid = self.random.choice(sorted(self._stopped))
            self._stopped.discard(pid)
            os.kill(pid, signal.SIGCONT)

    def _resume_all(self) -> None:
        while self._stopped:
            self.resume_a_process()

    # ── the broker ───────────────────────────────────────────────────────────────────────────────────────────────────
    def kill_the_broker(self) -> None:
        """Kill the broker, which loses everything it held."""
        process = self.server.process
        if process is not None:
            self._stopped.discard(process.pid)
            self.server.kill()

    def replace_the_broker(self) -> None:
        """Kill the broker and start an empty one at once."""
        self.kill_the_broker()
        self.server.start()

    def replicate_the_broker(self) -> None:
        """Bring a replica up to date and cut its link: later writes do not reach it."""
        process = self.server.process
        if process is not None and process.pid not in self._stopped:
            self.server.replicate()
            self._replicated = True

    def fail_over(self) -> None:
        """Promote the replica: writes acknowledged since it was up to date are lost."""
        if self._replicated:
            self.kill_the_broker()
            self.server.promote()
            self._replicated = False

    def flush_the_broker(self) -> None:
        self._send_to_the_broker("FLUSHALL")

    def trim(self) -> None:
        """Trim a stream or the feed, to nothing or to its newest entries."""
        keys = (feed_key(0), *(stream_key(name) for name in WORKCELLS))
        self._send_to_the_broker("XTRIM", self.random.choice(keys), "MAXLEN", self.random.choice((0, 0, 3, 50)))

    def forget_a_summary(self) -> None:
        self._send_to_the_broker("DEL", summary_key(self.random.choice(WORKCELLS)))

    def _send_to_the_broker(self, *command: str | int) -> None:
        process = self.server.process
        if process is None or process.pid in self._stopped:
            return
        client: Any = connect(self.server.url)
        with contextlib.suppress(RedisError):
            client.execute_command(*command)
        client.close()

    # ── logs and their writers ──────────────────────────────────────────────────────────────────────────────────────
    def _line(self) -> bytes:
        """Return a line unlike any other."""
        self._lines += 1
        return event_line(self._lines, f"{self._lines} " + "x" * self.random.choice((0, 20, 300)))

    def _some_lines(self, most: int) -> list[bytes]:
        return [self._line() for _ in range(self.random.randint(1, most))]

    def _logbook(self) -> Logbook:
        """Return a random logbook. An unlinked log is put back first: one begun by a writer would be in no logbook."""
        return self._put_back(self.random.choice(list(self.logbooks.values())))

    def _put_back(self, logbook: Logbook) -> Logbook:
        if not logbook.path.exists():
            logbook.replace(self._some_lines(50))
        return logbook

    def append(self) -> None:
        self._logbook().append(self._some_lines(40))

    def append_last_lines(self) -> None:
        """Append one line to each log, so that none is empty."""
        for logbook in self.logbooks.values():
            self._put_back(logbook).append([self._line()])

    def append_odd_lines(self) -> None:
        odd = [*self.random.choices(_ODD, k=3), event_line(0, "y" * self.random.choice((9000, 70_000, 300_000)))]
        self._logbook().append(odd)

    def tear_a_line(self) -> None:
        self._logbook().tear(self._line()[: self.random.randint(1, 60)])

    def write(self) -> None:
        """Start a process that appends as fast as it can."""
        self._lines += 1
        logbook = self._logbook()
        context = self._writers.append(
            logbook.path, f"w{self._lines}", self.random.choice((20, 300, 2000)), self.random.choice((10, 400, 3000))
        )
        stack = contextlib.ExitStack()
        writer = stack.enter_context(context)
        self._writing.append((stack, writer.pid))

    def kill_a_writer(self) -> None:
        if self._writing:
            stack, pid = self._writing.pop(self.random.randrange(len(self._writing)))
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            stack.close()

    def end_writers(self) -> None:
        while self._writing:
            self.kill_a_writer()

    def replace_a_log(self) -> None:
        """Replace the file in one step: by one that begins like an earlier one, one with a header, or a new one."""
        logbook = self._logbook()
        match self.random.randrange(5):
            case 0:
                lines = [*logbook.first_lines(self.random.randint(1, 30), self.random.random()), *self._some_lines(90)]
            case 1:
                header = b'{"type":"log","epoch":%d,"base":%d}' % (
                    secrets.randbits(48), self.random.choice((0, 7)),
                )  # fmt: skip
                lines = [header, *self._some_lines(60)]
            case 2:
                lines = []
            case _:
                lines = self._some_lines(120)
        logbook.replace(lines)

    def cut_a_log(self) -> None:
        lines = self._some_lines(60) if self.random.random() < 0.7 else []
        self._logbook().cut(self.random.randint(0, 20), lines)

    def unlink_a_log(self) -> None:
        """Unlink a log; the next step on it puts another one in its place."""
        self.end_writers()
        self._logbook().unlink()

    # ── viewers ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def add_a_viewer(self) -> None:
        """Connect one more viewer."""
        places = ("start", "tail", {"last": 30}, {"epoch": 7, "offset": 2})
        wanted = WORKCELLS if self.random.random() < 0.5 else [self.random.choice(WORKCELLS)]
        first = {name: self.random.choice(places) for name in wanted}
        self.viewers.append(SocketViewer(self.ports, first, Random(self.random.random())))

    async def act_as_a_viewer(self) -> None:
        """Let a random viewer do something that a client may do at any time."""
        await self.random.choice(self.viewers).act()


def lasting_port() -> int:
    """Return a port that stays free while its gateway is down: below those that the system gives to clients (32768)."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@contextlib.contextmanager
def world(random: Random) -> Generator[World]:
    """Run a world in its own temporary directory, since a socket's path must be short."""
    with tempfile.TemporaryDirectory(prefix="workcast-chaos-") as name, World(Path(name), random).running() as made:
        yield made


async def settle(made: World) -> None:
    """End all faults, let every viewer follow, and append a last line to each log."""
    made.end_writers()
    await asyncio.to_thread(made.heal)
    made.append_last_lines()
    for viewer in made.viewers:
        await viewer.settle()
