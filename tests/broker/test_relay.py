"""The whole relay: its thread, its watcher, and a real server that goes away and comes back."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from support.broker_checker import completeness_problems, stream_problems
from support.logs import event_line, write_log
from support.valkey import Server
from support.waiting import DEADLINE, wait_until
from workcast.broker.connection import check_url, connect, connect_async, mask_url
from workcast.broker.errors import BrokerError
from workcast.broker.keys import LAYOUT_KEY, feed_key, stream_key, summary_key
from workcast.broker.log import LogReader, natural_epoch
from workcast.broker.log_facts import epoch_of
from workcast.broker.publisher import Publisher
from workcast.broker.relay import Relay
from workcast.broker.root import Root


@contextmanager
def relaying(root: Root, url: str) -> Generator[Relay]:
    relay = Relay(root, url)
    relay.start()
    try:
        yield relay
    finally:
        relay.close()


def problems(root: Root, client: Any, workcell: str, lines: list[bytes]) -> list[str]:
    reader = LogReader(root.log(workcell))
    reader.refresh()
    return completeness_problems(client, workcell, epoch_of(root, workcell, reader), lines)


def caught_up(root: Root, client: Any, workcell: str, lines: list[bytes]) -> None:
    wait_until(lambda: not problems(root, client, workcell, lines), what=f"{workcell} is relayed")


def numbered(count: int, start: int = 0) -> list[bytes]:
    return [event_line(number) for number in range(start, start + count)]


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    server = Server(tmp_path_factory.mktemp("s"))
    server.start()
    yield server
    server.kill()


def test_logs_that_are_there_and_logs_that_come_are_relayed(root: Root, redis_url: str, redis_client: Any) -> None:
    write_log(root, "early", numbered(3))
    with relaying(root, redis_url):
        caught_up(root, redis_client, "early", numbered(3))
        for name in ("late", "later"):
            write_log(root, name, numbered(4))
            caught_up(root, redis_client, name, numbered(4))
        write_log(root, "late", numbered(2, 4))
        caught_up(root, redis_client, "late", numbered(6))


def test_many_logs_are_relayed_by_one_process(root: Root, redis_url: str, redis_client: Any) -> None:
    names = [f"wc-{number}" for number in range(60)]
    with relaying(root, redis_url):
        for start in (0, 3, 6):
            for name in names:
                write_log(root, name, numbered(3, start))
        for name in names:
            caught_up(root, redis_client, name, numbered(9))


def test_a_directory_that_is_not_a_workcell_is_left_alone(
    root: Root, redis_url: str, redis_client: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "telemetry.jsonl").write_bytes(event_line(0) + b"\n")
    (root.workcells / "link").symlink_to(outside)
    with relaying(root, redis_url):
        (root.workcells / "_no id").mkdir()
        write_log(root, "real", numbered(1))
        caught_up(root, redis_client, "real", numbered(1))
    assert redis_client.zrange("workcast:{0}:workcells", 0, -1) == [b"real"]


def test_a_flushed_server_is_filled_again_without_new_events(root: Root, redis_url: str, redis_client: Any) -> None:
    write_log(root, "idle", numbered(20))
    with relaying(root, redis_url):
        caught_up(root, redis_client, "idle", numbered(20))
        redis_client.flushall()
        caught_up(root, redis_client, "idle", numbered(20))


def test_nothing_is_lost_while_redis_is_away(root: Root, server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    server.kill()
    with relaying(root, server.url):
        write_log(root, "wc", numbered(10))
        wait_until(lambda: "cannot reach Redis" in caplog.text)
        server.start()
        client: Any = connect(server.url)
        caught_up(root, client, "wc", numbered(10))
        server.kill()  # and with it everything it held
        write_log(root, "wc", numbered(10, 10))
        server.start()
        caught_up(root, client, "wc", numbered(20))
        client.close()
    assert caplog.text.count("cannot reach Redis") <= 4  # logged once each time, not at each attempt


def test_a_server_that_hangs_for_a_while_is_waited_for(root: Root, server: Server) -> None:
    client: Any = connect(server.url)
    with relaying(root, server.url):
        write_log(root, "wc", numbered(5))
        caught_up(root, client, "wc", numbered(5))
        assert server.process is not None
        os.kill(server.process.pid, signal.SIGSTOP)
        write_log(root, "wc", numbered(5, 5))
        os.kill(server.process.pid, signal.SIGCONT)
        caught_up(root, client, "wc", numbered(10))
    client.close()


def test_a_full_server_is_reported_and_relaying_goes_on_when_there_is_room(
    root: Root, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    client: Any = connect(server.url)
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", 1)
    with relaying(root, server.url):
        write_log(root, "wc", numbered(5))
        wait_until(lambda: "is full" in caplog.text)
        client.config_set("maxmemory", 0)
        caught_up(root, client, "wc", numbered(5))
    client.close()


def test_a_server_that_becomes_full_still_takes_what_the_budgets_allow(
    root: Root, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """The script trims before it writes, which Redis allows at maxmemory, and what it writes is bounded.

    The stream may be empty, to make room, but the feed has every event once.
    """
    client: Any = connect(server.url)
    with relaying(root, server.url):
        write_log(root, "wc", numbered(5))
        caught_up(root, client, "wc", numbered(5))
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
        wait_until(lambda: "is full" in caplog.text)  # a heartbeat was refused
        for start in (5, 10, 15):
            write_log(root, "wc", numbered(5, start))
            wait_until(partial(_has_head, client, start + 5), what="it is relayed")
            assert stream_problems(client, "wc", natural_epoch(numbered(1)[0]), numbered(start + 5)) == []
        found = [fields[b"d"] for _, fields in client.xrange(feed_key(0)) if fields[b"w"] == b"wc"]
        assert found == numbered(20)
    assert caplog.text.count("is full") == 1
    client.close()


def _has_head(client: Any, head: int) -> bool:
    return bool(client.hget(summary_key("wc"), "head") == b"%d" % head)


def test_a_relay_ends_soon_even_when_the_server_does_not_answer(root: Root, server: Server) -> None:
    client: Any = connect(server.url)
    relay = Relay(root, server.url)
    relay.start()
    write_log(root, "wc", numbered(5))
    caught_up(root, client, "wc", numbered(5))
    client.close()
    assert server.process is not None
    os.kill(server.process.pid, signal.SIGSTOP)
    ended = threading.Thread(target=relay.close)
    try:
        write_log(root, "wc", numbered(5, 5))
        ended.start()
        ended.join(5)
        assert not ended.is_alive()
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
        ended.join()


class Lingering(Relay):
    """A relay whose thread has done its work, but has not ended yet when it is closed."""

    go_on = threading.Event()

    def _live(self) -> None:
        super()._live()
        self.go_on.wait(DEADLINE)


def test_a_relay_whose_thread_ends_late_leaves_nothing_undone(root: Root, redis_url: str, redis_client: Any) -> None:
    write_log(root, "wc", numbered(5))
    relay = Lingering(root, redis_url)
    relay.start()
    try:
        caught_up(root, redis_client, "wc", numbered(5))
        relay.close()
        wait_until(lambda: root.log_state("wc").checkpoint() is not None, what="the checkpoint is kept")
    finally:
        relay.go_on.set()


class Failing(Relay):
    """A relay with a fault in each of its turns."""

    turns = 0

    def _turn(self) -> None:
        self.turns += 1
        raise ValueError("a fault")


def test_an_unexpected_error_that_comes_again_and_again_is_logged_once(
    root: Root, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    relay = Failing(root, redis_url)
    relay.start()
    try:
        wait_until(lambda: relay.turns >= 4)
    finally:
        relay.close()
    assert len([record for record in caplog.records if record.exc_info]) == 1


def test_a_relay_vouches_for_logs_while_its_server_is_away(root: Root, server: Server) -> None:
    def noted() -> int:
        watermark = root.log_state("wc").watermark()
        return watermark.head if watermark is not None else 0

    server.kill()
    write_log(root, "wc", numbered(5))
    with relaying(root, server.url):
        wait_until(lambda: noted() == 5)
        write_log(root, "wc", numbered(5, 5))
        wait_until(lambda: noted() == 10)
        server.start()
        client: Any = connect(server.url)
        caught_up(root, client, "wc", numbered(10))
        client.close()


def test_a_workcell_that_is_removed_leaves_the_broker(root: Root, redis_url: str, redis_client: Any) -> None:
    write_log(root, "wc", numbered(5))
    with relaying(root, redis_url):
        caught_up(root, redis_client, "wc", numbered(5))
        shutil.rmtree(root.workcell("wc"))
        wait_until(lambda: redis_client.keys("*:wc") == [], what="the broker forgets it")
        assert redis_client.zcard("workcast:{0}:workcells") == 0


def test_a_replica_that_was_behind_takes_over(root: Root, server: Server, tmp_path_factory: Any) -> None:
    """The socket's path leads to the replica after the failover, as a service's address would."""
    write_log(root, "wc", numbered(50))
    client: Any = connect(server.url)
    with relaying(root, server.url):
        caught_up(root, client, "wc", numbered(50))
        copies = {key: client.dump(key) for key in client.scan_iter()}
        write_log(root, "wc", numbered(50, 50))
        caught_up(root, client, "wc", numbered(100))
        server.kill()
        replica = Server(tmp_path_factory.mktemp("r"))
        replica.start()
        behind: Any = connect(replica.url)
        for key, value in copies.items():
            behind.restore(key, 0, value)
        Path(server.url.removeprefix("unix://")).unlink(missing_ok=True)
        Path(server.url.removeprefix("unix://")).symlink_to(replica.url.removeprefix("unix://"))
        caught_up(root, behind, "wc", numbered(100))
        behind.close()
        replica.kill()
    client.close()


def test_a_server_with_another_layout_is_refused(redis_url: str, redis_client: Any) -> None:
    redis_client.set(LAYOUT_KEY, '{"version":99,"partitions":1}')
    publisher = Publisher(redis_url)
    with pytest.raises(BrokerError, match="expected layout version 1"):
        publisher.prepare()
    publisher.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis://127.0.0.1:1/0", "cannot reach Redis at redis://127.0.0.1:1/0"),
        ("redis://user:secret@127.0.0.1:1/0", r"redis://user:\*\*\*@127.0.0.1:1/0"),
        ("http://127.0.0.1", "expected a Redis URL"),
        ("redis://127.0.0.1:port", "expected a Redis URL"),
        ("nonsense", "expected a Redis URL"),
        ("redis://:sec/secret@127.0.0.1:1", r"redis://:\*\*\*@127.0.0.1:1|expected a Redis URL"),
        ("unix:///nowhere.sock?password=secret", r"unix:///nowhere.sock\?password=\*\*\*"),
        ("redis://[::1", "expected a Redis URL"),
        ("redis://:secret@[::1", "expected a Redis URL"),
    ],
)
def test_an_unavailable_broker_is_a_clear_sentence(url: str, message: str) -> None:
    with pytest.raises(BrokerError, match=message) as raised:
        Publisher(url).prepare()
    assert "secret" not in str(raised.value)


def test_a_wrong_password_is_reported_without_showing_it(server: Server) -> None:
    client: Any = connect(server.url)
    client.config_set("requirepass", "right")
    client.close()
    url = server.url.replace("unix://", "unix://user:wrong@")
    with pytest.raises(BrokerError, match="refuses the connection") as raised:
        Publisher(url).prepare()
    assert "wrong@" not in str(raised.value)


def test_a_checkpoint_is_kept_when_the_relay_ends(root: Root, redis_url: str, redis_client: Any) -> None:
    write_log(root, "wc", numbered(10))
    with relaying(root, redis_url):
        caught_up(root, redis_client, "wc", numbered(10))
    state = root.read_state("wc.checkpoint")
    assert state is not None
    assert state["head"] == 10


def test_the_feed_has_each_event_once(root: Root, redis_url: str, redis_client: Any) -> None:
    with relaying(root, redis_url):
        for start in range(0, 30, 3):
            write_log(root, "wc", numbered(3, start))
        caught_up(root, redis_client, "wc", numbered(30))
    feed = [fields for _, fields in redis_client.xrange(feed_key(0))]
    assert [int(fields[b"o"]) for fields in feed if fields[b"w"] == b"wc"] == list(range(30))


def test_a_relay_sends_heartbeats_through_the_feed(root: Root, redis_url: str, redis_client: Any) -> None:
    def heartbeats() -> list[bytes]:
        return [fields[b"d"] for _, fields in redis_client.xrange(feed_key(0)) if fields[b"w"] == b""]

    with relaying(root, redis_url):
        wait_until(lambda: len(heartbeats()) >= 2)
    assert set(heartbeats()) == {root.origin().encode()}


def test_what_becomes_a_link_out_of_the_root_is_not_published(
    root: Root, redis_url: str, redis_client: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "telemetry.jsonl").write_bytes(event_line(0) + b"\n")
    with relaying(root, redis_url):
        write_log(root, "good", numbered(1))
        (root.workcells / "evil").mkdir()
        (root.workcells / "worse").mkdir()
        caught_up(root, redis_client, "good", numbered(1))
        (root.workcells / "evil" / "telemetry.jsonl").symlink_to(outside / "telemetry.jsonl")
        (root.workcells / "worse").rmdir()
        (root.workcells / "worse").symlink_to(outside)
        write_log(root, "good", numbered(1, start=1))
        caught_up(root, redis_client, "good", numbered(2))
    # Once more, with all that is there looked at.
    relay = Relay(root, redis_url, only="worse")
    relay.start()
    relay.close(5)
    assert redis_client.keys("*:stream:*") == [stream_key("good").encode()]


def test_unreadable_logs_do_not_stop_the_others(
    root: Root, redis_url: str, redis_client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    write_log(root, "a", [b'{"type":"log","epoch":1,"base":100000000000000000000000}', *numbered(1)])
    write_log(root, "b", [b'{"type":"log","epoch":1,"base":1152921504606846976}', *numbered(1)])
    (root.workcells / "c").mkdir()
    os.mkfifo(root.log("c"))
    status = write_log(root, "d", numbered(1)).stat()
    damaged = {
        "inode": [status.st_dev, status.st_ino], "head": "", "tail": "", "header": None, "natural_epoch": 1,
        "end": 0, "end_position": "a word", "entries": 0,
    }  # fmt: skip
    root.index("d").write_text(json.dumps(damaged) + "\n")
    write_log(root, "e", numbered(3))
    with relaying(root, redis_url):
        caught_up(root, redis_client, "e", numbered(3))
        write_log(root, "d", numbered(1, start=1))
        write_log(root, "e", numbered(1, start=3))
        caught_up(root, redis_client, "e", numbered(4))
        caught_up(root, redis_client, "d", numbered(2))
    assert (
        redis_client.xlen(stream_key("a")) == redis_client.xlen(stream_key("b")) == 2
    )  # what is not a header is a line
    assert [record for record in caplog.records if record.exc_info] == []
    for said in (f"{root.index('d')} is ignored", "c is not published: expected a regular file, got a FIFO"):
        assert caplog.text.count(said) == 1


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis://h:1?nonsense=1", "'redis://h:1?nonsense=1': got an unexpected keyword argument 'nonsense'"),
        ("unix:///x?nonsense=1", "'nonsense'"),
        ("rediss://h?ssl_cert_reqs=bogus", "Invalid SSL Certificate Requirements Flag: bogus"),
        ("redis://h?retry=1", "'redis://h?retry=1'"),
    ],
)
def test_a_url_with_unknown_parameters_is_refused_before_connecting(url: str, message: str) -> None:
    for use in (check_url, connect, connect_async):
        with pytest.raises(BrokerError, match=re.escape(message)):
            use(url)


def test_a_password_with_a_question_mark_is_not_shown() -> None:
    for url in ("redis://hush?secret=1@h:1", "redis://user:hush?secret=1@h:1", "redis://user:hush/secret@h:1"):
        with pytest.raises(BrokerError) as refused:
            check_url(url)
        assert "hush" not in str(refused.value).replace(mask_url(url), "")
        assert "secret" not in str(refused.value).replace(mask_url(url), "")
