"""Logs that were changed after they were published: any relay notices before its next batch."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from support.broker_checker import completeness_problems
from support.log_edits import edit_a_copy, edit_in_place, prune, read_log
from support.logs import event_line, write_log
from workcast.broker.history import Extent, History
from workcast.broker.keys import feed_key, stream_key
from workcast.broker.log import LogReader
from workcast.broker.log_facts import epoch_of
from workcast.broker.log_relay import LogRelay
from workcast.broker.publisher import Publisher
from workcast.broker.root import Root
from workcast.broker.roots import Roots
from workcast.broker.watermark import Watermark

WORKCELL = "wc"


@pytest.fixture
def publisher(redis_url: str) -> Generator[Publisher]:
    publisher = Publisher(redis_url)
    yield publisher
    publisher.close()


def pump(relay: LogRelay) -> None:
    for _ in range(100):
        if not relay.pump():
            return
    raise AssertionError("the relay does not finish")


def disk_epoch(root: Root) -> int:
    reader = LogReader(root.log(WORKCELL))
    reader.refresh()
    return epoch_of(root, WORKCELL, reader)


def problems(root: Root, client: Any) -> list[str]:
    header, lines = read_log(root.log(WORKCELL))
    return completeness_problems(client, WORKCELL, disk_epoch(root), lines, header.base if header else 0)


def numbered(count: int, start: int = 0) -> list[bytes]:
    return [event_line(number) for number in range(start, start + count)]


def test_a_lagging_relay_notices_changed_lines_that_only_another_relay_has_published(
    root: Root, publisher: Publisher, redis_client: Any
) -> None:
    """It has published none of what was changed, and its own last line is what it was."""
    write_log(root, WORKCELL, numbered(5))
    lagging, ahead = LogRelay(root, WORKCELL, publisher), LogRelay(root, WORKCELL, publisher)
    pump(lagging)
    write_log(root, WORKCELL, numbered(15, 5))
    pump(ahead)
    old = disk_epoch(root)
    write_log(root, WORKCELL, [*numbered(5), *numbered(25, 1000)], "wb")
    pump(lagging)
    assert disk_epoch(root) != old
    assert problems(root, redis_client) == []


def test_a_relay_that_lags_behind_another_notices_a_change_of_what_a_failover_took_from_the_broker(
    root: Root, publisher: Publisher, redis_client: Any
) -> None:
    write_log(root, WORKCELL, numbered(5))
    lagging, ahead = LogRelay(root, WORKCELL, publisher), LogRelay(root, WORKCELL, publisher)
    pump(lagging)
    behind = {key: redis_client.dump(key) for key in redis_client.scan_iter()}
    write_log(root, WORKCELL, numbered(15, 5))
    pump(ahead)
    old = disk_epoch(root)
    for key, value in behind.items():
        redis_client.restore(key, 0, value, replace=True)
    edit_in_place(root.log(WORKCELL), 19, event_line(77))
    pump(lagging)
    assert disk_epoch(root) != old
    assert problems(root, redis_client) == []


def test_a_relay_that_lags_behind_another_notices_that_the_log_got_another_epoch(
    root: Root, publisher: Publisher, redis_client: Any
) -> None:
    """Though a flush has taken the new epoch from the broker, and the state directory knows only its watermark."""
    path = write_log(root, WORKCELL, numbered(1))
    lagging, ahead = LogRelay(root, WORKCELL, publisher), LogRelay(root, WORKCELL, publisher)
    pump(lagging)
    write_log(root, WORKCELL, numbered(11, 1))
    pump(ahead)
    old = disk_epoch(root)
    edit_in_place(path, 11, event_line(77, "another line"))
    pump(ahead)
    redis_client.flushall()
    pump(lagging)
    assert {int(fields[b"e"]) for _, fields in redis_client.xrange(feed_key(0))} == {disk_epoch(root)} != {old}
    assert problems(root, redis_client) == []


def test_a_lagging_relay_does_not_lower_the_watermark_of_another(root: Root, publisher: Publisher) -> None:
    write_log(root, WORKCELL, numbered(5))
    lagging, ahead = LogRelay(root, WORKCELL, publisher), LogRelay(root, WORKCELL, publisher)
    pump(lagging)
    write_log(root, WORKCELL, numbered(2000, 5))
    pump(ahead)
    assert lagging.pump()
    noted = root.log_state(WORKCELL).watermark()
    assert noted is not None
    assert noted.head == 2005


@pytest.mark.parametrize("at", [5, 2500], ids=["near its beginning", "near its end"])
@pytest.mark.parametrize("longer", [False, True])
@pytest.mark.parametrize("published_by", ["this relay", "the relay before it"])
def test_an_edit_of_the_last_published_line_is_noticed_before_the_next_batch(
    root: Root, publisher: Publisher, redis_client: Any, at: int, published_by: str, *, longer: bool
) -> None:
    line = event_line(7, "y" * 3000)
    path = write_log(root, WORKCELL, [*numbered(7), line])
    relay = LogRelay(root, WORKCELL, publisher)
    pump(relay)
    if published_by == "the relay before it":
        relay = LogRelay(root, WORKCELL, publisher)
        pump(relay)
    at = line.index(b"y" * 3000) + at
    edit_in_place(path, 7, line[:at] + b"z" * (3 if longer else 1) + line[at + 1 :])
    write_log(root, WORKCELL, numbered(3, 8))
    old = disk_epoch(root)
    pump(relay)
    assert disk_epoch(root) != old
    assert problems(root, redis_client) == []


def test_an_edit_far_in_a_long_first_line_is_noticed(root: Root, publisher: Publisher, redis_client: Any) -> None:
    line = event_line(0, "y" * 3000)
    path = write_log(root, WORKCELL, [line, *numbered(30, 1)])
    relay = LogRelay(root, WORKCELL, publisher)
    pump(relay)
    edit_in_place(path, 0, line[:2000] + b"z" + line[2001:])
    write_log(root, WORKCELL, numbered(3, 31))
    pump(relay)
    assert problems(root, redis_client) == []


def longer_in_place(path: Path) -> None:
    edit_in_place(path, 5, event_line(999, "longer than before"))


def shorter_in_place(path: Path) -> None:
    edit_in_place(path, 5, event_line(9, "s"))


def a_copy(path: Path) -> None:
    edit_a_copy(path, 5, event_line(999))


@pytest.mark.parametrize("edit", [longer_in_place, shorter_in_place, a_copy])
@pytest.mark.parametrize("pruned", [False, True], ids=["without header", "with header"])
def test_an_edited_line_among_the_published_ones_makes_another_log(
    root: Root, publisher: Publisher, redis_client: Any, edit: Callable[[Path], None], *, pruned: bool
) -> None:
    path = write_log(root, WORKCELL, numbered(30))
    relay = LogRelay(root, WORKCELL, publisher)
    if pruned:
        prune(path, disk_epoch(root), 10)
    pump(relay)
    edit(path)
    write_log(root, WORKCELL, numbered(3, 30))
    old = disk_epoch(root)
    pump(relay)
    assert disk_epoch(root) != old
    assert problems(root, redis_client) == []


def test_a_long_last_line_that_is_edited_near_its_start_is_seen_at_the_next_look(
    root: Root, publisher: Publisher, redis_client: Any
) -> None:
    """Though nothing is appended, so that no batch looks at it."""
    path = write_log(root, WORKCELL, [*numbered(3), b'{"type":"x","n":1,"s":"%s"}' % (b"y" * 5000)])
    relay = LogRelay(root, WORKCELL, publisher)
    pump(relay)
    epoch = disk_epoch(root)
    path.write_bytes(path.read_bytes().replace(b'"n":1', b'"n":2'))
    pump(relay)
    assert disk_epoch(root) != epoch
    assert problems(root, redis_client) == []


def test_a_log_pruned_beyond_what_was_published_goes_on_at_its_base(
    root: Root, publisher: Publisher, redis_client: Any
) -> None:
    path = write_log(root, WORKCELL, numbered(10))
    relay = LogRelay(root, WORKCELL, publisher)
    pump(relay)
    epoch = disk_epoch(root)
    write_log(root, WORKCELL, numbered(20, 10))
    prune(path, epoch, 20)
    pump(relay)
    assert disk_epoch(root) == epoch
    assert problems(root, redis_client) == []
    assert redis_client.xrange(stream_key(WORKCELL), count=1)[0][0] == b"%d-21" % epoch


@pytest.mark.parametrize("drops", [(10,), (10, 15)])
def test_a_log_that_is_pruned_keeps_its_epoch_also_for_the_next_relay(
    root: Root, publisher: Publisher, drops: tuple[int, ...]
) -> None:
    path = write_log(root, WORKCELL, numbered(40))
    relay = LogRelay(root, WORKCELL, publisher)
    pump(relay)
    epoch = disk_epoch(root)
    for drop in drops:
        keep(path)
        prune(path, epoch, drop)
        pump(relay)
    pump(LogRelay(root, WORKCELL, publisher))
    write_log(root, WORKCELL, numbered(5, 40))
    pump(relay)
    assert disk_epoch(root) == epoch
    position = publisher.watermarks([WORKCELL])[0]
    assert (position.epoch, position.base, position.head) == (epoch, sum(drops), 45)


def test_a_pruned_log_that_a_flushed_broker_received_again_keeps_its_epoch_at_the_next_start(
    root: Root, publisher: Publisher, redis_client: Any
) -> None:
    path = write_log(root, WORKCELL, numbered(40))
    relay = LogRelay(root, WORKCELL, publisher)
    pump(relay)
    epoch = disk_epoch(root)
    prune(path, epoch, 10)
    pump(relay)
    redis_client.flushall()
    for _ in range(2):
        pump(LogRelay(root, WORKCELL, publisher))
    assert disk_epoch(root) == epoch
    assert problems(root, redis_client) == []


def test_a_stream_whose_last_entries_were_deleted_is_published_again_with_the_next_line(
    root: Root, publisher: Publisher, redis_client: Any
) -> None:
    """Redis takes no entry again under an ID that a stream has had."""
    write_log(root, WORKCELL, numbered(10))
    pump(LogRelay(root, WORKCELL, publisher))
    redis_client.xdel(stream_key(WORKCELL), f"{disk_epoch(root)}-9", f"{disk_epoch(root)}-10")
    write_log(root, WORKCELL, numbered(1, 10))
    pump(LogRelay(root, WORKCELL, publisher))
    assert problems(root, redis_client) == []


class Dies(Publisher):
    """A broker connection on which the relay is killed before it publishes a new base."""

    def amend(self, workcell: str, epoch: int, origin: str, head: int, base: int, summary: bytes) -> bool:
        raise KeyboardInterrupt(workcell, epoch, origin, head, base, summary)


def shown_and_pruned(root: Root, publisher: Publisher, count: int) -> tuple[Path, int]:
    """A log whose first ten lines were pruned after all were published, and its epoch."""
    path = write_log(root, WORKCELL, numbered(count))
    pump(LogRelay(root, WORKCELL, publisher))
    epoch = disk_epoch(root)
    keep(path)
    prune(path, epoch, 10)
    return path, epoch


def keep(path: Path) -> None:
    """No later file of this directory gets this one's inode."""
    path.with_name(f"{path.stat().st_ino}").hardlink_to(path)


