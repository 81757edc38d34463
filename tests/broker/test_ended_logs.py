"""What is kept of ended logs: a start publishes their summaries from one file, which no lie can make wrong."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from support.broker_checker import completeness_problems
from support.logs import event_line, write_log
from support.waiting import wait_until
from workcast.broker.ended_logs import EndedLog, EndedLogs
from workcast.broker.keys import feed_key, stream_key, summary_key, wanted_key, workcells_key
from workcast.broker.log import LogReader, natural_epoch
from workcast.broker.log_relays import LogRelays
from workcast.broker.names import ENDED_LOGS_FILE
from workcast.broker.publisher import Publisher
from workcast.broker.removal import remove_records
from workcast.broker.root import Root
from workcast.broker.warn_once import WarnOnce
from workcast.ledger.prices import shipped_prices

COMPLETED = b'{"type":"completed","timestamp":"2026-01-01T00:00:01.000Z","status":"success"}'
COUNT = 6


def never() -> bool:
    return False


def lines_of(number: int) -> list[bytes]:
    return [*(event_line(10 * number + line) for line in range(number + 2)), COMPLETED]


def wait_until_settled(root: Root) -> None:
    """Until the logs are older than a change that a file system's clock would not show."""
    newest = max(root.log(workcell).stat().st_ctime_ns for workcell in root.ids())
    wait_until(lambda: time.time_ns() - newest > 2_100_000_000, what="the logs have not changed for two seconds")


class Relays:
    """The relays of a root with a publisher of their own, as those of one process."""

    def __init__(self, root: Root, url: str) -> None:
        self.publisher = Publisher(url)
        self.logs = LogRelays(
            root, self.publisher, WarnOnce(logging.getLogger("workcast.relay")), None, lambda: None
        )  # fmt: skip
        self.logs.attach(never)
        self.publish()

    def publish(self) -> None:
        while self.logs.has_changed:
            self.logs.publish(never)

    def sweep(self) -> None:
        self.logs.sweep()
        self.publish()

    def stop(self) -> None:
        self.logs.checkpoint()
        self.publisher.close()


def fleet(client: Any) -> dict[str, dict[bytes, bytes]]:
    """All that the broker has of the workcells, except when they were published."""
    names = [name.decode() for name in client.zrange(workcells_key(0), 0, -1)]
    return {name: client.hgetall(summary_key(name)) for name in names}


