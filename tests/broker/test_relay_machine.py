"""Any interleaving of appends, tears, replacements, broker faults and relays: never a lie, and complete at the end."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from support.broker_checker import completeness_problems, stream_problems
from support.log_edits import edit_a_copy, edit_in_place, prune, read_log
from support.logs import event_line
from support.valkey import ReplicatedServer
from support.writers import Writers
from workcast.broker.appender import Appender
from workcast.broker.batch import Budgets
from workcast.broker.connection import connect
from workcast.broker.errors import BrokerError, EditedLogError, EpochError
from workcast.broker.history import History
from workcast.broker.keys import feed_key, stream_key
from workcast.broker.log import LogReader
from workcast.broker.log_facts import epoch_of
from workcast.broker.log_relay import LogRelay
from workcast.broker.publisher import Publisher
from workcast.broker.root import Root
from workcast.broker.roots import Roots
from workcast.events.wire import wire

WRITERS = Writers()
SERVER = ReplicatedServer(Path(tempfile.mkdtemp(prefix="workcast-machine-")))
BUDGETS = Budgets(stream_entries=150, stream_bytes=70_000, feed_entries=300, feed_bytes=40_000)


def teardown_module() -> None:
    SERVER.close()
    WRITERS.close()


class RelayMachine(RuleBasedStateMachine):
    """One log, two relays, one broker, one gateway. ``shown`` remembers what ever stood at an offset in an epoch."""

    @initialize(count=st.integers(0, 60))
    def begin(self, count: int) -> None:
        SERVER.start_if_down()
        self.directory = Path(tempfile.mkdtemp(prefix="workcast-root-"))
        self.root = Root(self.directory)
        self.root.prepare()
        self.path = self.root.log("wc")
        self.path.parent.mkdir()
        self.client: Any = connect(SERVER.url)
        self.client.flushall()
        self.observer = Publisher(SERVER.url, BUDGETS)  # a connection that is no relay's, to compare with
        self.publishers = [Publisher(SERVER.url, BUDGETS) for _ in range(2)]
        self.relays = [LogRelay(self.root, "wc", publisher) for publisher in self.publishers]
        self.history = History(Roots(self.root))
        self.appender = Appender(self.path)
        self.number = 0
        self.shown: dict[tuple[int, int], bytes] = {}
        self.wires: dict[int, set[bytes]] = {}
        self.replicated = False
        self.down = False
        self.edited_epoch: int | None = None
        self.files: list[int] = []
        if count:
            self.append_and_pump(count, 0)

    def teardown(self) -> None:
        if not hasattr(self, "client"):
            return
        try:
            self.finish()
        finally:
            self.appender.close()
            self.client.close()
            for publisher in (self.observer, *self.publishers):
                publisher.close()
            for descriptor in self.files:
                os.close(descriptor)
            shutil.rmtree(self.directory)

    def finish(self) -> None:
        """All faults end: one relay is enough to make everything right."""
        if self.down:
            self.restart()
        self.sweep_and_pump()
        for _ in range(3):  # a viewer reads all of it
            if self.read_history(0):
                break
            self.sweep_and_pump()
        else:
            raise AssertionError("the log is found to be edited again and again")
        header, lines = read_log(self.path)
        if lines:
            base = header.base if header else 0
            problems = completeness_problems(self.client, "wc", self.epoch(), lines, base)
            # What was pruned may still be in the stream; the invariant has compared it.
            pruned = {f"offset {offset} has no line" for offset in range(base)}
            assert [problem for problem in problems if problem not in pruned] == []

    def sweep_and_pump(self) -> None:
        relay = self.relays[0]
        for _ in range(2):  # what a sweep does, every few seconds
            relay.reconcile(self.observer.watermarks(["wc"])[0])
            for _ in range(200):
                if not self.pump_once(0):
                    break
            else:
                raise AssertionError("the relay does not finish")

    @precondition(lambda self: not self.down)
    @rule(which=st.integers(0, 1))
    def read_all(self, which: int) -> None:
        self.read_history(which)

    def read_history(self, which: int) -> bool:
        """A gateway reads the log up to the head, and asks a relay to look at an edited line; False if there is one."""
        stored = self.observer.watermarks(["wc"])[0]
        offset = stored.base
        while stored.epoch and offset < stored.head:
            try:
                lines = self.history.read("wc", stored.epoch, offset, min(25, stored.head - offset))
            except EditedLogError as error:
                self.relays[which].look(error.epoch, error.offset)
                return False
            except EpochError:
                return True
            if not lines:
                extent = self.history.extent("wc")
                if extent is None or extent.epoch != stored.epoch or not offset < extent.base:
                    return True
                lines, offset = [], extent.base
            for at, data in enumerate(lines, offset):
                assert self.shown.setdefault((stored.epoch, at), data) == data
            offset += len(lines)
        return True

    def lines(self) -> list[bytes]:
        return read_log(self.path)[1]

    def note(self) -> None:
        """Remember which lines the log has had at which place."""
        header, lines = read_log(self.path)
        for offset, line in enumerate(lines, header.base if header else 0):
            self.wires.setdefault(offset, set()).add(wire(line))

    def epoch(self) -> int:
        reader = LogReader(self.path)
        reader.refresh()
        return epoch_of(self.root, "wc", reader)

    def fresh(self) -> bytes:
        self.number += 1
        return event_line(self.number, f"{self.number} " + "x" * (self.number * 37 % 700))

    # ── writers ──────────────────────────────────────────────────────────────────────────────────────────────────────
    @rule(count=st.integers(1, 60))
    def append(self, count: int) -> None:
        self.appender.append(b"".join(self.fresh() + b"\n" for _ in range(count)))
        self.note()

    @rule(count=st.integers(1, 60), which=st.integers(0, 1))
    def append_and_pump(self, count: int, which: int) -> None:
        """What happens all the time, so that the rarer things happen to something."""
        self.append(count)
        self.pump(which, 6)

    @rule(cut=st.integers(1, 30))
    def tear(self, cut: int) -> None:
        """A writer dies in the middle of a line; the next append closes it."""
        with self.path.open("ab") as file:
            file.write(self.fresh()[:cut])

    @rule(acknowledged=st.integers(1, 15), size=st.sampled_from([10, 3000]))
    def two_processes_append_and_one_is_killed(self, acknowledged: int, size: int) -> None:
        """Each append that a process acknowledged is in the log, whatever became of the process."""
        self.number += 1
        names = [f"p{self.number}a", f"p{self.number}b"]
        with (
            WRITERS.append(self.path, names[0], 20, size) as lives,
            WRITERS.append(self.path, names[1], 10_000, size) as dies,
        ):
            count = dies.hear(acknowledged)
            dies.kill()
            count += dies.hear()
            assert lives.hear() == 20
        for name, least in zip(names, (20, count), strict=True):
            found = [line for line in self.lines() if b'"from":"%s"' % name.encode() in line and line.endswith(b"}")]
            assert len(found) >= least
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
    def append_any_bytes(self, line: bytes) -> None:
        self.appender.append(line.replace(b"\n", b" ") + b"\n")
        self.note()

    # ── the log is another one ───────────────────────────────────────────────────────────────────────────────────────
    @rule(keep=st.integers(0, 5))
    def truncate(self, keep: int) -> None:
        kept = self.path.read_bytes().split(b"\n")[:-1][:keep] if self.path.exists() else []
        self.path.write_bytes(b"".join(line + b"\n" for line in kept))
        self.note()

    @rule(count=st.integers(1, 90))
    def regrow_with_the_same_first_line(self, count: int) -> None:
        """The first line may be a header, which then says of other lines that they are those of before."""
        first = self.path.read_bytes().split(b"\n")[:-1][:1] if self.path.exists() else []
        self.path.write_bytes(b"".join(line + b"\n" for line in [*first, *(self.fresh() for _ in range(count))]))
        self.note()

    @rule(keep=st.integers(0, 30), same_epoch=st.booleans())
    def prune(self, keep: int, *, same_epoch: bool) -> None:
        """Rewritten with a header; published or not, its first lines go. With another epoch: it was masked as well."""
        lines = self.lines()
        if not lines:
            return
        epoch = self.epoch()
        # A header with the same epoch vouches for the lines. For an edited log that is false, and a relay that has not
        # read it in between cannot notice.
        if not same_epoch:
            self.number += 1
            epoch = self.number
        self.keep_the_inode()
        prune(self.path, epoch, max(len(lines) - keep, 0))
        self.note()

    # What a relay notices before a batch: another inode, a smaller size, other bytes where the lines that it
    # has read begin or end (so also: a line of another length among them), and another last published line. Of what
    # was published before it was started it knows the last line and, by the `.mark`, the inode. An edit in place, in
    # the middle of the published lines, is noticed when the line is read again. A file's inode that is given to its
    # successor's successor is nothing that anyone can see: the inodes of replaced files stay in use.
    @rule(back=st.integers(0, 200), longer=st.booleans())
    def edit_any_published_line_in_place(self, back: int, *, longer: bool) -> None:
        if published := self.published():
            self.edit(edit_in_place, max(published - 1 - back, 0), longer=longer)

    @rule(back=st.integers(1, 200))
    def exchange_two_published_lines(self, back: int) -> None:
        """The size stays what it was, and so does the last line."""
        at = self.published() - 1 - back
        if at >= 1:
            one, other = self.lines()[at - 1 : at + 1]
            self.edited_epoch = self.epoch()
            edit_in_place(self.path, at - 1, other)
            edit_in_place(self.path, at, one)
            self.note()

    @rule(longer=st.booleans())
    def edit_the_last_published_line_in_place(self, *, longer: bool) -> None:
        """Whichever relay comes next sees it, now or later, and whatever the broker has forgotten by then."""
        if published := self.published():
            self.edit(edit_in_place, published - 1, longer=longer)

    @rule(longer=st.booleans())
    def edit_the_first_line_in_place(self, *, longer: bool) -> None:
        """It gives the epoch, unless a header or a state file does."""
        if self.lines() and read_log(self.path)[0] is None and not self.root.log_state("wc").written_epoch():
            self.edit(edit_in_place, 0, longer=longer)

    @precondition(lambda self: not self.down)
    @rule(which=st.integers(0, 1), back=st.integers(0, 40), change=st.sampled_from([edit_in_place, edit_a_copy]))
    def edit_a_published_line_under_a_running_relay(
        self, which: int, back: int, change: Callable[[Path, int, bytes], None]
    ) -> None:
        """In place with another length, or in a copy that is renamed into place: a relay that knows the file notices.

        A relay that has not read the log between a prune and the edit of the pruned file sees one change, which the
        header explains.
        """
        self.pump(which, 20)
        mark = self.relays[which].watermark
        header, lines = read_log(self.path)
        base = header.base if header else 0
        if mark is None or mark.epoch != self.epoch() or not base < mark.head <= base + len(lines):
            return
        self.edit(change, max(mark.head - base - 1 - back, 0), longer=True)
        self.pump(which, 20)
        assert self.epoch() != mark.epoch

    @rule(back=st.integers(0, 40))
    def edit_a_copy(self, back: int) -> None:
        """Another inode, which the mark or a running relay reveals; without a header, nothing explains it.

        Between a prune and the first look of a relay at the pruned file, its header explains the copy too.
        """
        mark, header = self.root.log_state("wc").watermark(), read_log(self.path)[0]
        if mark is not None and header is not None and header.base > mark.base:
            return
        published = self.published()
        if published:
            self.edit(edit_a_copy, max(published - 1 - back, 0), longer=False)

    def published(self) -> int:
        """How many of the log's lines have been published in its epoch, by its mark."""
        mark = self.root.log_state("wc").watermark()
        header, lines = read_log(self.path)
        base = header.base if header else 0
        if mark is None or mark.epoch != self.epoch() or mark.head > base + len(lines):
            return 0
        return max(mark.head - base, 0)

    def edit(self, change: Callable[[Path, int, bytes], None], index: int, *, longer: bool) -> None:
        line = self.lines()[index]
        self.number += 1
        other = b"%d" % self.number + b"x" * len(line)
        self.edited_epoch = self.epoch()
        self.keep_the_inode()
        change(self.path, index, other if longer else other[: len(line)])
        self.note()

    def keep_the_inode(self) -> None:
        self.files.append(os.open(self.path, os.O_RDONLY))

    @rule()
    def unlink(self) -> None:
        self.path.unlink(missing_ok=True)

    # ── relays ───────────────────────────────────────────────────────────────────────────────────────────────────────
    @rule(which=st.integers(0, 1), steps=st.integers(1, 6))
    def pump(self, which: int, steps: int) -> None:
        for _ in range(steps):
            if not self.pump_once(which):
                return

    def pump_once(self, which: int) -> bool:
        """Publish one batch; like the relay's thread, compare again after an error of the broker."""
        try:
            return self.relays[which].pump()
        except BrokerError:
            self.relays[which].detach()
            return not self.down

    @rule(which=st.integers(0, 1))
    def compare_heads(self, which: int) -> None:
        if not self.down:
            self.relays[which].reconcile(self.observer.watermarks(["wc"])[0])

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
    def replicate(self) -> None:
        """Bring a replica up to date, and then cut it off."""
        SERVER.replicate()
        self.replicated = True

    @precondition(lambda self: self.replicated)
    @rule()
    def fail_over(self) -> None:
        """Break all connections; the same address then leads to what the replica has."""
        SERVER.promote()
        self.client.connection_pool.disconnect()
        self.observer.abort()
        self.replicated = self.down = False

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
        stored = self.observer.watermarks(["wc"])[0].epoch
        if stored:
            problems = stream_problems(self.client, "wc", stored, [])
            assert [problem for problem in problems if "has no line" not in problem] == []


def shown(client: Any) -> Iterator[tuple[int, int, bytes]]:
    """Everything that a gateway could show now."""
    for name, fields in client.xrange(stream_key("wc")):
        epoch, _, sequence = name.partition(b"-")
        yield int(epoch), int(sequence) - 1, fields[b"d"]
    for _, fields in client.xrange(feed_key(0)):
        if fields[b"d"]:  # else a notice, which is not an event
            yield int(fields[b"e"]), int(fields[b"o"]), fields[b"d"]


RelayMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestRelayMachine = RelayMachine.TestCase
