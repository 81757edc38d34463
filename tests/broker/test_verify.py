from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from support.logs import event_line, write_log
from workcast.broker.appender import Appender
from workcast.broker.errors import WorkcellIdError
from workcast.broker.keys import stream_key
from workcast.broker.log_relay import LogRelay
from workcast.broker.publisher import Publisher, StreamEntry
from workcast.broker.relay import Relay
from workcast.broker.root import Root
from workcast.broker.verify import Verdict, verifiable, verify, verify_patiently

LINES = [event_line(number) for number in range(40)]


@pytest.fixture
def publisher(redis_url: str) -> Any:
    publisher = Publisher(redis_url)
    yield publisher
    publisher.close()


@pytest.fixture
def relayed(root: Root, publisher: Publisher) -> Root:
    write_log(root, "wc", LINES)
    pump(LogRelay(root, "wc", publisher))
    return root


def pump(relay: LogRelay) -> None:
    while relay.pump():
        pass


def test_a_relayed_log_is_in_order(relayed: Root, publisher: Publisher) -> None:
    verdict = verify(relayed, "wc", publisher)
    assert verdict.ok
    assert (verdict.stream_start, verdict.stream_end, verdict.compared) == (0, 40, 40)


def test_a_log_without_lines_is_in_order(root: Root, publisher: Publisher) -> None:
    (root.workcells / "wc").mkdir()
    assert verify(root, "wc", publisher) == Verdict(workcell="wc", epoch=0, base=0, end=0)


def test_lines_that_were_not_relayed_are_reported(relayed: Root, publisher: Publisher) -> None:
    write_log(relayed, "wc", [event_line(number) for number in range(40, 70)])
    assert verify(relayed, "wc", publisher).problems == [
        "30 events are missing in the stream: " + ", ".join(map(str, range(40, 60))) + ", …"
    ]


def test_an_entry_that_is_missing_or_differs_is_reported(
    relayed: Root, publisher: Publisher, redis_client: Any
) -> None:
    epoch = verify(relayed, "wc", publisher).epoch
    redis_client.xdel(stream_key("wc"), f"{epoch}-8")
    redis_client.xadd(stream_key("wc"), {"c": "1", "d": event_line(0)}, id=f"{epoch}-41")
    assert verify(relayed, "wc", publisher).problems == [
        "1 events differ from their lines: 40",
        "1 events are missing in the stream: 7",
    ]


def test_a_changed_line_is_reported(relayed: Root, publisher: Publisher) -> None:
    data = relayed.log("wc").read_bytes()
    relayed.log("wc").write_bytes(data.replace(b"chunk 17", b"CHUNK 17"))
    assert verify(relayed, "wc", publisher).problems == [
        "1 events differ from their lines: 17",
        "the line at 17 was edited after it was shown",
    ]


def test_an_empty_broker_is_reported(relayed: Root, publisher: Publisher, redis_client: Any) -> None:
    redis_client.flushall()
    assert "needs a relay" in verify(relayed, "wc", publisher).problems[0]


def test_a_stream_that_expired_is_no_loss(relayed: Root, publisher: Publisher, redis_client: Any) -> None:
    redis_client.delete(stream_key("wc"))
    assert verify(relayed, "wc", publisher).ok


# ── a log that is alive ──────────────────────────────────────────────────────────────────────────────────────────────
class Watched(Publisher):
    """A broker in which something happens each time that a stream has been read."""

    def __init__(self, url: str, then: Callable[[int], None]) -> None:
        super().__init__(url)
        self.looks = 0
        self._then = then

    def entries(self, workcell: str, last: int | None = None) -> list[StreamEntry]:
        found = super().entries(workcell, last)
        self.looks += 1
        self._then(self.looks)
        return found


def test_lines_that_are_relayed_a_moment_later_are_no_problem(
    relayed: Root, publisher: Publisher, redis_url: str
) -> None:
    write_log(relayed, "wc", [event_line(number) for number in range(40, 70)])
    relay = LogRelay(relayed, "wc", publisher)
    watched = Watched(redis_url, then=lambda looks: pump(relay) if looks == 3 else None)
    verdict = verify_patiently(relayed, "wc", watched, seconds=60)
    watched.close()
    assert verdict.problems == []
    assert (watched.looks, verdict.compared) == (4, 70)


def test_the_first_lines_of_a_log_have_time_to_be_relayed_too(root: Root, publisher: Publisher, redis_url: str) -> None:
    write_log(root, "wc", LINES)
    relay = LogRelay(root, "wc", publisher)
    watched = Watched(redis_url, then=lambda looks: pump(relay) if looks == 2 else None)
    assert verify_patiently(root, "wc", watched, seconds=60).problems == []
    watched.close()


def test_lines_that_no_relay_publishes_are_finally_reported(relayed: Root, redis_url: str) -> None:
    write_log(relayed, "wc", [event_line(number) for number in range(40, 43)])
    watched = Watched(redis_url, then=lambda _: None)
    verdict = verify_patiently(relayed, "wc", watched, seconds=0.3)
    watched.close()
    assert verdict.problems == ["3 events are missing in the stream: 40, 41, 42"]
    assert watched.looks > 1


