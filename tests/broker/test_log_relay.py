"""The relay of one log, against a real server: driven step by step, so that each step can be torn from the next."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.broker_checker import completeness_problems, stream_problems
from support.log_edits import prune
from support.logs import event_line, write_log
from workcast.broker.batch import Budgets
from workcast.broker.errors import OriginConflictError
from workcast.broker.keys import feed_key, presence_key, stream_key, summary_key
from workcast.broker.log import LogReader
from workcast.broker.log_facts import epoch_of
from workcast.broker.log_relay import LogRelay
from workcast.broker.publisher import Publisher
from workcast.broker.root import Root

WORKCELL = "wc"


@pytest.fixture
def publisher(redis_url: str) -> Any:
    publisher = Publisher(redis_url)
    yield publisher
    publisher.close()


def pump(relay: LogRelay) -> None:
    while relay.pump():
        pass


def disk_epoch(root: Root) -> int:
    reader = LogReader(root.log(WORKCELL))
    reader.refresh()
    return epoch_of(root, WORKCELL, reader)


def problems(root: Root, client: Any, lines: list[bytes], base: int = 0) -> list[str]:
    return completeness_problems(client, WORKCELL, disk_epoch(root), lines, base)


def numbered(count: int, start: int = 0) -> list[bytes]:
    return [event_line(number) for number in range(start, start + count)]


def test_every_line_gets_into_stream_and_feed_under_its_offset(
    root: Root, publisher: Publisher, redis_client: Any
) -> None:
    lines = [*numbered(3), b"not JSON", b'{ "type" : "odd spacing" }']
    write_log(root, WORKCELL, lines)
    pump(LogRelay(root, WORKCELL, publisher))
    assert problems(root, redis_client, lines) == []
    feed = [(int(f[b"o"]), f[b"w"], int(f[b"e"])) for _, f in redis_client.xrange(feed_key(0))]
    assert feed == [(offset, b"wc", disk_epoch(root)) for offset in range(5)]
    assert redis_client.zrange("workcast:{0}:workcells", 0, -1) == [b"wc"]


def test_an_unterminated_tail_is_not_published(root: Root, publisher: Publisher, redis_client: Any) -> None:
    path = write_log(root, WORKCELL, numbered(2))
    with path.open("ab") as file:
        file.write(b'{"type":"to')
    relay = LogRelay(root, WORKCELL, publisher)
    pump(relay)
    assert problems(root, redis_client, numbered(2)) == []
    with path.open("ab") as file:
        file.write(b'rn"}\n')
    pump(relay)
    assert problems(root, redis_client, [*numbered(2), b'{"type":"torn"}']) == []


def test_a_giant_tail_of_one_log_leaves_the_other_logs_their_turn(root: Root, publisher: Publisher) -> None:
    path = write_log(root, WORKCELL, numbered(2))
    os.truncate(path, 100 << 20)  # a tail of zeros, which takes no room on the disk
    relay = LogRelay(root, WORKCELL, publisher)
    turns = 0
    while relay.pump() and not publisher.watermarks([WORKCELL])[0].head:
        turns += 1
    assert turns >= 3
    pump(relay)
    assert publisher.watermarks([WORKCELL])[0].head == 2


@pytest.mark.parametrize(
    "line",
    [
        b"no json", b"[1]", b'"text"', b"{}", b'{"type":7}', b'{"type":"x","n":NaN}', b'{"type":"\xff"}', b"",
        b'{"type":"x","text":"' + b"y" * 20_000_000 + b'"}', b"z" * 20_000_000, b'{"type":"completed","status":[]}',
    ],
    ids=["no JSON", "array", "string", "no type", "type of a number", "NaN", "invalid UTF-8", "empty", "20 MB",
         "20 MB of no JSON", "of a known type that it does not fit"],
)  # fmt: skip
def test_any_line_keeps_its_offset_and_the_stream_goes_on(
    root: Root, publisher: Publisher, redis_client: Any, line: bytes
) -> None:
    lines = [*numbered(3), line, *numbered(3, 3)]
    write_log(root, WORKCELL, lines)
    pump(LogRelay(root, WORKCELL, publisher))
    assert problems(root, redis_client, lines) == []
    assert [int(fields[b"o"]) for _, fields in redis_client.xrange(feed_key(0))][-3:] == [4, 5, 6]


def test_a_new_relay_goes_on_from_the_streams_head(root: Root, publisher: Publisher, redis_client: Any) -> None:
    write_log(root, WORKCELL, numbered(700))
    pump(LogRelay(root, WORKCELL, publisher))
    write_log(root, WORKCELL, numbered(10, 700))
    pump(LogRelay(root, WORKCELL, publisher))
    assert redis_client.xlen(feed_key(0)) == 710
    assert problems(root, redis_client, numbered(710)) == []


def test_two_relays_on_one_log_publish_each_line_once(root: Root, publisher: Publisher, redis_client: Any) -> None:
    one, other = LogRelay(root, WORKCELL, publisher), LogRelay(root, WORKCELL, publisher)
    for start in range(0, 60, 3):
        write_log(root, WORKCELL, numbered(3, start))
        (one if start % 2 else other).pump()
        if start % 4 == 0:
            one.pump()
            other.pump()
    pump(one)
    pump(other)
    assert problems(root, redis_client, numbered(60)) == []
    assert redis_client.xlen(feed_key(0)) == 60


@pytest.mark.parametrize("forgotten", ["everything", "the stream", "the summary", "the feed"])
def test_what_the_broker_forgot_is_published_again_under_the_same_ids(
    root: Root, publisher: Publisher, redis_client: Any, forgotten: str
) -> None:
    write_log(root, WORKCELL, numbered(1200))
    relay = LogRelay(root, WORKCELL, publisher)
    pump(relay)
    before = redis_client.xrange(stream_key(WORKCELL))
    if forgotten == "everything":
        redis_client.flushall()
    else:
        keys = {"the stream": stream_key(WORKCELL), "the summary": summary_key(WORKCELL), "the feed": feed_key(0)}
        redis_client.delete(keys[forgotten])
    relay.reconcile(publisher.watermarks([WORKCELL])[0])
    pump(relay)
    write_log(root, WORKCELL, numbered(1, 1200))
    pump(relay)
    assert problems(root, redis_client, numbered(1201)) == []
    assert redis_client.xrange(stream_key(WORKCELL))[:1200] == before


def test_acknowledged_writes_that_a_failover_lost_are_published_again(
    root: Root, publisher: Publisher, redis_client: Any
) -> None:
    write_log(root, WORKCELL, numbered(100))
    relay = LogRelay(root, WORKCELL, publisher)
    pump(relay)
    copies = {key: redis_client.dump(key) for key in redis_client.scan_iter()}
    write_log(root, WORKCELL, numbered(100, 100))
    pump(relay)
    for key, value in copies.items():  # a replica that lacks the second half
        redis_client.restore(key, 0, value, replace=True)
    assert not relay.reconcile(publisher.watermarks([WORKCELL])[0])
    pump(relay)
    assert problems(root, redis_client, numbered(200)) == []


def test_the_stream_keeps_a_dense_tail_within_its_budgets(root: Root, redis_url: str, redis_client: Any) -> None:
    publisher = Publisher(redis_url, Budgets(stream_bytes=200_000, stream_entries=1000))
    lines = [event_line(number, "x" * (number % 300)) for number in range(5000)]
    relay = LogRelay(root, WORKCELL, publisher)
    for start in range(0, 5000, 250):
        write_log(root, WORKCELL, lines[start : start + 250])
        pump(relay)
    assert problems(root, redis_client, lines) == []
    kept = redis_client.xlen(stream_key(WORKCELL))
    assert 300 <= kept <= 1700  # trimmed by whole nodes, and a batch is added after the trim
    redis_client.flushall()
    again = LogRelay(root, WORKCELL, publisher)
    pump(again)
    assert problems(root, redis_client, lines) == []
    assert redis_client.xlen(stream_key(WORKCELL)) <= 1000
    publisher.close()


def test_a_feed_stays_within_its_budgets(root: Root, redis_url: str, redis_client: Any) -> None:
    publisher = Publisher(redis_url, Budgets(feed_bytes=100_000, feed_entries=2000))
    relay = LogRelay(root, WORKCELL, publisher)
    for start in range(0, 10_000, 500):
        write_log(root, WORKCELL, [event_line(number, "y" * 200) for number in range(start, start + 500)])
        pump(relay)
    assert redis_client.memory_usage(feed_key(0), samples=0) < 100_000 + 500 * 500
    publisher.close()


# ── another log under the same name ──────────────────────────────────────────────────────────────────────────────────
def truncate(root: Root) -> list[bytes]:
    write_log(root, WORKCELL, numbered(2), "wb")
    return numbered(2)


def regrow_longer_with_the_same_first_line(root: Root) -> list[bytes]:
    lines = [event_line(0), *numbered(80, 1000)]
    write_log(root, WORKCELL, lines, "wb")
    return lines


def edit_a_copy(root: Root) -> list[bytes]:
    """As ``sed -i`` does: another file, whose first and last lines are the same."""
    lines = [*numbered(20), event_line(999, "edited"), *numbered(29, 21)]
    copy = root.log(WORKCELL).with_suffix(".copy")
    copy.write_bytes(b"".join(line + b"\n" for line in lines))
    copy.rename(root.log(WORKCELL))
    return lines


def replace_with_another_log(root: Root) -> list[bytes]:
    root.log(WORKCELL).unlink()
    lines = numbered(30, 5000)
    write_log(root, WORKCELL, lines)
    return lines


@pytest.mark.parametrize("running", [True, False], ids=["seen by a running relay", "while no relay ran"])
@pytest.mark.parametrize(
    "change", [truncate, regrow_longer_with_the_same_first_line, replace_with_another_log, edit_a_copy]
)
def test_a_log_whose_bytes_differ_gets_a_new_epoch_and_no_mixture(
    root: Root, publisher: Publisher, redis_client: Any, change: Any, *, running: bool
) -> None:
    write_log(root, WORKCELL, numbered(50))
    relay = LogRelay(root, WORKCELL, publisher)
    pump(relay)
    relay.checkpoint()
    old = disk_epoch(root)
    lines = change(root)
    relay = relay if running else LogRelay(root, WORKCELL, publisher)
    pump(relay)
    assert problems(root, redis_client, lines) == []
    assert disk_epoch(root) != old
    write_log(root, WORKCELL, numbered(5, 9000))
    pump(relay)
    assert problems(root, redis_client, [*lines, *numbered(5, 9000)]) == []


@pytest.mark.parametrize("ended", ["cleanly", "by a kill"])
def test_a_changed_log_is_noticed_though_broker_and_relay_forgot_what_was_shown(
    root: Root, publisher: Publisher, redis_client: Any, ended: str
) -> None:
    write_log(root, WORKCELL, numbered(50))
    relay = LogRelay(root, WORKCELL, publisher)
    pump(relay)
    if ended == "cleanly":
        relay.checkpoint()
    old = disk_epoch(root)
    redis_client.flushall()
    lines = regrow_longer_with_the_same_first_line(root)
    pump(LogRelay(root, WORKCELL, publisher))
    assert disk_epoch(root) != old
    assert problems(root, redis_client, lines) == []


def test_a_log_restored_from_a_copy_is_published_whole(root: Root, publisher: Publisher, redis_client: Any) -> None:
    path = write_log(root, WORKCELL, numbered(50))
    relay = LogRelay(root, WORKCELL, publisher)
    pump(relay)
    copy = path.read_bytes()
    path.unlink()
    path.write_bytes(copy)
    write_log(root, WORKCELL, numbered(5, 50))
    pump(relay)
    assert problems(root, redis_client, numbered(55)) == []


def test_a_pruned_log_keeps_its_epoch_and_its_offsets(root: Root, publisher: Publisher, redis_client: Any) -> None:
    path = write_log(root, WORKCELL, numbered(50))
    relay = LogRelay(root, WORKCELL, publisher)
    pump(relay)
    epoch = disk_epoch(root)
    header = json.dumps({"type": "log", "epoch": epoch, "base": 20}).encode()
    new = path.with_suffix(".new")
    new.write_bytes(b"".join(line + b"\n" for line in [header, *numbered(30, 20)]))
    new.rename(path)
    write_log(root, WORKCELL, numbered(10, 50))
    pump(relay)
    assert stream_problems(redis_client, WORKCELL, epoch, numbered(60)) == []
    position = publisher.watermarks([WORKCELL])[0]
    assert (position.epoch, position.base, position.head) == (epoch, 20, 60)


def test_a_log_that_is_pruned_and_written_no_further_still_publishes_its_base(
    root: Root, publisher: Publisher, redis_client: Any
) -> None:
    path = write_log(root, WORKCELL, numbered(50))
    relay, other = (LogRelay(root, WORKCELL, publisher) for _ in range(2))
    pump(relay)
    pump(other)
    prune(path, disk_epoch(root), 20)
    pump(relay)
    position = publisher.watermarks([WORKCELL])[0]
    assert (position.base, position.head) == (20, 50)
    assert json.loads(redis_client.hget(summary_key(WORKCELL), "json"))["base"] == 20
    entries = redis_client.xlen(feed_key(0))
    pump(relay)
    pump(other)
    assert redis_client.xlen(feed_key(0)) == entries
    # One that has not seen it takes nothing back; should it have done so by a batch, the next sweep puts it right.
    assert not publisher.amend(WORKCELL, disk_epoch(root), root.origin(), 50, 0, b"{}")
    redis_client.hset(summary_key(WORKCELL), "base", 0)
    relay.reconcile(publisher.watermarks([WORKCELL])[0])
    pump(relay)
    assert publisher.watermarks([WORKCELL])[0].base == 20


def test_a_log_with_a_header_gets_a_new_epoch_too_when_its_bytes_differ(
    root: Root, publisher: Publisher, redis_client: Any
) -> None:
    header = b'{"type":"log","epoch":77,"base":20}'
    write_log(root, WORKCELL, [header, *numbered(30, 20)])
    relay = LogRelay(root, WORKCELL, publisher)
    pump(relay)
    assert disk_epoch(root) == 77
    write_log(root, WORKCELL, [header, *numbered(10, 500)], "wb")
    pump(relay)
    assert disk_epoch(root) != 77
    assert stream_problems(redis_client, WORKCELL, disk_epoch(root), numbered(10, 500), base=20) == []
    pump(LogRelay(root, WORKCELL, publisher))
    assert stream_problems(redis_client, WORKCELL, disk_epoch(root), numbered(10, 500), base=20) == []
    write_log(root, WORKCELL, [b'{"type":"log","epoch":78,"base":20}', *numbered(10, 800)], "wb")
    pump(relay)
    assert disk_epoch(root) == 78


def test_what_the_broker_forgot_is_published_by_a_relay_that_has_published_nothing_yet(
    root: Root, publisher: Publisher, redis_client: Any
) -> None:
    write_log(root, WORKCELL, numbered(30))
    pump(LogRelay(root, WORKCELL, publisher))
    relay = LogRelay(root, WORKCELL, publisher)  # started again: the stream is complete
    pump(relay)
    redis_client.flushall()
    assert not relay.reconcile(publisher.watermarks([WORKCELL])[0])
    pump(relay)
    assert problems(root, redis_client, numbered(30)) == []


class Overtaken(Publisher):
    """A broker in which another relay publishes between the question for positions and its answer's use."""

    other: LogRelay | None = None
    more: Any = None

    def watermarks(self, workcells: Any) -> Any:
        if self.other is not None:
            other, self.other = self.other, None
            self.more()
            pump(other)
        return super().watermarks(workcells)