@pytest.mark.parametrize("flushed", [False, True])
@pytest.mark.parametrize("fresh", [False, True], ids=["the same relay", "the next relay"])
def test_an_edited_copy_of_a_pruned_log_is_another_log(
    root: Root, publisher: Publisher, redis_client: Any, flushed: bool, fresh: bool
) -> None:
    path = write_log(root, WORKCELL, numbered(40))
    relay = LogRelay(root, WORKCELL, publisher)
    pump(relay)
    epoch = disk_epoch(root)
    keep(path)
    prune(path, epoch, 10)
    pump(relay)
    keep(path)
    edit_a_copy(path, 5, event_line(999))
    if flushed:
        redis_client.flushall()
        relay.detach()
    write_log(root, WORKCELL, numbered(3, 40))
    pump(LogRelay(root, WORKCELL, publisher) if fresh else relay)
    assert disk_epoch(root) != epoch
    assert problems(root, redis_client) == []


@pytest.mark.parametrize("edited", [False, True])
def test_a_relay_that_is_killed_before_it_publishes_a_prune_has_noted_it(
    root: Root, redis_url: str, publisher: Publisher, edited: bool
) -> None:
    path, epoch = shown_and_pruned(root, publisher, 40)
    dying = Dies(redis_url)
    with pytest.raises(KeyboardInterrupt):
        pump(LogRelay(root, WORKCELL, dying))
    dying.close()
    keep(path)
    if edited:
        edit_a_copy(path, 5, event_line(999))
    pump(LogRelay(root, WORKCELL, publisher))
    assert (disk_epoch(root) != epoch) == edited
    position = publisher.watermarks([WORKCELL])[0]
    assert (position.epoch, position.base, position.head) == (disk_epoch(root), 10, 40)


