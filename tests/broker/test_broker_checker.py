"""The checker that other tests rely on sees each rule broken, and calls it by its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from zlib import crc32

import pytest

from support.broker_checker import completeness_problems
from support.logs import event_line, write_log
from workcast.broker.keys import stream_key, summary_key, workcells_key
from workcast.broker.log import natural_epoch
from workcast.broker.log_relay import LogRelay
from workcast.broker.publisher import Publisher
from workcast.broker.root import Root

LINES = [event_line(number) for number in range(5)]
EPOCH = natural_epoch(LINES[0])
STREAM, SUMMARY = stream_key("wc"), summary_key("wc")

Damage = Callable[[Any], object]


def write_stream(client: Any, *entries: tuple[int, int, bytes, bytes]) -> None:
    """Another stream in the place of the true one: of epochs, offsets, CRC-32s and wire bytes."""
    client.delete(STREAM)
    for epoch, offset, crc, data in entries:
        client.xadd(STREAM, {"c": crc, "d": data}, id=f"{epoch}-{offset + 1}")


def true_entries() -> list[tuple[int, int, bytes, bytes]]:
    return [(EPOCH, offset, b"%d" % crc32(line), line) for offset, line in enumerate(LINES)]


def one_of_another_line(client: Any) -> None:
    entries = true_entries()
    entries[2] = (EPOCH, 2, entries[2][2], event_line(99))
    write_stream(client, *entries)


def one_with_a_false_crc(client: Any) -> None:
    entries = true_entries()
    entries[2] = (EPOCH, 2, b"7", LINES[2])
    write_stream(client, *entries)


def one_shifted(client: Any) -> None:
    entries = true_entries()
    entries[3] = (EPOCH, 3, *entries[2][2:])
    write_stream(client, *entries)


def set_json(client: Any, old: bytes, new: bytes) -> None:
    json = client.hget(SUMMARY, "json")
    assert old in json
    client.hset(SUMMARY, "json", json.replace(old, new))


DAMAGES: dict[str, tuple[Damage, str]] = {
    "a hole": (lambda client: client.xdel(STREAM, f"{EPOCH}-3"), "expected offset 2 next, got 3"),
    "another line's bytes": (one_of_another_line, "offset 2 differs from its line"),
    "a false CRC": (one_with_a_false_crc, "the CRC at 2 is not that of its line"),
    "a line at two offsets": (one_shifted, "offset 3 differs from its line"),
    "another epoch": (
        lambda client: write_stream(client, *true_entries(), (EPOCH + 1, 0, b"1", b"{}")),
        f"has another epoch than {EPOCH}",
    ),
    "a line too many": (
        lambda client: client.xadd(STREAM, {"c": "1", "d": "{}"}, id=f"{EPOCH}-6"), "offset 5 has no line",
    ),
    "a line too few": (lambda client: client.xdel(STREAM, f"{EPOCH}-5"), "expected the stream to end at 5"),
    "no stream": (lambda client: client.delete(STREAM), "expected the stream to end at 5, it ends at None"),
    "no summary": (lambda client: client.delete(SUMMARY), "expected head 5 in the summary, got None"),
    "the summary's epoch": (lambda client: client.hset(SUMMARY, "epoch", 1), f"expected epoch {EPOCH} in the summary"),
    "the summary's head": (lambda client: client.hset(SUMMARY, "head", 4), "expected head 5 in the summary, got b'4'"),
    "an old fold": (
        lambda client: set_json(client, b'"head":5', b'"head":4'), "expected head 5 in the summary's JSON, got 4",
    ),
    "a fold of too few lines": (
        lambda client: set_json(client, b'{"response_chunk":5}', b'{"response_chunk":4}'), "expected counts",
    ),
    "a fold that ends elsewhere": (lambda client: set_json(client, b'"offset":4', b'"offset":3'), "expected last"),
    "a fold of another epoch": (
        lambda client: set_json(client, b'"epoch":%d' % EPOCH, b'"epoch":1'), "in the summary's JSON, got 1",
    ),
    "a fold of other lines": (
        lambda client: set_json(client, b'"activity":"answering"', b'"activity":"thinking"'), "expected activity",
    ),
    "a forgotten workcell": (lambda client: client.delete(workcells_key(0)), "wc is not among the workcells"),
}  # fmt: skip


@pytest.fixture
def broker(root: Root, redis_url: str, redis_client: Any) -> Any:
    """A client of a broker that holds the lines as it should."""
    publisher = Publisher(redis_url)
    write_log(root, "wc", LINES)
    relay = LogRelay(root, "wc", publisher)
    while relay.pump():
        pass
    publisher.close()
    return redis_client


def test_a_broker_without_faults_has_no_problems(broker: Any) -> None:
    assert completeness_problems(broker, "wc", EPOCH, LINES) == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_fault_is_reported(broker: Any, damage: str) -> None:
    do, expected = DAMAGES[damage]
    do(broker)
    assert any(expected in problem for problem in completeness_problems(broker, "wc", EPOCH, LINES))


def test_a_pruned_log_is_compared_from_its_base_on(broker: Any) -> None:
    assert completeness_problems(broker, "wc", EPOCH, LINES[2:], base=2) == [
        "offset 0 has no line", "offset 1 has no line",
    ]  # fmt: skip
    set_json(broker, b'{"response_chunk":5}', b'{"response_chunk":2}')
    assert "expected a summary of 3 events" in completeness_problems(broker, "wc", EPOCH, LINES[2:], base=2)[-1]
