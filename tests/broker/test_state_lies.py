"""Whatever is in a state file, nothing fails to start, and what is shown is what the log says."""

from __future__ import annotations

import json
import shutil
from array import array
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from support.broker_checker import completeness_problems
from support.logs import event_line, write_log
from support.waiting import wait_until
from workcast.broker.embedded import EmbeddedBroker
from workcast.broker.files import lock_file
from workcast.broker.history import History
from workcast.broker.keys import summary_key
from workcast.broker.log import LogReader
from workcast.broker.log_facts import epoch_of
from workcast.broker.log_index import LogIndex, load_index, save_index
from workcast.broker.names import ENDED_LOGS_FILE, STATE_SUFFIXES, UP_LOCK_FILE, state_file
from workcast.broker.relay import Relay
from workcast.broker.root import Root
from workcast.broker.roots import Roots
from workcast.broker.running import find_up

LINES: Final = [event_line(number) for number in range(3)]
FIELDS: Final = (
    "epoch", "head", "crc", "inode", "fold", "tail", "end", "end_position", "entries", "size", "safe", "settled",
    "files", "ending", "abandoned", "pid", "started", "directory", "http_url", "redis_url", "prefix", "version",
)  # fmt: skip


def an_object(value: object) -> bytes:
    return json.dumps(dict.fromkeys(FIELDS, value)).encode() + b"\n"


LIES: Final[dict[str, bytes]] = {
    "empty": b"",
    "newline": b"\n",
    "words": b"no such thing\n" * 9,
    "binary": bytes(range(256)) * 9,
    "zero": b"0 0 0 0 0\n",
    "negative": b"-1 -1 -1 -1 -1\n",
    "huge": b"9" * 300 + b" " + b"9" * 300 + b"\n",
    "too long for an int": b"9" * 5000 + b"\n",
    "of another log": b"     77  9  1234567890  77  0\n",
    "with a rest": b"%15d %16d %10d %20d %16d\nand a rest\n" % (1, 2, 3, 4, 5),
    "null": b"null",
    "list": b"[1,2,3]\n",
    "deep list": b"[" * 200_000,
    "deep object": b'{"a":' * 200_000,
    "object of nulls": an_object(None),
    "object of negatives": an_object(-1),
    "object of huge numbers": an_object(10**30),
    "object of floats": an_object(1e308),
    "object of texts": an_object("../../../etc"),
    "object of lists": an_object([1, -1]),
    "object of objects": an_object({"a": {"path": "/etc/passwd", "position": -1}}),
    "object of truths": an_object(True),  # noqa: FBT003 - a value
    "infinite": b'{"epoch":1e999,"head":NaN,"crc":-Infinity}',
    "large": b" " * (20 << 20),
}
"""What may be in a state file that workcast did not write."""


@contextmanager
def relaying(root: Root, url: str) -> Generator[None]:
    relay = Relay(root, url)
    relay.start()
    try:
        yield
    finally:
        relay.close()


def caught_up(root: Root, client: Any, workcell: str, lines: list[bytes]) -> None:
    def problems() -> list[str]:
        reader = LogReader(root.log(workcell))
        reader.refresh()
        return completeness_problems(client, workcell, epoch_of(root, workcell, reader), lines)

    wait_until(lambda: not problems(), what=f"{workcell} is relayed")


