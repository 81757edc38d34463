"""What is shown of a log without a broker is noted first, so that no other log takes its place in the same epoch."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from support.logs import event_line, write_log
from workcast.broker.errors import EpochError
from workcast.broker.history import Extent, History
from workcast.broker.log import LogReader, natural_epoch
from workcast.broker.log_facts import epoch_of
from workcast.broker.log_relay import LogRelay
from workcast.broker.publisher import Publisher
from workcast.broker.root import Root
from workcast.broker.roots import Roots

LINES = [event_line(number) for number in range(30)]
EPOCH = natural_epoch(LINES[0])
OTHERS = [LINES[0], *(event_line(number, "other") for number in range(40))]


def cut_and_regrow(path: Path) -> None:
    path.write_bytes(b"".join(line + b"\n" for line in OTHERS))


def cut(path: Path) -> None:
    path.write_bytes(LINES[0] + b"\n")


def rename_another(path: Path) -> None:
    other = path.with_name("other")
    cut_and_regrow(other)
    other.replace(path)


def rename_a_copy(path: Path) -> None:
    """With the same lines, as far as a reader can see."""
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.replace(path)


CHANGES = pytest.mark.parametrize("change", [cut_and_regrow, cut, rename_another, rename_a_copy])


def disk_epoch(root: Root) -> int:
    reader = LogReader(root.log("wc"))
    reader.refresh()
    return epoch_of(root, "wc", reader)


@pytest.fixture
def relay(root: Root, tmp_path: Path) -> Generator[LogRelay]:
    """A relay whose broker is away."""
    publisher = Publisher(f"unix://{tmp_path}/nothing")
    yield LogRelay(root, "wc", publisher)
    publisher.close()


@CHANGES
def test_a_log_shown_without_a_broker_and_then_changed_gets_another_epoch(
    root: Root, redis_url: str, relay: LogRelay, change: Callable[[Path], None]
) -> None:
    path = write_log(root, "wc", LINES)
    relay.vouch()
    assert History(Roots(root)).synced_extent("wc") == Extent(EPOCH, 0, 30)
    change(path)
    publisher = Publisher(redis_url)
    next_relay = LogRelay(root, "wc", publisher)
    while next_relay.pump():
        pass
    assert publisher.watermarks(["wc"])[0].epoch not in (0, EPOCH)
    assert publisher.watermarks(["wc"])[0].epoch == disk_epoch(root)
    publisher.close()


def replace(path: Path, lines: list[bytes]) -> None:
    other = path.with_name("other")
    other.write_bytes(b"".join(line + b"\n" for line in lines))
    other.replace(path)


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(
    "logs",
    [
        [LINES, OTHERS[1:], OTHERS],
        [LINES, OTHERS, [b'{"type":"log","epoch":77,"base":0}', *LINES[5:]], LINES[9:]],
        [[b'{"type":"log","epoch":77,"base":0}', *LINES], OTHERS, [b'{"type":"log","epoch":77,"base":0}', *OTHERS]],
    ],
    ids=["by its first line", "by the state file", "by its header"],
)
def test_an_epoch_that_stood_for_another_log_before_does_not_come_back(
    root: Root, redis_url: str, logs: list[list[bytes]], *, restarted: bool
) -> None:
    write_log(root, "wc", [])
    publisher = Publisher(redis_url)
    relay = LogRelay(root, "wc", publisher)
    epochs: list[int] = []
    for lines in logs:
        replace(root.log("wc"), lines)
        if restarted:
            relay = LogRelay(root, "wc", publisher)
        while relay.pump():
            pass
        epochs.append(publisher.watermarks(["wc"])[0].epoch)
    assert len(set(epochs)) == len(epochs)
    assert epochs[-1] == disk_epoch(root)
    publisher.close()


def test_an_epoch_that_a_fresh_one_took_the_place_of_does_not_come_back_in_a_header(root: Root, redis_url: str) -> None:
    """The state file names the fresh epoch for a log without a header only."""
    path = write_log(root, "wc", LINES)
    publisher = Publisher(redis_url)
    relay = LogRelay(root, "wc", publisher)
    epochs: list[int] = []
    for lines in (LINES, OTHERS, [b'{"type":"log","epoch":%d,"base":0}' % EPOCH, *OTHERS]):
        replace(path, lines)
        while relay.pump():
            pass
        epochs.append(publisher.watermarks(["wc"])[0].epoch)
    assert len(set(epochs)) == 3
    publisher.close()


@CHANGES
def test_until_a_relay_has_given_it_an_epoch_nothing_of_a_changed_log_is_shown(
    root: Root, relay: LogRelay, change: Callable[[Path], None]
) -> None:
    path = write_log(root, "wc", LINES)
    relay.vouch()
    history = History(Roots(root))
    history.synced_extent("wc")
    assert history.read("wc", EPOCH, 0, 50) == LINES
    change(path)
    relay.vouch()
    for reader in (history, History(Roots(root))):
        assert reader.synced_extent("wc") == Extent(EPOCH, 0, 0)
        with pytest.raises(EpochError, match="not the one that was published"):
            reader.read("wc", EPOCH, 0, 50)


def test_a_log_is_shown_as_far_as_a_relay_has_noted_it(root: Root, relay: LogRelay) -> None:
    write_log(root, "wc", LINES[:10])
    history = History(Roots(root))
    relay.vouch()
    assert history.synced_extent("wc") == Extent(EPOCH, 0, 10)
    write_log(root, "wc", LINES[10:])
    assert history.read("wc", EPOCH, 0, 50) == LINES
    assert history.synced_extent("wc") == Extent(EPOCH, 0, 10)
    relay.vouch()
    assert history.synced_extent("wc") == Extent(EPOCH, 0, 30)
    assert history.synced_extent("missing") is None


@CHANGES
def test_a_log_that_no_relay_has_noted_is_shown_until_it_is_another_one(
    root: Root, change: Callable[[Path], None]
) -> None:
    path = write_log(root, "wc", LINES[:10])
    history = History(Roots(root))
    assert history.synced_extent("wc") == Extent(EPOCH, 0, 10)
    write_log(root, "wc", LINES[10:])
    assert history.synced_extent("wc") == Extent(EPOCH, 0, 30)
    change(path)
    assert history.synced_extent("wc") == Extent(EPOCH, 0, 0)


def test_a_pruned_log_is_shown_because_its_header_vouches_for_it(root: Root, relay: LogRelay) -> None:
    path = write_log(root, "wc", LINES)
    history = History(Roots(root))
    relay.vouch()
    pruned = path.with_name("pruned")
    header = b'{"type":"log","epoch":%d,"base":20}' % EPOCH
    pruned.write_bytes(b"".join(line + b"\n" for line in [header, *LINES[20:]]))
    pruned.replace(path)
    assert history.read("wc", EPOCH, 25, 50) == LINES[25:]
    assert history.synced_extent("wc") == Extent(EPOCH, 20, 20)
    relay.vouch()
    assert history.synced_extent("wc") == Extent(EPOCH, 20, 30)
    noted = root.log_state("wc").watermark()
    assert noted is not None
    assert (noted.base, noted.inode) == (20, path.stat().st_ino)


@pytest.mark.parametrize("state", ["empty", "in the way"])
def test_reading_writes_nothing(root: Root, state: str) -> None:
    write_log(root, "wc", LINES)
    if state == "in the way":
        root.state.rmdir()
        root.state.touch()
    history = History(Roots(root))
    assert history.extent("wc") == Extent(EPOCH, 0, 30)
    assert history.synced_extent("wc") == Extent(EPOCH, 0, 30)
    assert history.read("wc", EPOCH, 0, 50) == LINES
    assert root.origin() == ""
    if state == "empty":
        assert list(root.state.iterdir()) == []