def test_a_relay_that_is_overtaken_while_it_finds_its_place_takes_no_new_epoch(
    root: Root, publisher: Publisher, redis_url: str, redis_client: Any
) -> None:
    write_log(root, WORKCELL, numbered(10))
    overtaken = Overtaken(redis_url)
    overtaken.more = lambda: write_log(root, WORKCELL, numbered(10, 10))
    overtaken.other = LogRelay(root, WORKCELL, publisher)
    old = disk_epoch(root)
    pump(LogRelay(root, WORKCELL, overtaken))
    overtaken.close()
    assert disk_epoch(root) == old
    assert problems(root, redis_client, numbered(20)) == []


def test_relays_that_both_notice_a_change_agree_on_one_epoch(
    root: Root, publisher: Publisher, redis_client: Any
) -> None:
    write_log(root, WORKCELL, numbered(50))
    one, other = LogRelay(root, WORKCELL, publisher), LogRelay(root, WORKCELL, publisher)
    pump(one)
    pump(other)
    lines = truncate(root)
    one.pump()
    other.pump()
    for _ in range(5):
        one.pump()
        other.pump()
    assert problems(root, redis_client, lines) == []


# ── summaries and origins ────────────────────────────────────────────────────────────────────────────────────────────
def test_a_summary_from_a_checkpoint_equals_the_fold_of_the_whole_log(
    root: Root, publisher: Publisher, redis_client: Any
) -> None:
    write_log(root, WORKCELL, numbered(3000))
    relay = LogRelay(root, WORKCELL, publisher)
    pump(relay)
    relay.checkpoint()
    write_log(root, WORKCELL, numbered(3000, 3000))
    pump(LogRelay(root, WORKCELL, publisher))
    assert problems(root, redis_client, numbered(6000)) == []