def summary_of(client: Any, workcell: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(client.hget(summary_key(workcell), "json"))
    return {key: found[key] for key in ("base", "head", "status", "counts", "usage", "cost_usd")}


def have_summaries(client: Any, cells: list[str], head: int) -> bool:
    """Whether the summaries of all workcells are at a head."""
    return all(summary_of(client, cell)["head"] == head for cell in cells)


@pytest.mark.parametrize("lie", LIES)
def test_whatever_a_state_file_of_a_log_says_its_events_are_shown(
    root: Root, redis_url: str, redis_client: Any, lie: str, caplog: pytest.LogCaptureFixture
) -> None:
    for suffix in STATE_SUFFIXES:
        write_log(root, suffix, LINES)
        (root.state / state_file(suffix, suffix)).write_bytes(LIES[lie])
    (root.state / ENDED_LOGS_FILE).write_bytes(LIES[lie])
    write_log(root, "true", LINES)
    cells = [*STATE_SUFFIXES, "true"]
    for number in (3, 4):  # the second relay starts with what the first one made of it
        with relaying(root, redis_url):
            for cell in cells:
                write_log(root, cell, [event_line(number)])
            for cell in cells:
                caught_up(root, redis_client, cell, [*LINES, *map(event_line, range(3, number + 1))])
            wait_until(partial(have_summaries, redis_client, cells, number + 1))
    assert {cell: summary_of(redis_client, cell) for cell in cells} == dict.fromkeys(
        cells, summary_of(redis_client, "true")
    )
    history = History(Roots(root))
    for cell in cells:
        extent = history.extent(cell)
        assert extent is not None
        assert history.read(cell, extent.epoch, 0, 9) == [*LINES, event_line(3), event_line(4)]
    assert [record for record in caplog.records if record.exc_info] == []
    said = [record.getMessage() for record in caplog.records if "is ignored" in record.getMessage()]
    assert len(said) == len(set(said))


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("name", ["origin", "up.json", "broker.json"])
def test_whatever_a_state_file_of_a_root_says_everything_starts(root: Root, name: str, lie: str) -> None:
    path = root.state / name
    path.write_bytes(LIES[lie])
    with lock_file(root.state / UP_LOCK_FILE):
        assert find_up(root) is None
        if name == "broker.json":
            with EmbeddedBroker(root) as broker:
                assert broker.pid > 0
    assert len(root.ensure_origin()) == 16
    assert Root(root.directory).origin() == root.origin() == Root(root.directory).ensure_origin()


# ── an index that is well formed and wrong ───────────────────────────────────────────────────────────────────────────
def big_log(path: Path) -> list[bytes]:
    lines = [b'{"type":"a","n":%d,"text":"%s"}' % (number, b"x" * 100) for number in range(60_000)]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return lines


def moved(numbers: array[int], by: int) -> array[int]:
    return array("Q", [numbers[0], *(number + by for number in numbers[1:])])


FORGERIES: Final[dict[str, Callable[[LogIndex], LogIndex]]] = {
    "other offsets": lambda index: replace(index, offsets=moved(index.offsets, 7)),
    "all offsets later": lambda index: replace(index, offsets=array("Q", [n + 7 for n in index.offsets])),
    "a later end": lambda index: replace(index, end=index.end + 7),
    "other positions": lambda index: replace(index, positions=moved(index.positions, 7)),
    "an earlier end position": lambda index: replace(index, end_position=index.end_position - 40),
    "another inode": lambda index: replace(index, inode=(index.inode[0], index.inode[1] + 1)),
    "another tail": lambda index: replace(index, tail=b"x\n"),
    "another head": lambda index: replace(index, head=b"x\n"),
    "descending positions": lambda index: replace(index, positions=array("Q", reversed(index.positions))),
    "no entries": lambda index: replace(index, offsets=array("Q"), positions=array("Q")),
    "negative end": lambda index: replace(index, end=-1),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_an_index_that_the_log_contradicts_gives_no_wrong_line(root: Root, forgery: str) -> None:
    lines = big_log(root.log("wc"))
    reader = LogReader(root.log("wc"), root.index("wc"))
    reader.refresh()
    reader.save_index()
    index = load_index(root.index("wc"), root.log("wc").stat().st_size)
    assert index is not None
    save_index(root.index("wc"), FORGERIES[forgery](index))
    for offset in (0, 59_999, 30_000, 700):
        again = LogReader(root.log("wc"), root.index("wc"))
        again.refresh()
        if offset < again.end and not again.read(offset, 1, 1).lines:
            again.refresh()  # it has found out that the index is wrong
        assert again.end == 60_000
        assert again.read(offset, 1, 1).lines == [lines[offset]]


# ── a checkpoint that is well formed and wrong ───────────────────────────────────────────────────────────────────────
def forged(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    state = json.loads(path.read_bytes())
    change(state)
    path.write_text(json.dumps(state))


def another_sum(state: dict[str, Any]) -> None:
    state["fold"]["counts"] = {"tool_call": 1_000_000}


def another_head(state: dict[str, Any]) -> None:
    another_sum(state)
    state["head"] -= 1


def another_inode(state: dict[str, Any]) -> None:
    another_sum(state)
    state["inode"] += 1


def no_inode(state: dict[str, Any]) -> None:
    another_sum(state)
    del state["inode"]


@pytest.mark.parametrize("change", [another_head, another_inode, no_inode])
def test_a_checkpoint_that_the_log_contradicts_gives_no_wrong_sum(
    root: Root, redis_url: str, redis_client: Any, change: Callable[[dict[str, Any]], None]
) -> None:
    write_log(root, "wc", LINES)
    with relaying(root, redis_url):
        caught_up(root, redis_client, "wc", LINES)
    counts = summary_of(redis_client, "wc")["counts"]
    forged(root.state / "wc.checkpoint", change)
    redis_client.flushall()
    with relaying(root, redis_url):
        caught_up(root, redis_client, "wc", LINES)
    assert summary_of(redis_client, "wc")["counts"] == counts


def test_a_checkpoint_that_came_with_a_clone_is_not_believed(
    root: Root, redis_url: str, redis_client: Any, tmp_path: Path
) -> None:
    write_log(root, "wc", LINES)
    with relaying(root, redis_url):
        caught_up(root, redis_client, "wc", LINES)
    counts = summary_of(redis_client, "wc")["counts"]
    shutil.copytree(root.workcells, tmp_path / "clone" / ".workcells")
    clone = Root(tmp_path / "clone")
    assert clone.log("wc").stat().st_ino != root.log("wc").stat().st_ino
    forged(clone.state / "wc.checkpoint", another_sum)
    (clone.state / "wc.mark").unlink()  # which names the log's inode too
    redis_client.flushall()
    with relaying(clone, redis_url):
        caught_up(clone, redis_client, "wc", LINES)
    assert summary_of(redis_client, "wc")["counts"] == counts