def test_a_log_that_grows_at_each_look_is_in_order_when_its_relay_is_a_line_behind(
    relayed: Root, publisher: Publisher, redis_url: str
) -> None:
    relay = LogRelay(relayed, "wc", publisher)

    def go_on(looks: int) -> None:
        pump(relay)
        write_log(relayed, "wc", [event_line(100 + looks)])

    watched = Watched(redis_url, then=go_on)
    verdict = verify_patiently(relayed, "wc", watched, seconds=60)
    watched.close()
    assert verdict.problems == []
    assert watched.looks == 3  # the line that came during the first look was relayed during the second


def test_a_hole_in_a_growing_stream_is_reported(
    relayed: Root, publisher: Publisher, redis_url: str, redis_client: Any
) -> None:
    relay = LogRelay(relayed, "wc", publisher)
    redis_client.xdel(stream_key("wc"), f"{verify(relayed, 'wc', publisher).epoch}-21")

    def go_on(looks: int) -> None:
        pump(relay)
        write_log(relayed, "wc", [event_line(100 + looks)])

    watched = Watched(redis_url, then=go_on)
    verdict = verify_patiently(relayed, "wc", watched, seconds=0.3)
    watched.close()
    assert verdict.problems == ["1 events are missing in the stream: 20"]


def test_a_log_that_is_written_and_relayed_without_a_pause_is_in_order(
    root: Root, publisher: Publisher, redis_url: str
) -> None:
    write_log(root, "wc", LINES)
    relay, stop = Relay(root, redis_url), threading.Event()

    def write() -> None:
        with Appender(root.log("wc")) as appender:
            while not stop.wait(0.0002):  # faster than any look, but not than the relay
                appender.append(event_line(1) + b"\n")

    writer = threading.Thread(target=write)
    relay.start()
    writer.start()
    try:
        verdicts = [verify_patiently(root, "wc", publisher, seconds=60) for _ in range(3)]
    finally:
        stop.set()
        writer.join()
        relay.close()
    assert [verdict.problems for verdict in verdicts] == [[]] * 3
    assert verdicts[-1].end > verdicts[0].end


@pytest.mark.parametrize("how", ["removed", "emptied", "removed with its directory"])
def test_a_log_that_is_gone_while_the_broker_has_its_events_is_reported(
    relayed: Root, publisher: Publisher, how: str
) -> None:
    if how == "emptied":
        write_log(relayed, "wc", [], mode="wb")
    else:
        relayed.log("wc").unlink()
    if how == "removed with its directory":
        relayed.workcell("wc").rmdir()
    assert verify(relayed, "wc", publisher).problems == ["the broker has 40 events of it, the log none"]
    assert verifiable(relayed, publisher) == ["wc"]


def test_a_log_that_lost_its_last_lines_is_reported_though_its_stream_expired(
    relayed: Root, publisher: Publisher, redis_client: Any
) -> None:
    write_log(relayed, "wc", LINES[:30], mode="wb")
    redis_client.delete(stream_key("wc"))
    assert verify(relayed, "wc", publisher).problems == ["the broker had 10 events after the log's last one"]


def test_an_edit_that_the_stream_no_longer_shows_is_reported(
    relayed: Root, publisher: Publisher, redis_client: Any
) -> None:
    redis_client.delete(stream_key("wc"))
    copy = relayed.log("wc").with_suffix(".copy")
    copy.write_bytes(relayed.log("wc").read_bytes().replace(b"chunk 17", b"CHUNK 17"))
    copy.rename(relayed.log("wc"))
    assert verify(relayed, "wc", publisher).problems == [
        "the log is not the one that was published (copied): it needs a relay",
        "the line at 17 was edited after it was shown",
    ]


def test_an_unknown_workcell_is_an_error(relayed: Root, publisher: Publisher) -> None:
    with pytest.raises(WorkcellIdError, match="or its broker knows, got 'typo'"):
        verify(relayed, "typo", publisher)


def test_what_only_another_root_has_published_is_no_workcell_of_this_one(
    relayed: Root, publisher: Publisher, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Root(tmp_path_factory.mktemp("other"))
    assert verifiable(other, publisher) == []
    assert not other.workcells.exists()
    with pytest.raises(WorkcellIdError):
        verify(other, "wc", publisher)


def test_an_id_that_another_root_has_published_is_reported_as_such(
    relayed: Root, publisher: Publisher, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Root(tmp_path_factory.mktemp("other"))
    other.prepare()
    write_log(other, "wc", LINES)
    assert verify(other, "wc", publisher).problems == [
        f"it is published from another root (origin {relayed.origin()}); rename the workcell, or give the roots names"
    ]


def test_a_workcell_that_became_a_link_out_of_the_root_is_reported(
    relayed: Root, publisher: Publisher, tmp_path_factory: pytest.TempPathFactory
) -> None:
    moved = relayed.workcell("wc").rename(tmp_path_factory.mktemp("outside") / "wc")
    relayed.workcell("wc").symlink_to(moved)
    problem = f"expected a directory, got a symbolic link at {relayed.workcell('wc')}: it is not published"
    assert verify(relayed, "wc", publisher).problems == [problem]


def test_a_log_of_which_all_was_pruned_is_in_order(relayed: Root, publisher: Publisher) -> None:
    epoch = verify(relayed, "wc", publisher).epoch
    write_log(relayed, "wc", [b'{"type":"log","epoch":%d,"base":40}' % epoch], mode="wb")
    assert verify(relayed, "wc", publisher).ok
