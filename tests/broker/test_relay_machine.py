"""Any interleaving of appends, tears, replacements, broker faults and relays: never a lie, and complete at the end."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from support.broker_checker import completeness_problems, stream_problems
from support.logs import event_line
from support.valkey import Server
from support.writers import Writers
from workcast.broker.connection import connect
from workcast.broker.errors import BrokerError
from workcast.broker.history import epoch_of
from workcast.broker.log import Appender, LogReader
from workcast.broker.log_relay import LogRelay
from workcast.broker.root import Root
from workcast.broker.stream import Budgets, Publisher, feed_key, stream_key
from workcast.broker.wire import wire

WRITERS = Writers()
SERVER = Server(Path(tempfile.mkdtemp(prefix="workcast-machine-")))
BUDGETS = Budgets(stream_entries=150, stream_bytes=20_000, feed_entries=300, feed_bytes=40_000)


def teardown_module() -> None:
    SERVER.kill()
    WRITERS.close()
    shutil.rmtree(SERVER.directory, ignore_errors=True)


class RelayMachine(RuleBasedStateMachine):
    """One log, two relays, one broker. ``shown`` remembers what ever stood at an offset in an epoch."""

    @initialize()
    def begin(self) -> None:
        SERVER.start_if_down()
        self.directory = Path(tempfile.mkdtemp(prefix="workcast-root-"))
        self.root = Root(self.directory)
        self.root.prepare()
        self.path = self.root.log("wc")
        self.path.parent.mkdir()
        self.client: Any = connect(SERVER.url)
        self.client.flushall()
        self.publishers = [Publisher(SERVER.url, BUDGETS) for _ in range(2)]
        self.relays = [LogRelay(self.root, "wc", publisher) for publisher in self.publishers]
        self.appender = Appender(self.path)
        self.number = 0
        self.shown: dict[tuple[int, int], bytes] = {}
        self.wires: dict[int, set[bytes]] = {}
        self.saved: dict[bytes, bytes] | None = None
        self.down = False

    def teardown(self) -> None:
        if not hasattr(self, "client"):
            return
        try:
            self.finish()
        finally:
            self.appender.close()
            self.client.close()
            for publisher in self.publishers:
                publisher.close()
            shutil.rmtree(self.directory)

    def finish(self) -> None:
        """All faults end: one relay is enough to make everything right."""
        if self.down:
            self.restart()
        if self.saved is not None:
            self.saved = None
        relay = self.relays[0]
        for _ in range(2):  # what a sweep does, every few seconds
            relay.reconcile(self.publishers[0].positions(["wc"])[0])
            while relay.pump():
                pass
        lines = self.lines()
        if lines:
            assert completeness_problems(self.client, "wc", self.epoch(), lines) == []

    def lines(self) -> list[bytes]:
        return self.path.read_bytes().split(b"\n")[:-1] if self.path.exists() else []

    def note(self) -> None:
        """Remember which lines the log has had at which place."""
        for offset, line in enumerate(self.lines()):
            self.wires.setdefault(offset, set()).add(wire(line))

    def epoch(self) -> int:
        reader = LogReader(self.path)
        reader.refresh()
        return epoch_of(self.root, "wc", reader)

    def fresh(self) -> bytes:
        self.number += 1
        return event_line(self.number, f"{self.number} " + "x" * (self.number * 37 % 200))

    # ── writers ──────────────────────────────────────────────────────────────────────────────────────────────────────
    @rule(count=st.integers(1, 60))
    def append(self, count: int) -> None:
        self.appender.append(b"".join(self.fresh() + b"\n" for _ in range(count)))
        self.note()

    @rule(cut=st.integers(1, 30))
    def tear(self, cut: int) -> None:
        """A writer dies in the middle of a line; the next append closes it."""
        with self.path.open("ab") as file:
            file.write(self.fresh()[:cut])

    @rule(acknowledged=st.integers(1, 15), size=st.sampled_from([10, 3000]))
    def two_processes_append_and_one_is_killed(self, acknowledged: int, size: int) -> None:
        """Each ``acknowledged`` append that a process told of is in the log, whatever became of the process."""
        self.number += 1
        names = [f"p{self.number}a", f"p{self.number}b"]
        with (
            WRITERS.append(self.path, names[0], 20, size) as lives,
            WRITERS.append(self.path, names[1], 10_000, size) as dies,
        ):
            told = dies.hear(acknowledged)
            dies.kill()
            told += dies.hear()
            assert lives.hear() == 20
        for name, count in zip(names, (20, told), strict=True):
            found = [line for line in self.lines() if b'"from":"%s"' % name.encode() in line and line.endswith(b"}")]
            assert len(found) >= count
        self.note()

    @precondition(lambda self: not self.down)
    @rule(which=st.integers(0, 1))
    def pump_while_the_server_hangs(self, which: int) -> None:
        """The server is stopped in the middle of things, and goes on a little later as if nothing had been."""
        process = SERVER.process
        assert process is not None
        os.kill(process.pid, signal.SIGSTOP)
        goes_on = threading.Timer(0.02, os.kill, (process.pid, signal.SIGCONT))
        goes_on.start()
        self.pump(which, 2)
        goes_on.join()

    @rule(line=st.binary(max_size=40))
    def append_rubbish(self, line: bytes) -> None:
        self.appender.append(line.replace(b"\n", b" ") + b"\n")
        self.note()

    # ── the log is another one ───────────────────────────────────────────────────────────────────────────────────────
    @rule(keep=st.integers(0, 5))
    def truncate(self, keep: int) -> None:
        kept = self.lines()[:keep]
        self.path.write_bytes(b"".join(line + b"\n" for line in kept))
        self.note()

    @rule(count=st.integers(1, 90))
    def regrow_with_the_same_first_line(self, count: int) -> None:
        first = self.lines()[:1]
        self.path.write_bytes(b"".join(line + b"\n" for line in [*first, *(self.fresh() for _ in range(count))]))
        self.note()

    @rule()
    def unlink(self) -> None:
        self.path.unlink(missing_ok=True)

    # ── relays ───────────────────────────────────────────────────────────────────────────────────────────────────────
    @rule(which=st.integers(0, 1), steps=st.integers(1, 6))
    def pump(self, which: int, steps: int) -> None:
        for _ in range(steps):
            try:
                if not self.relays[which].pump():
                    return
            except BrokerError:
                self.relays[which].detach()
                return

    @rule(which=st.integers(0, 1))
    def compare_heads(self, which: int) -> None:
        if not self.down:
            self.relays[which].reconcile(self.publishers[which].positions(["wc"])[0])

    @rule(which=st.integers(0, 1), kept=st.booleans())
    def restart_a_relay(self, which: int, *, kept: bool) -> None:
        if kept:
            self.relays[which].checkpoint()
        self.relays[which] = LogRelay(self.root, "wc", self.publishers[which])

    # ── broker ───────────────────────────────────────────────────────────────────────────────────────────────────────
    @precondition(lambda self: not self.down)
    @rule()
    def flush(self) -> None:
        self.client.flushall()

    @precondition(lambda self: not self.down)
    @rule()
    def trim_the_stream(self) -> None:
        self.client.xtrim(stream_key("wc"), maxlen=3, approximate=False)

    @precondition(lambda self: not self.down)
    @rule()
    def remember(self) -> None:
        """A replica that will hear nothing of what comes after."""
        self.saved = {key: self.client.dump(key) for key in self.client.scan_iter()}

    @precondition(lambda self: self.saved is not None and not self.down)
    @rule()
    def fail_over(self) -> None:
        self.client.flushall()
        for key, value in (self.saved or {}).items():
            self.client.restore(key, 0, value)
        self.saved = None

    @precondition(lambda self: not self.down)
    @rule()
    def kill(self) -> None:
        SERVER.kill()
        self.down = True

    @precondition(lambda self: self.down)
    @rule()
    def restart(self) -> None:
        SERVER.start()
        self.down = False

    @invariant()
    def nothing_that_was_shown_is_ever_contradicted(self) -> None:
        """One epoch and offset stand for one line for ever, and for a line that the log had at that place."""
        if not hasattr(self, "client") or self.down:
            return
        for epoch, offset, data in shown(self.client):
            assert self.shown.setdefault((epoch, offset), data) == data
            assert data in self.wires.get(offset, ())
        stored = self.publishers[0].positions(["wc"])[0].epoch
        if stored is not None:
            problems = stream_problems(self.client, "wc", stored, [])
            assert [problem for problem in problems if "is in no line" not in problem] == []


def shown(client: Any) -> Iterator[tuple[int, int, bytes]]:
    """Everything that a gateway could show now."""
    for name, fields in client.xrange(stream_key("wc")):
        epoch, _, sequence = name.partition(b"-")
        yield int(epoch), int(sequence) - 1, fields[b"d"]
    for _, fields in client.xrange(feed_key(0)):
        yield int(fields[b"e"]), int(fields[b"o"]), fields[b"d"]


RelayMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestRelayMachine = RelayMachine.TestCase
