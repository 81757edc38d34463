"""Relays publish that a run has lost its writer, for which the log has no event."""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from typing import Any

import pytest

from support.logs import event_line, write_log
from workcast.broker.keys import feed_key, stream_key, summary_key
from workcast.broker.log_relay import LogRelay
from workcast.broker.names import RUN_LOCK_FILE
from workcast.broker.publisher import Publisher
from workcast.broker.root import Root
from workcast.broker.run_lock import hold_lock

WORKCELL = "wc"
CALL = b'{"type":"tool_call","timestamp":"2026-01-01T00:00:00.000Z","tool":"Bash","args":{},"call_id":"c1"}'
COMPLETED = b'{"type":"completed","timestamp":"2026-01-01T00:00:01.000Z","status":"success"}'


@pytest.fixture
def publisher(redis_url: str) -> Generator[Publisher]:
    publisher = Publisher(redis_url)
    yield publisher
    publisher.close()


def leave_lock(root: Root, *, age: float) -> None:
    """The lock of a run whose process is gone."""
    path = root.workcell(WORKCELL) / RUN_LOCK_FILE
    path.touch()
    at = path.stat().st_mtime - age
    os.utime(path, (at, at))


def pump(relay: LogRelay) -> None:
    while relay.pump():
        pass


def summary(client: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(client.hget(summary_key(WORKCELL), "json"))
    return found


@pytest.fixture
def relay(root: Root, publisher: Publisher) -> LogRelay:
    """The relay of a log that leaves its run open, with an open call."""
    write_log(root, WORKCELL, [event_line(0), CALL])
    relay = LogRelay(root, WORKCELL, publisher)
    pump(relay)
    return relay


def test_a_run_without_its_writer_is_lost_and_has_no_open_calls(root: Root, relay: LogRelay, redis_client: Any) -> None:
    leave_lock(root, age=3600)
    assert (summary(redis_client)["status"], len(summary(redis_client)["open_calls"])) == ("running", 1)
    relay.judge()
    lost = summary(redis_client)
    assert (lost["status"], lost["open_calls"], lost["activity"], lost["head"]) == ("lost", [], "", 2)


def test_a_notice_in_the_feed_names_the_workcell_whose_summary_changed(
    root: Root, relay: LogRelay, redis_client: Any
) -> None:
    before = [fields for _, fields in redis_client.xrange(feed_key(0))]
    leave_lock(root, age=3600)
    relay.judge()
    after = [fields for _, fields in redis_client.xrange(feed_key(0))]
    assert after == [*before, {b"w": b"wc", b"e": b"0", b"o": b"0", b"d": b""}]
    assert redis_client.xlen(stream_key(WORKCELL)) == 2


def test_several_relays_publish_it_once(root: Root, relay: LogRelay, publisher: Publisher, redis_client: Any) -> None:
    other = LogRelay(root, WORKCELL, publisher)
    pump(other)
    leave_lock(root, age=3600)
    for judge in (relay, other, relay, other):
        judge.judge()
    assert summary(redis_client)["status"] == "lost"
    assert redis_client.xlen(feed_key(0)) == 3


@pytest.mark.parametrize("case", ["no lock", "a recent heartbeat", "a lock that is held", "a run that has ended"])
def test_nothing_else_is_taken_for_lost(root: Root, relay: LogRelay, redis_client: Any, case: str) -> None:
    directory = root.workcell(WORKCELL)
    if case == "a recent heartbeat":
        leave_lock(root, age=0)
    elif case == "a run that has ended":
        write_log(root, WORKCELL, [COMPLETED])
        pump(relay)
        leave_lock(root, age=3600)
    if case == "a lock that is held":
        with hold_lock(directory):
            leave_lock(root, age=3600)
            relay.judge()
    else:
        relay.judge()
    assert summary(redis_client)["status"] == ("success" if case == "a run that has ended" else "running")


def test_the_last_lines_are_read_before_a_run_is_judged(root: Root, relay: LogRelay, redis_client: Any) -> None:
    write_log(root, WORKCELL, [COMPLETED])
    leave_lock(root, age=3600)
    relay.judge()
    assert summary(redis_client)["status"] == "running"
    pump(relay)
    assert summary(redis_client)["status"] == "success"


def test_a_lost_run_that_is_written_again_goes_on(root: Root, relay: LogRelay, redis_client: Any) -> None:
    leave_lock(root, age=3600)
    relay.judge()
    with hold_lock(root.workcell(WORKCELL)):
        relay.judge()  # no new line yet, but a writer
        assert (summary(redis_client)["status"], len(summary(redis_client)["open_calls"])) == ("running", 1)
        write_log(root, WORKCELL, [event_line(2)])
        pump(relay)
        assert summary(redis_client)["status"] == "running"
    write_log(root, WORKCELL, [COMPLETED])
    pump(relay)
    leave_lock(root, age=3600)
    relay.judge()
    assert summary(redis_client)["status"] == "success"


def test_a_flushed_broker_gets_the_lost_status_with_the_last_line(
    root: Root, relay: LogRelay, publisher: Publisher, redis_client: Any
) -> None:
    leave_lock(root, age=3600)
    relay.judge()
    redis_client.flushall()
    relay.detach()
    pump(relay)
    assert summary(redis_client)["status"] == "lost"
    redis_client.flushall()
    pump(LogRelay(root, WORKCELL, publisher))  # by a relay that has just been started
    assert summary(redis_client)["status"] == "lost"


def test_a_relay_that_is_started_later_publishes_it_to_a_broker_that_has_all_events(
    root: Root, relay: LogRelay, publisher: Publisher, redis_client: Any
) -> None:
    leave_lock(root, age=3600)
    later = LogRelay(root, WORKCELL, publisher)
    for _ in range(2):
        pump(later)
        later.judge()
    assert summary(redis_client)["status"] == "lost"


def test_a_lagging_relay_does_not_publish_an_outdated_status(
    root: Root, relay: LogRelay, publisher: Publisher, redis_client: Any
) -> None:
    """The script compares the head: another relay has published more since this one looked."""
    epoch = publisher.watermarks([WORKCELL])[0].epoch
    assert not publisher.amend(WORKCELL, epoch, root.origin(), 1, 0, b'{"status":"lost"}')
    assert not publisher.amend(WORKCELL, epoch + 1, root.origin(), 2, 0, b'{"status":"lost"}')
    assert not publisher.amend(WORKCELL, epoch, "another root", 2, 0, b'{"status":"lost"}')
    assert summary(redis_client)["status"] == "running"