def test_a_damaged_checkpoint_costs_work_and_nothing_else(root: Root, publisher: Publisher, redis_client: Any) -> None:
    write_log(root, WORKCELL, numbered(30))
    pump(LogRelay(root, WORKCELL, publisher))
    (root.state / f"{WORKCELL}.checkpoint").write_text('{"epoch": "no", ')
    write_log(root, WORKCELL, numbered(3, 30))
    pump(LogRelay(root, WORKCELL, publisher))
    assert problems(root, redis_client, numbered(33)) == []


def test_the_same_workcell_of_another_root_is_refused(
    root: Root, publisher: Publisher, redis_client: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    write_log(root, WORKCELL, numbered(5))
    pump(LogRelay(root, WORKCELL, publisher))
    second = Root(tmp_path_factory.mktemp("second"))
    second.prepare()
    write_log(second, WORKCELL, numbered(9, 100))
    with pytest.raises(OriginConflictError, match="another root"):
        pump(LogRelay(second, WORKCELL, publisher))
    assert problems(root, redis_client, numbered(5)) == []


def origins_in(client: Any) -> set[str]:
    """The origins in the broker's summary: beside its JSON, and in it."""
    origin, summary = client.hmget(summary_key(WORKCELL), "origin", "json")
    return {origin.decode(), json.loads(summary)["origin"]}


@pytest.mark.parametrize("stream", ["whole", "absent"])
@pytest.mark.parametrize("added", [0, 3])
def test_a_root_whose_state_was_deleted_goes_on_with_what_it_had_published(
    root: Root, publisher: Publisher, redis_client: Any, stream: str, added: int
) -> None:
    write_log(root, WORKCELL, numbered(100))
    pump(LogRelay(root, WORKCELL, publisher))
    if stream == "absent":
        redis_client.delete(stream_key(WORKCELL))
    before = root.origin()
    shutil.rmtree(root.state)
    write_log(root, WORKCELL, numbered(added, 100))
    after = Root(root.directory)
    pump(LogRelay(after, WORKCELL, publisher))
    assert origins_in(redis_client) == {after.origin()} != {before}
    if stream == "whole" or added:
        assert problems(after, redis_client, numbered(100 + added)) == []


def test_a_workcell_is_not_taken_from_a_root_that_has_a_relay(
    root: Root, publisher: Publisher, redis_client: Any
) -> None:
    write_log(root, WORKCELL, numbered(5))
    pump(LogRelay(root, WORKCELL, publisher))
    before = root.origin()
    publisher.send_heartbeat(before)
    shutil.rmtree(root.state)
    after = Root(root.directory)
    relay = LogRelay(after, WORKCELL, publisher)
    for _ in range(2):
        with pytest.raises(OriginConflictError):
            pump(relay)
    assert origins_in(redis_client) == {before}
    assert 0 < redis_client.pttl(presence_key(0, before)) <= 15_000
    redis_client.delete(presence_key(0, before))  # as when it expires
    pump(relay)
    assert origins_in(redis_client) == {after.origin()}


@pytest.mark.parametrize(
    ("lines", "stream"),
    [
        (numbered(9, 100), "whole"),
        (numbered(9, 100), "absent"),
        (numbered(4), "whole"),
        (numbered(4), "absent"),
        ([*numbered(4), event_line(99)], "whole"),
        ([*numbered(2), event_line(99), *numbered(9, 3)], "whole"),
    ],
    ids=["another log", "another log, no stream", "shorter", "shorter, no stream", "another end", "another middle"],
)
def test_a_log_that_differs_from_what_another_root_published_is_refused(
    root: Root, publisher: Publisher, redis_client: Any, tmp_path: Path, lines: list[bytes], stream: str
) -> None:
    write_log(root, WORKCELL, numbered(5))
    pump(LogRelay(root, WORKCELL, publisher))
    second = Root(tmp_path / "second")
    second.directory.mkdir()
    second.prepare()
    write_log(second, WORKCELL, lines)
    if stream == "absent":
        redis_client.delete(stream_key(WORKCELL))
    for _ in range(2):
        with pytest.raises(OriginConflictError):
            pump(LogRelay(second, WORKCELL, publisher))
    assert origins_in(redis_client) == {root.origin()}


def test_a_claim_compares_what_the_relay_has_read(root: Root, publisher: Publisher, redis_client: Any) -> None:
    write_log(root, WORKCELL, numbered(5))
    pump(LogRelay(root, WORKCELL, publisher))
    stored = publisher.watermarks([WORKCELL])[0]
    for other in (replace(stored, origin="x"), replace(stored, head=4), replace(stored, epoch=1)):
        assert not publisher.claim(WORKCELL, other, "new")
    assert publisher.claim(WORKCELL, stored, "new")
    assert redis_client.hget(summary_key(WORKCELL), "origin") == b"new"


# ── the checker sees each rule broken ────────────────────────────────────────────────────────────────────────────────
def break_a_byte(client: Any, epoch: int) -> None:
    client.xadd(stream_key(WORKCELL), {"c": "0", "d": event_line(99)}, id=f"{epoch}-6")


def break_density(client: Any, epoch: int) -> None:
    client.xdel(stream_key(WORKCELL), f"{epoch}-3")


def break_the_epoch(client: Any, epoch: int) -> None:
    client.xadd(stream_key(WORKCELL), {"c": "0", "d": event_line(0)}, id=f"{epoch + 1}-1")


def break_completeness(client: Any, epoch: int) -> None:
    client.xdel(stream_key(WORKCELL), f"{epoch}-5")


def break_the_summary(client: Any, _: int) -> None:
    client.hset(summary_key(WORKCELL), "head", 4)


@pytest.mark.parametrize(
    "damage", [break_a_byte, break_density, break_the_epoch, break_completeness, break_the_summary]
)
def test_the_checker_sees_a_broken_broker(root: Root, publisher: Publisher, redis_client: Any, damage: Any) -> None:
    write_log(root, WORKCELL, numbered(5))
    pump(LogRelay(root, WORKCELL, publisher))
    assert problems(root, redis_client, numbered(5)) == []
    damage(redis_client, disk_epoch(root))
    assert problems(root, redis_client, numbered(5)) != []
