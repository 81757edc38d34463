"""Every line that a log's watermark covers has its checksum, by which it is proven later."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from support.broker_checker import completeness_problems
from support.log_edits import edit_in_place, read_log
from support.logs import event_line, write_log
from support.waiting import wait_until
from workcast.broker.batch import Batch, Budgets
from workcast.broker.errors import EditedLogError
from workcast.broker.history import History
from workcast.broker.log import LogReader
from workcast.broker.log_facts import epoch_of
from workcast.broker.log_relay import LogRelay
from workcast.broker.log_relays import LogRelays
from workcast.broker.names import INDEX_SUFFIX, SUMS_SUFFIX, state_file
from workcast.broker.publisher import Publisher
from workcast.broker.root import Root
from workcast.broker.roots import Roots
from workcast.broker.shown_log import COVER_BYTES
from workcast.broker.warn_once import WarnOnce

COMPLETED = b'{"type":"completed","timestamp":"2026-01-01T00:00:01.000Z","status":"success"}'


@pytest.fixture
def publisher(redis_url: str) -> Generator[Publisher]:
    publisher = Publisher(redis_url)
    yield publisher
    publisher.close()


def numbered(count: int, start: int = 0, size: int = 0) -> list[bytes]:
    return [event_line(number, f"{number:07}" + "." * size) for number in range(start, start + count)]


def pump(relay: LogRelay) -> None:
    for _ in range(2000):
        if not relay.pump():
            return
    raise AssertionError("the relay does not finish")


def disk_epoch(root: Root, workcell: str = "wc") -> int:
    reader = LogReader(root.log(workcell))
    reader.refresh()
    return epoch_of(root, workcell, reader)


def covered(root: Root, workcell: str = "wc") -> int:
    return root.log_state(workcell).sums.known_to(disk_epoch(root, workcell), 0)


def noted(root: Root) -> int:
    mark = root.log_state("wc").watermark()
    return 0 if mark is None else mark.head


def sums_file(root: Root, workcell: str = "wc") -> Path:
    return root.state / state_file(workcell, SUMS_SUFFIX)


def is_noted_past(root: Root, head: int) -> bool:
    return noted(root) > head


class KilledError(Exception):
    """What ends a relay here, as a signal might."""


class Dies(Publisher):
    """A broker connection on which the relay is killed before it publishes."""

    def publish(self, batch: Batch, now_ms: int) -> Any:
        raise KilledError(batch, now_ms)


# ── what is shown is covered ─────────────────────────────────────────────────────────────────────────────────────────
def test_lines_have_their_sums_before_they_are_noted_and_published(root: Root, redis_url: str) -> None:
    write_log(root, "wc", numbered(30))
    dying = Dies(redis_url)
    with pytest.raises(KilledError):
        pump(LogRelay(root, "wc", dying))
    dying.close()
    assert noted(root) == covered(root) == 30


@pytest.mark.parametrize("ended", [True, False])
def test_lines_that_are_shown_without_being_published_have_their_sums(
    root: Root, publisher: Publisher, ended: bool
) -> None:
    """The summary of an ended log shows a gateway all of its lines, and so does a log that is vouched for."""
    write_log(root, "wc", [*numbered(2000), *([COMPLETED] if ended else [])])
    relay = LogRelay(root, "wc", publisher)
    if ended:
        relay.attach_briefly(publisher.watermarks(["wc"])[0])
        pump(relay)
    else:
        while relay.vouch():
            pass
    assert noted(root) == covered(root) == 2000 + ended


def test_a_large_log_is_vouched_for_piece_by_piece(root: Root, publisher: Publisher) -> None:
    write_log(root, "wc", numbered(100, size=COVER_BYTES // 20))
    relay = LogRelay(root, "wc", publisher)
    heads: list[int] = []
    while relay.vouch():
        heads.append(noted(root))
        assert covered(root) >= noted(root)
    assert heads == sorted(set(heads))
    assert len(heads) >= 4
    assert noted(root) == covered(root) == 100


_RELAY = """
import sys
from pathlib import Path
from workcast.broker.log_relay import LogRelay
from workcast.broker.publisher import Publisher
from workcast.broker.root import Root

relay = LogRelay(Root(Path(sys.argv[1])), "wc", Publisher(sys.argv[2]))
while True:
    relay.pump()
