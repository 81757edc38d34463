from __future__ import annotations

from typing import Any

import pytest

from support.logs import event_line, write_log
from workcast.broker.log_relay import LogRelay
from workcast.broker.root import Root
from workcast.broker.stream import Publisher, stream_key
from workcast.broker.verify import Verdict, verify

LINES = [event_line(number) for number in range(40)]


@pytest.fixture
def publisher(redis_url: str) -> Any:
    publisher = Publisher(redis_url)
    yield publisher
    publisher.close()


@pytest.fixture
def relayed(root: Root, publisher: Publisher) -> Root:
    write_log(root, "wc", LINES)
    relay = LogRelay(root, "wc", publisher)
    while relay.pump():
        pass
    return root


def test_a_relayed_log_is_in_order(relayed: Root, publisher: Publisher) -> None:
    verdict = verify(relayed, "wc", publisher)
    assert verdict.ok
    assert (verdict.stream_start, verdict.stream_end, verdict.compared) == (0, 40, 40)


def test_a_log_without_lines_is_in_order(root: Root, publisher: Publisher) -> None:
    (root.workcells / "wc").mkdir()
    assert verify(root, "wc", publisher) == Verdict(workcell="wc", epoch=0, base=0, end=0)


def test_lines_that_were_not_relayed_are_told(relayed: Root, publisher: Publisher) -> None:
    write_log(relayed, "wc", [event_line(number) for number in range(40, 70)])
    assert verify(relayed, "wc", publisher).problems == [
        "30 events are missing in the stream: " + ", ".join(map(str, range(40, 60))) + ", …"
    ]


def test_an_entry_that_is_missing_or_differs_is_told(relayed: Root, publisher: Publisher, redis_client: Any) -> None:
    epoch = verify(relayed, "wc", publisher).epoch
    redis_client.xdel(stream_key("wc"), f"{epoch}-8")
    redis_client.xadd(stream_key("wc"), {"c": "1", "d": event_line(0)}, id=f"{epoch}-41")
    assert verify(relayed, "wc", publisher).problems == [
        "1 events differ from their lines: 40",
        "1 events are missing in the stream: 7",
    ]


def test_a_changed_line_is_told(relayed: Root, publisher: Publisher) -> None:
    data = relayed.log("wc").read_bytes()
    relayed.log("wc").write_bytes(data.replace(b"chunk 17", b"CHUNK 17"))
    assert verify(relayed, "wc", publisher).problems == ["1 events differ from their lines: 17"]


def test_a_broker_that_knows_nothing_is_told(relayed: Root, publisher: Publisher, redis_client: Any) -> None:
    redis_client.flushall()
    assert "needs a relay" in verify(relayed, "wc", publisher).problems[0]


def test_a_stream_that_expired_is_no_loss(relayed: Root, publisher: Publisher, redis_client: Any) -> None:
    redis_client.delete(stream_key("wc"))
    assert verify(relayed, "wc", publisher).ok