def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The logs that are opened from now on."""
    found: list[Path] = []
    refresh = LogReader.refresh

    def noting(self: LogReader, *arguments: int) -> bool:
        found.append(self._path)
        return refresh(self, *arguments)

    monkeypatch.setattr(LogReader, "refresh", noting)
    return found


@pytest.fixture
def started(root: Root, redis_url: str, redis_client: Any) -> dict[str, dict[bytes, bytes]]:
    """A root whose ended logs were published once and kept; the fleet of that start."""
    for number in range(COUNT):
        write_log(root, f"wc-{number}", lines_of(number))
    wait_until_settled(root)
    relays = Relays(root, redis_url)
    relays.sweep()
    relays.stop()
    shown = fleet(redis_client)
    assert len(shown) == COUNT
    redis_client.flushall()
    return shown


def kept(root: Root) -> Path:
    return root.state / ENDED_LOGS_FILE


def test_a_second_start_shows_the_same_fleet_and_reads_no_log(
    root: Root, redis_url: str, redis_client: Any, started: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = opened(monkeypatch)
    relays = Relays(root, redis_url)
    assert fleet(redis_client) == started
    assert logs == []
    entries = [fields for _, fields in redis_client.xrange(feed_key(0))]
    assert sorted(fields[b"w"] for fields in entries) == sorted(name.encode() for name in started)
    assert {fields[b"d"] for fields in entries} == {b""}
    relays.sweep()
    relays.sweep()
    assert redis_client.xlen(feed_key(0)) == COUNT
    relays.stop()


def test_the_relay_of_an_ended_log_is_not_kept(root: Root, redis_url: str, started: dict[str, Any]) -> None:
    relays = Relays(root, redis_url)
    assert relays.logs._relays == {}
    assert relays.logs._ended is not None
    assert sorted(relays.logs._ended) == sorted(started)
    relays.stop()


@pytest.mark.parametrize("noticed", ["notified", "swept"])
def test_an_ended_log_that_grows_is_published_again(
    root: Root, redis_url: str, redis_client: Any, started: dict[str, Any], noticed: str
) -> None:
    relays = Relays(root, redis_url)
    write_log(root, "wc-1", [event_line(99)])
    if noticed == "notified":
        relays.logs.mark_changed(["wc-1"])
        relays.publish()
    else:
        relays.sweep()
    lines = [*lines_of(1), event_line(99)]
    assert completeness_problems(redis_client, "wc-1", natural_epoch(lines[0]), lines) == []
    assert {name for name, found in fleet(redis_client).items() if found != started[name]} == {"wc-1"}
    relays.stop()


def edit_in_place(root: Root) -> None:
    """Change a line in the middle; set the time of the change back, which a program may."""
    path = root.log("wc-2")
    before = path.stat()
    text = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(text.index(b"chunk 21"))
        file.write(b"chunk 00")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(root: Root) -> None:
    path = root.log("wc-2")
    path.unlink()
    write_log(root, "wc-2", [event_line(500), *lines_of(2)])


def remove(root: Root) -> None:
    shutil.rmtree(root.workcell("wc-2"))


@pytest.mark.parametrize("change", [edit_in_place, replace, remove])
def test_a_log_that_was_changed_while_nothing_ran_is_read_again(
    root: Root, redis_url: str, redis_client: Any, started: dict[str, Any], monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Root], None],
) -> None:  # fmt: skip
    change(root)
    logs = opened(monkeypatch)
    relays = Relays(root, redis_url)
    assert {path.parent.name for path in logs} <= {"wc-2"}
    found = fleet(redis_client)
    same = {name for name in started if found.get(name) == started[name]}
    assert same - {"wc-2"} == started.keys() - {"wc-2"}
    if root.log("wc-2").exists():
        assert logs
        assert int(found["wc-2"][b"head"]) == root.log("wc-2").read_bytes().count(b"\n")
    else:
        assert "wc-2" not in found
    relays.stop()


# ── lies ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def rewrite(path: Path, change: Callable[[list[Any], dict[str, Any]], object]) -> None:
    """Rewrite each line, with a right checksum."""
    header, *lines, _ = path.read_bytes().split(b"\n")
    out = [header]
    for line in lines:
        _, fields, summary = line.split(b" ", 2)
        values, content = json.loads(fields), json.loads(summary)
        change(values, content)
        text = json.dumps(values, separators=(",", ":")).encode() + b" " + json.dumps(content).encode()
        out.append(b"%d %s" % (crc32(text), text))
    path.write_bytes(b"\n".join(out) + b"\n")


def lie(summary: dict[str, Any]) -> None:
    summary.update(activity="lies", errors=7)


def in_place(index: int, by: int) -> Callable[[Path], None]:
    """A lie about a log of another size, time, inode …"""

    def change(values: list[Any], summary: dict[str, Any]) -> None:
        values[index] += by
        lie(summary)

    return lambda path: rewrite(path, change)


def with_summary(**fields: Any) -> Callable[[Path], None]:
    """A summary that is not that of the entry."""
    return lambda path: rewrite(path, lambda _, summary: summary.update(activity="lies", **fields))


def flip(path: Path) -> None:
    """Change one byte of each summary."""
    path.write_bytes(path.read_bytes().replace(b'"errors":0', b'"errors":7'))


def swap_names(path: Path) -> None:
    """Give each log the entry of another one."""

    def change(values: list[Any], summary: dict[str, Any]) -> None:
        values[0] = f"wc-{(int(values[0][3:]) + 1) % COUNT}"
        lie(summary)

    rewrite(path, change)


def as_root(key: str, value: object) -> Callable[[Path], None]:
    """Name another root, version or price table."""

    def change(path: Path) -> None:
        rewrite(path, lambda _, summary: lie(summary))
        header, _, rest = path.read_bytes().partition(b"\n")
        path.write_bytes(json.dumps(json.loads(header) | {key: value}).encode() + b"\n" + rest)

    return change


def become_link(path: Path) -> None:
    rewrite(path, lambda _, summary: lie(summary))
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def become_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def become_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


LIES: dict[str, Callable[[Path], object]] = {
    "device": in_place(1, 1), "inode": in_place(2, 1), "size": in_place(3, 1), "negative size": in_place(3, -(10**9)),
    "content time": in_place(4, 1), "status time": in_place(5, 1),
    "epoch": in_place(6, 1), "no epoch": in_place(6, -(2**60)),
    "base": in_place(7, 1), "head": in_place(8, 1), "head out of range": in_place(8, 2**60),
    "other epoch": with_summary(epoch=5), "other head": with_summary(head=1), "other id": with_summary(id="wc-9"),
    "running": with_summary(status="running"), "unknown status": with_summary(status="fine"),
    "other origin": with_summary(origin="0" * 16), "too long": with_summary(x="x" * 5000),
    "wrong type": with_summary(counts="many"), "flipped": flip, "swapped": swap_names,
    "other root": as_root("origin", "0" * 16), "other version": as_root("version", 2),
    "other prices": as_root("prices", "0" * 16), "other prefix": as_root("prefix", "x:"),
    "empty": lambda path: path.write_bytes(b""), "garbage": lambda path: path.write_bytes(bytes(range(256)) * 40),
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2), "nested": lambda path: path.write_bytes(
        path.read_bytes().partition(b"\n")[0] + b"\n" + b"[" * 100_000 + b"\n"
    ),
    "missing": lambda path: path.unlink(), "directory": become_directory,
    "fifo": become_fifo, "link": become_link,
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_a_lie_never_becomes_a_summary(
    root: Root, redis_url: str, redis_client: Any, started: dict[str, Any], name: str
) -> None:
    """Whatever is in the file, the fleet is that of the logs."""
    LIES[name](kept(root))
    relays = Relays(root, redis_url)
    relays.sweep()
    assert fleet(redis_client) == started
    relays.stop()


def test_what_a_copy_of_a_root_brings_is_ignored(
    root: Root, redis_url: str, redis_client: Any, started: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    copied = Root(tmp_path_factory.mktemp("copy") / "root")
    shutil.copytree(root.directory, copied.directory, copy_function=shutil.copy2)
    ended = EndedLogs(copied, shipped_prices().fingerprint)
    ended.load()
    assert list(ended) == []
    for workcell in copied.ids():
        assert not ended.has_unchanged(workcell)
    relays = Relays(copied, redis_url)
    assert {found[b"origin"].decode() for found in fleet(redis_client).values()} == {copied.origin()}
    assert copied.origin() != root.origin()
    relays.stop()


def test_a_log_with_an_epoch_of_its_own_is_decided_by_its_files(
    root: Root, redis_url: str, redis_client: Any, started: dict[str, Any]
) -> None:
    root.log_state("wc-3").write_epoch(77)
    relays = Relays(root, redis_url)
    assert fleet(redis_client)["wc-3"][b"epoch"] == b"77"
    relays.stop()


# ── the broker ───────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("lost", [summary_key("wc-1"), workcells_key(0), "everything"])
def test_what_the_broker_loses_is_published_again(
    root: Root, redis_url: str, redis_client: Any, started: dict[str, Any], lost: str
) -> None:
    relays = Relays(root, redis_url)
    if lost == "everything":
        redis_client.flushall()
    else:
        redis_client.delete(lost)
    relays.sweep()
    if lost != workcells_key(0):
        assert fleet(redis_client) == started
    relays.stop()


def test_another_roots_summary_is_left_alone(
    root: Root, redis_url: str, redis_client: Any, started: dict[str, Any]
) -> None:
    theirs = {"epoch": "5", "head": "1", "base": "0", "origin": "theirs", "json": "{}"}
    redis_client.hset(summary_key("wc-1"), mapping=theirs)
    relays = Relays(root, redis_url)
    relays.sweep()
    assert redis_client.hgetall(summary_key("wc-1")) == {k.encode(): v.encode() for k, v in theirs.items()}
    assert {name for name, found in fleet(redis_client).items() if found == started[name]} == started.keys() - {"wc-1"}
    relays.stop()


def test_a_requested_window_of_an_ended_log_is_published(
    root: Root, redis_url: str, redis_client: Any, started: dict[str, Any]
) -> None:
    relays = Relays(root, redis_url)
    redis_client.sadd(wanted_key(0), "wc-4")
    relays.logs.publish_windows()
    relays.publish()
    assert completeness_problems(redis_client, "wc-4", natural_epoch(lines_of(4)[0]), lines_of(4)) == []
    assert [redis_client.exists(stream_key(f"wc-{number}")) for number in range(COUNT)] == [0, 0, 0, 0, 1, 0]
    assert redis_client.scard(wanted_key(0)) == 0
    relays.sweep()
    assert fleet(redis_client) == started
    relays.stop()


def test_a_workcell_that_is_removed_leaves_the_broker_and_the_file(
    root: Root, redis_url: str, redis_client: Any, started: dict[str, Any]
) -> None:
    relays = Relays(root, redis_url)
    shutil.rmtree(root.workcell("wc-5"))
    relays.sweep()
    relays.sweep()
    assert "wc-5" not in fleet(redis_client)
    relays.stop()
    assert b'"wc-5"' not in kept(root).read_bytes()
    assert kept(root).read_bytes().count(b"\n") == COUNT


class Removing(Publisher):
    """A publisher before whose comparison a workcell is removed, as by ``workcast rm``."""

    root: Root | None = None

    def compare_ended(self, logs: Mapping[str, EndedLog], origin: str) -> list[str]:
        if self.root is not None:
            remove_records(self.root, "wc-5")
            self.forget("wc-5", origin)
        return super().compare_ended(logs, origin)


def test_a_workcell_that_is_removed_during_a_sweep_does_not_come_back(
    root: Root, redis_url: str, redis_client: Any, started: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    publisher = Removing(redis_url)
    logs = LogRelays(root, publisher, WarnOnce(logging.getLogger("workcast.relay")), None, lambda: None)
    logs.attach(never)
    publisher.root = root
    logs.sweep()
    while logs.has_changed:
        logs.publish(never)
    publisher.close()
    assert fleet(redis_client).keys() == started.keys() - {"wc-5"}
    assert "lost events" not in caplog.text


def test_a_log_that_has_just_changed_is_not_kept(root: Root, redis_url: str) -> None:
    write_log(root, "wc", lines_of(1))
    future = time.time_ns() + 3_600_000_000_000
    os.utime(root.log("wc"), ns=(future, future))
    relays = Relays(root, redis_url)
    relays.sweep()
    relays.stop()
    assert not kept(root).exists()