def test_a_relay_that_is_killed_while_it_publishes_a_pruned_log_again_leaves_its_epoch(
    root: Root, publisher: Publisher, redis_client: Any
) -> None:
    _, epoch = shown_and_pruned(root, publisher, 2000)
    redis_client.flushall()
    killed = LogRelay(root, WORKCELL, publisher)
    while not publisher.watermarks([WORKCELL])[0].head:
        assert killed.pump()
    assert publisher.watermarks([WORKCELL])[0].head < 2000
    pump(LogRelay(root, WORKCELL, publisher))
    assert disk_epoch(root) == epoch
    assert problems(root, redis_client) == []


def test_two_relays_notice_the_same_prunes(root: Root, publisher: Publisher) -> None:
    path = write_log(root, WORKCELL, numbered(40))
    relays = [LogRelay(root, WORKCELL, publisher) for _ in range(2)]
    for relay in relays:
        pump(relay)
    epoch = disk_epoch(root)
    for drop in (10, 5):
        keep(path)
        prune(path, epoch, drop)
        for relay in (*relays, relays[0], LogRelay(root, WORKCELL, publisher)):
            pump(relay)
    assert disk_epoch(root) == epoch
    position = publisher.watermarks([WORKCELL])[0]
    assert (position.epoch, position.base, position.head) == (epoch, 15, 40)


