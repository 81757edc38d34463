"""The relays of all logs of a root, step by step: attaching, requested windows, workcells that are gone."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Generator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from support.broker_checker import completeness_problems
from support.logs import event_line, write_log
from workcast.broker.batch import Budgets
from workcast.broker.keys import feed_key, stream_key, summary_key, wanted_key, workcells_key
from workcast.broker.log import LogReader
from workcast.broker.log_facts import epoch_of
from workcast.broker.log_relay import LogRelay
from workcast.broker.log_relays import LogRelays
from workcast.broker.names import CHECKPOINT_SUFFIX, RUN_LOCK_FILE, state_file
from workcast.broker.publisher import Publisher
from workcast.broker.root import Root
from workcast.broker.verify import verify
from workcast.broker.warn_once import WarnOnce

COMPLETED = b'{"type":"completed","timestamp":"2026-01-01T00:00:01.000Z","status":"success"}'
ENDED = [*(event_line(number) for number in range(30)), COMPLETED]
NOTICE = {b"w": b"wc", b"e": b"0", b"o": b"0", b"d": b""}


def never() -> bool:
    return False


def no_pause() -> None:
    """Nothing is due."""


@pytest.fixture
def publisher(redis_url: str) -> Generator[Publisher]:
    publisher = Publisher(redis_url, Budgets(stream_entries=10))
    yield publisher
    publisher.close()


@pytest.fixture
def new_relays(root: Root, publisher: Publisher) -> Callable[[], LogRelays]:
    def make() -> LogRelays:
        return LogRelays(root, publisher, WarnOnce(logging.getLogger("workcast.relay")), None, no_pause)

    return make


def publish(relays: LogRelays) -> None:
    while relays.has_changed:
        relays.publish(never)


def start(relays: LogRelays) -> LogRelays:
    relays.attach(never)
    publish(relays)
    return relays


def problems(root: Root, client: Any, workcell: str, lines: list[bytes]) -> list[str]:
    reader = LogReader(root.log(workcell))
    reader.refresh()
    return completeness_problems(client, workcell, epoch_of(root, workcell, reader), lines)


def summary(client: Any, workcell: str = "wc") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(client.hget(summary_key(workcell), "json"))
    return found


def lose_writer(root: Root) -> None:
    path = root.workcell("wc") / RUN_LOCK_FILE
    path.touch()
    os.utime(path, (0, 0))


# ── windows that wait ────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("how", ["completed", "lost"])
@pytest.mark.parametrize("checkpointed", [True, False])
def test_an_ended_log_is_attached_with_its_summary_alone(
    root: Root, redis_client: Any, new_relays: Callable[[], LogRelays], how: str, *, checkpointed: bool
) -> None:
    lines = ENDED if how == "completed" else ENDED[:-1]
    write_log(root, "wc", lines)
    if how == "lost":
        lose_writer(root)
    relays = start(new_relays())
    if checkpointed:
        relays.checkpoint()
    redis_client.flushall()
    start(new_relays())
    assert redis_client.exists(stream_key("wc")) == 0
    found = summary(redis_client)
    assert (found["status"], found["head"]) == ("success" if how == "completed" else "lost", len(lines))
    assert redis_client.zrange(workcells_key(0), 0, -1) == [b"wc"]
    assert [fields for _, fields in redis_client.xrange(feed_key(0))] == [NOTICE]


def test_a_log_whose_run_goes_on_is_attached_with_its_window(
    root: Root, redis_client: Any, new_relays: Callable[[], LogRelays]
) -> None:
    write_log(root, "wc", ENDED[:-1])
    start(new_relays())
    assert problems(root, redis_client, "wc", ENDED[:-1]) == []


def test_many_ended_logs_are_attached_in_a_few_round_trips(
    root: Root, redis_client: Any, new_relays: Callable[[], LogRelays]
) -> None:
    for number in range(300):
        write_log(root, f"wc-{number}", [event_line(number), COMPLETED])
    start(new_relays()).checkpoint()
    redis_client.flushall()
    redis_client.config_resetstat()
    start(new_relays())
    assert redis_client.zcard(workcells_key(0)) == 300
    assert redis_client.keys("*:stream:*") == []
    calls = redis_client.info("commandstats")
    assert calls["cmdstat_evalsha"]["calls"] <= 300
    assert "cmdstat_xrange" not in calls


def test_an_ended_log_that_grows_gets_its_window(
    root: Root, redis_client: Any, new_relays: Callable[[], LogRelays]
) -> None:
    write_log(root, "wc", ENDED)
    relays = start(new_relays())
    write_log(root, "wc", ENDED[:5])
    relays.mark_changed(["wc"])
    publish(relays)
    assert problems(root, redis_client, "wc", [*ENDED, *ENDED[:5]]) == []


def test_a_relay_that_followed_another_ones_summary_begins_a_whole_window(
    root: Root, publisher: Publisher, redis_client: Any, new_relays: Callable[[], LogRelays]
) -> None:
    write_log(root, "wc", ENDED)
    standby = LogRelay(root, "wc", publisher)
    assert standby.pump()  # attached; it folds the lines before the window first
    start(new_relays())
    assert standby.follow(publisher.watermarks(["wc"])[0])
    write_log(root, "wc", ENDED[:1])
    assert not standby.follow(publisher.watermarks(["wc"])[0])
    while standby.pump():
        pass
    assert problems(root, redis_client, "wc", [*ENDED, ENDED[0]]) == []
    assert redis_client.xlen(stream_key("wc")) == 10


def test_a_requested_window_is_published_by_the_relay_that_carries_the_log(
    root: Root, redis_client: Any, new_relays: Callable[[], LogRelays]
) -> None:
    write_log(root, "wc", ENDED)
    relays = start(new_relays())
    redis_client.sadd(wanted_key(0), "wc", "elsewhere")
    relays.publish_windows()
    publish(relays)
    assert problems(root, redis_client, "wc", ENDED) == []
    assert redis_client.xlen(stream_key("wc")) == 10
    assert redis_client.smembers(wanted_key(0)) == {b"elsewhere"}
    relays.sweep()
    publish(relays)
    assert redis_client.xlen(stream_key("wc")) == 10


def test_a_request_for_a_window_that_is_there_publishes_nothing(
    root: Root, redis_client: Any, new_relays: Callable[[], LogRelays]
) -> None:
    write_log(root, "wc", ENDED[:-1])
    relays = start(new_relays())
    before = redis_client.xlen(feed_key(0))
    redis_client.sadd(wanted_key(0), "wc")
    relays.publish_windows()
    publish(relays)
    assert redis_client.xlen(feed_key(0)) == before
    assert problems(root, redis_client, "wc", ENDED[:-1]) == []


def test_a_flush_that_a_sweep_notices_brings_back_no_windows_of_ended_logs(
    root: Root, redis_client: Any, new_relays: Callable[[], LogRelays]
) -> None:
    write_log(root, "wc", ENDED)
    write_log(root, "running", ENDED[:5])
    relays = start(new_relays())
    redis_client.flushall()
    relays.sweep()
    publish(relays)
    assert redis_client.exists(stream_key("wc")) == 0
    assert summary(redis_client)["status"] == "success"
    assert problems(root, redis_client, "running", ENDED[:5]) == []


def test_a_missing_window_of_an_ended_log_is_in_order(
    root: Root, publisher: Publisher, new_relays: Callable[[], LogRelays]
) -> None:
    write_log(root, "wc", ENDED)
    start(new_relays())
    assert verify(root, "wc", publisher).problems == []


def test_an_edited_ended_log_gets_another_epoch_though_its_summary_is_all_that_is_published(
    root: Root, publisher: Publisher, redis_client: Any, new_relays: Callable[[], LogRelays]
) -> None:
    write_log(root, "wc", ENDED)
    start(new_relays()).checkpoint()
    before = publisher.watermarks(["wc"])[0]
    redis_client.flushall()
    write_log(root, "wc", [ENDED[0], *ENDED[5:]], "wb")
    start(new_relays())
    after = publisher.watermarks(["wc"])[0]
    assert after.epoch != before.epoch
    assert after.head == len(ENDED) - 4


def test_heartbeats_can_go_out_between_any_two_logs(root: Root, publisher: Publisher) -> None:
    for number in range(20):
        write_log(root, f"wc-{number}", ENDED)
    pauses: list[None] = []
    warnings = WarnOnce(logging.getLogger("workcast.relay"))
    relays = LogRelays(root, publisher, warnings, None, lambda: pauses.append(None))
    relays.attach(never)
    assert len(pauses) >= 20
    relays.publish(never)
    assert len(pauses) >= 40


def test_heartbeats_can_go_out_between_any_two_checkpoints(root: Root, publisher: Publisher) -> None:
    for number in range(20):
        write_log(root, f"wc-{number}", ENDED)
    counts: list[int] = []

    def count() -> None:
        counts.append(len(list(root.state.glob(f"*{CHECKPOINT_SUFFIX}"))))

    relays = LogRelays(root, publisher, WarnOnce(logging.getLogger("workcast.relay")), None, count)
    start(relays).sweep()
    count()
    assert counts[-1] == 20
    assert max(after - before for before, after in pairwise(counts)) == 1


def test_a_checkpoint_that_a_start_took_up_is_not_written_again(
    root: Root, new_relays: Callable[[], LogRelays]
) -> None:
    write_log(root, "wc", ENDED)
    path = root.state / state_file("wc", CHECKPOINT_SUFFIX)
    start(new_relays()).checkpoint()
    kept = path.stat().st_ino
    relays = start(new_relays())
    relays.checkpoint()
    assert path.stat().st_ino == kept
    write_log(root, "wc", [event_line(31)])
    relays.mark_changed(["wc"])
    publish(relays)
    relays.checkpoint()
    assert path.stat().st_ino != kept


def test_a_requested_window_is_published_though_the_log_is_attached_again_before(
    root: Root, redis_client: Any, new_relays: Callable[[], LogRelays]
) -> None:
    write_log(root, "wc", ENDED)
    relays = start(new_relays())
    redis_client.sadd(wanted_key(0), "wc")
    relays.publish_windows()
    start(relays)  # as after an error of the broker
    assert problems(root, redis_client, "wc", ENDED) == []
    redis_client.delete(stream_key("wc"))
    start(relays)
    assert redis_client.exists(stream_key("wc")) == 0  # the request was served once


@pytest.mark.parametrize("only", [None, "evil"])
def test_an_ended_log_behind_a_link_out_of_the_root_gets_no_summary(
    root: Root, publisher: Publisher, redis_client: Any, tmp_path_factory: pytest.TempPathFactory, only: str | None
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "telemetry.jsonl").write_bytes(b"".join(line + b"\n" for line in ENDED))
    (root.workcells / "evil").symlink_to(outside)
    relays = LogRelays(root, publisher, WarnOnce(logging.getLogger("workcast.relay")), only, no_pause)
    start(relays)
    assert left(redis_client) == set()


# ── what is wrong with one log ───────────────────────────────────────────────────────────────────────────────────────
class Unjudgeable(LogRelay):
    """The relay of a log that cannot be judged."""

    def judge(self) -> None:
        if self.workcell == "wc":
            raise ValueError("a fault")


def test_a_log_that_cannot_be_judged_stops_no_sweep_and_is_warned_of_once(
    root: Root,
    redis_client: Any,
    new_relays: Callable[[], LogRelays],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("workcast.broker.log_relays.LogRelay", Unjudgeable)
    for workcell in ("a", "wc", "z"):
        write_log(root, workcell, ENDED[:-1])
    relays = start(new_relays())
    for _ in range(3):
        relays.sweep()
        publish(relays)
    assert root.log_state("z").checkpoint() is not None
    assert problems(root, redis_client, "wc", ENDED[:-1]) == []
    assert [record.getMessage() for record in caplog.records] == [
        "unexpected error in the relay of wc; it is tried again"
    ]


def test_a_checkpoint_that_cannot_be_kept_is_warned_of_once(
    root: Root, new_relays: Callable[[], LogRelays], caplog: pytest.LogCaptureFixture
) -> None:
    write_log(root, "wc", ENDED[:-1])
    relays = start(new_relays())
    (root.state / state_file("wc", CHECKPOINT_SUFFIX)).mkdir()
    for _ in range(3):
        relays.sweep()
        publish(relays)
    assert len([record for record in caplog.records if "cannot keep a checkpoint of wc" in record.getMessage()]) == 1


# ── workcells that are gone ──────────────────────────────────────────────────────────────────────────────────────────
def left(client: Any) -> set[bytes]:
    """What the broker holds of workcells, beside the list of them."""
    names: list[bytes] = [*client.keys("*:stream:*"), *client.keys("*:summary:*")]
    return {name.rpartition(b":")[2] for name in names} | set(client.zrange(workcells_key(0), 0, -1))


@pytest.mark.parametrize("restarted", [False, True])
def test_a_workcell_that_is_gone_leaves_the_broker_with_the_second_sweep(
    root: Root, redis_client: Any, new_relays: Callable[[], LogRelays], *, restarted: bool
) -> None:
    for workcell in ("wc", "stays"):
        write_log(root, workcell, ENDED[:-1])
    relays = start(new_relays())
    shutil.rmtree(root.workcell("wc"))
    if restarted:
        relays = start(new_relays())
    relays.sweep()
    assert left(redis_client) == {b"wc", b"stays"}
    relays.sweep()
    assert left(redis_client) == {b"stays"}
    assert redis_client.xrevrange(feed_key(0), count=1)[0][1] == NOTICE
    write_log(root, "wc", ENDED[:3])
    relays.sweep()
    publish(relays)
    assert problems(root, redis_client, "wc", ENDED[:3]) == []


class Recreating(Publisher):
    """A publisher during whose answers a workcell is created."""

    created: Path | None = None

    def workcells(self) -> list[str]:
        if self.created is not None:
            self.created.mkdir(exist_ok=True)
        return super().workcells()


def test_a_workcell_that_is_created_again_during_the_second_sweep_stays(
    root: Root, redis_url: str, redis_client: Any
) -> None:
    write_log(root, "wc", ENDED[:-1])
    publisher = Recreating(redis_url)
    relays = start(LogRelays(root, publisher, WarnOnce(logging.getLogger("workcast.relay")), None, no_pause))
    shutil.rmtree(root.workcell("wc"))
    relays.sweep()
    publisher.created = root.workcell("wc")
    relays.sweep()
    publisher.close()
    assert left(redis_client) == {b"wc"}


def test_a_workcell_of_another_root_stays_in_the_broker(
    root: Root, redis_client: Any, new_relays: Callable[[], LogRelays], tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Root(tmp_path_factory.mktemp("other"))
    publisher = Publisher(redis_client_url(redis_client))
    write_log(other, "theirs", ENDED[:-1])
    start(LogRelays(other, publisher, WarnOnce(logging.getLogger("workcast.relay")), None, no_pause))
    publisher.close()
    write_log(root, "wc", ENDED[:-1])
    relays = start(new_relays())
    for _ in range(3):
        relays.sweep()
    assert left(redis_client) == {b"theirs", b"wc"}


def redis_client_url(client: Any) -> str:
    return f"unix://{client.connection_pool.connection_kwargs['path']}"


def test_a_root_that_is_not_mounted_leaves_the_broker_as_it_is(
    root: Root, redis_client: Any, new_relays: Callable[[], LogRelays], tmp_path: Path
) -> None:
    write_log(root, "wc", ENDED[:-1])
    relays = start(new_relays())
    root.workcells.rename(tmp_path / "elsewhere")
    for _ in range(3):
        relays.sweep()
    assert left(redis_client) == {b"wc"}


# ── no broker ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_without_a_broker_changed_logs_are_vouched_for(root: Root, tmp_path: Path) -> None:
    publisher = Publisher(f"unix://{tmp_path}/nothing")
    relays = LogRelays(root, publisher, WarnOnce(logging.getLogger("workcast.relay")), None, no_pause)
    write_log(root, "wc", ENDED[:3])
    write_log(root, "other", ENDED)
    relays.vouch(never)
    write_log(root, "wc", ENDED[3:])
    write_log(root, "other", ENDED)
    relays.mark_changed(["wc"])
    relays.vouch(never)
    publisher.close()
    noted = [root.log_state(workcell).watermark() for workcell in ("wc", "other")]
    assert [mark.head for mark in noted if mark is not None] == [31, 31]