"""


def test_a_relay_that_is_killed_at_any_moment_has_noted_no_line_without_its_sum(root: Root, redis_url: str) -> None:
    write_log(root, "wc", numbered(1))
    for turn in range(8):
        head = noted(root)
        process = subprocess.Popen([sys.executable, "-c", _RELAY, str(root.directory), redis_url])
        try:
            for number in range(40):
                write_log(root, "wc", numbered(1 + number * 7 % 50, 1000 * turn))
                if noted(root) > head + 20 * turn:
                    break
            wait_until(partial(is_noted_past, root, head))
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        assert covered(root) >= noted(root) > head


# ── what has no sums ─────────────────────────────────────────────────────────────────────────────────────────────────
def test_lines_that_an_older_version_has_shown_get_their_sums_beside_the_next_lines(
    root: Root, publisher: Publisher, redis_client: Any
) -> None:
    write_log(root, "wc", numbered(9000))
    relay = LogRelay(root, "wc", publisher)
    pump(relay)
    relay.checkpoint()
    sums_file(root).unlink()
    relay = LogRelay(root, "wc", publisher)
    write_log(root, "wc", numbered(3, 9000))
    pump(relay)
    assert covered(root) == 0
    pieces = 0
    while relay.cover():
        pieces += 1
        write_log(root, "wc", numbered(1, 9003))
        pump(relay)
    assert pieces == 3
    assert relay.is_covered
    assert covered(root) == noted(root) == 9006
    assert completeness_problems(redis_client, "wc", disk_epoch(root), read_log(root.log("wc"))[1]) == []


def never() -> bool:
    return False


def no_pause() -> None:
    """Nothing is due."""


def start(root: Root, publisher: Publisher) -> LogRelays:
    relays = LogRelays(root, publisher, WarnOnce(logging.getLogger("workcast.relay")), None, no_pause)
    relays.attach(never)
    while relays.has_changed:
        relays.publish(never)
    return relays


def cover(relays: LogRelays) -> None:
    while relays.has_work:
        relays.cover(never)
        relays.publish(never)


def show_as_an_older_version_did(root: Root, publisher: Publisher, *names: str) -> None:
    relays = start(root, publisher)
    cover(relays)
    relays.checkpoint()
    for name in names:
        sums_file(root, name).unlink()


def test_ended_logs_of_an_older_version_get_their_sums_while_nothing_else_is_to_do(
    root: Root, publisher: Publisher
) -> None:
    names = [f"wc{number}" for number in range(5)]
    for name in names:
        write_log(root, name, [*numbered(100), COMPLETED])
    show_as_an_older_version_did(root, publisher, *names)
    relays = start(root, publisher)
    assert [covered(root, name) for name in names] == [0] * 5
    cover(relays)
    assert [covered(root, name) for name in names] == [101] * 5


def test_an_old_log_that_gets_its_sums_leaves_the_other_logs_their_turn(root: Root, publisher: Publisher) -> None:
    write_log(root, "old", [*numbered(100, size=COVER_BYTES // 20), COMPLETED])
    write_log(root, "new", numbered(1))
    show_as_an_older_version_did(root, publisher, "old")
    relays, rounds, before = start(root, publisher), 0, 0
    while relays.has_work:
        write_log(root, "new", numbered(1, rounds))
        relays.mark_changed(["new"])
        relays.cover(never)
        piece, before = covered(root, "old") - before, covered(root, "old")
        assert piece <= 20
        relays.publish(never)
        rounds += 1
        assert publisher.watermarks(["new"])[0].head == rounds + 1
        if before == 101:
            relays.publish(never)
            cover(relays)
    assert rounds >= 5


@pytest.mark.parametrize("edited", [True, False])
def test_sums_that_a_loss_of_power_took_are_noted_again(root: Root, publisher: Publisher, edited: bool) -> None:
    """The lines are taken as they are; the others are still compared with theirs."""
    write_log(root, "wc", numbered(3000))
    show_as_an_older_version_did(root, publisher)
    epoch = disk_epoch(root)
    with sums_file(root).open("r+b") as file:  # a block in the middle was not written
        file.seek(4096)
        file.write(bytes(4096))
    assert covered(root) < 3000
    if edited:
        edit_in_place(root.log("wc"), 2500, event_line(2500, "x" * 7))
    relays = start(root, publisher)
    cover(relays)
    assert covered(root) == 3000
    assert (disk_epoch(root) != epoch) == edited


# ── indexes ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_index_of_an_edited_log_is_used_no_further(root: Root, publisher: Publisher, redis_client: Any) -> None:
    """The lines between the edited ones have moved, but the file's size, its first and its last line are the same."""
    lines = numbered(6000, size=1000)
    path = write_log(root, "wc", lines)
    relay = LogRelay(root, "wc", publisher)
    pump(relay)
    relay.checkpoint()
    index = root.state / state_file("wc", INDEX_SUFFIX)
    assert index.exists()
    old_history = History(Roots(root))
    epoch = disk_epoch(root)
    assert old_history.read("wc", epoch, 2000, 10) == lines[2000:2010]
    edit_in_place(path, 1000, lines[1000][:-2] + b"..." + lines[1000][-2:])
    edit_in_place(path, 5000, lines[5000].replace(b"...", b"", 1))
    edited = read_log(path)[1]
    with pytest.raises(EditedLogError, match="its line 1000 was edited"):
        old_history.read("wc", epoch, 990, 20)
    assert old_history.read("wc", epoch, 2000, 10) == lines[2000:2010]  # read at their new places
    relay = LogRelay(root, "wc", publisher)
    pump(relay)
    relay.look(epoch, 1000)
    pump(relay)
    new = disk_epoch(root)
    assert new != epoch
    assert completeness_problems(redis_client, "wc", new, edited) == []
    for history in (old_history, History(Roots(root))):
        for offset in (0, 995, 2000, 4995, 5990):
            assert history.read("wc", new, offset, 10) == edited[offset : offset + 10]
    redis_client.flushall()
    pump(LogRelay(root, "wc", publisher))
    assert completeness_problems(redis_client, "wc", new, edited) == []


def test_a_report_of_a_line_that_is_as_it_was_changes_nothing(root: Root, publisher: Publisher) -> None:
    write_log(root, "wc", numbered(30))
    relay = LogRelay(root, "wc", publisher)
    pump(relay)
    epoch = disk_epoch(root)
    for reported, offset in ((epoch, 10), (epoch, 30), (epoch, 1 << 60), (epoch + 1, 10), (0, 0)):
        relay.look(reported, offset)
        pump(relay)
    assert disk_epoch(root) == epoch
    assert noted(root) == covered(root) == 30


def test_a_budget_that_leaves_most_lines_out_of_the_stream_leaves_none_without_its_sum(
    root: Root, redis_url: str
) -> None:
    publisher = Publisher(redis_url, Budgets(stream_entries=10))
    write_log(root, "wc", numbered(5000))
    pump(LogRelay(root, "wc", publisher))
    publisher.close()
    assert noted(root) == covered(root) == 5000