def test_a_gateway_without_a_broker_vouches_for_no_edited_copy(
    root: Root, publisher: Publisher, redis_client: Any
) -> None:
    path, epoch = shown_and_pruned(root, publisher, 40)
    LogRelay(root, WORKCELL, publisher).vouch()
    assert History(Roots(root)).synced_extent(WORKCELL) == Extent(epoch, 10, 40)
    keep(path)
    edit_a_copy(path, 5, event_line(999))
    write_log(root, WORKCELL, numbered(3, 40))
    assert History(Roots(root)).synced_extent(WORKCELL) == Extent(epoch, 10, 10)
    pump(LogRelay(root, WORKCELL, publisher))
    assert disk_epoch(root) != epoch
    assert problems(root, redis_client) == []


def test_a_watermark_never_goes_back_within_an_epoch(root: Root) -> None:
    root.log_state(WORKCELL).raise_watermark(Watermark(7, 47, 1, 10, 100))
    root.log_state(WORKCELL).raise_watermark(Watermark(7, 40, 2, 0, 90))
    assert root.log_state(WORKCELL).watermark() == Watermark(7, 47, 1, 10, 100)
    root.log_state(WORKCELL).raise_watermark(Watermark(7, 50, 3, 0, 90))
    root.log_state(WORKCELL).raise_watermark(Watermark(7, 48, 4, 20, 110))
    assert root.log_state(WORKCELL).watermark() == Watermark(7, 50, 3, 20, 110)
    root.log_state(WORKCELL).raise_watermark(Watermark(8, 1, 5, 0, 120))
    assert root.log_state(WORKCELL).watermark() == Watermark(8, 1, 5, 0, 120)
