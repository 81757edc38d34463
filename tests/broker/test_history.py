from __future__ import annotations

import pytest

from support.logs import event_line, write_log
from workcast.broker.errors import EpochError
from workcast.broker.history import Extent, History
from workcast.broker.log import natural_epoch
from workcast.broker.root import Root
from workcast.broker.roots import Roots
from workcast.events.wire import wire


def test_a_workcell_without_a_line_has_epoch_zero_and_a_missing_one_has_no_extent(root: Root) -> None:
    history = History(Roots(root))
    assert history.extent("wc") is None
    (root.workcells / "wc").mkdir()
    assert history.extent("wc") == Extent(0, 0, 0)


def test_a_range_is_the_wire_bytes_of_its_lines(root: Root) -> None:
    lines = [event_line(0), b"not JSON", b'{ "type":"x" }', event_line(3)]
    write_log(root, "wc", lines)
    history, epoch = History(Roots(root)), natural_epoch(lines[0])
    assert history.extent("wc") == Extent(epoch, 0, 4)
    assert history.read("wc", epoch, 1, 2) == [wire(lines[1]), wire(lines[2])]
    assert history.read_lines("wc", epoch, 1, 2) == lines[1:3]
    assert history.read("wc", epoch, 3, 100) == [lines[3]]
    assert history.read("wc", epoch, 4, 100) == []


def test_another_epoch_is_refused(root: Root) -> None:
    write_log(root, "wc", [event_line(0)])
    with pytest.raises(EpochError, match="subscribe again"):
        History(Roots(root)).read("wc", 1, 0, 1)


def test_a_log_that_was_replaced_is_refused_under_the_old_epoch(root: Root) -> None:
    write_log(root, "wc", [event_line(0), event_line(1)])
    history = History(Roots(root))
    epoch = natural_epoch(event_line(0))
    assert len(history.read("wc", epoch, 0, 9)) == 2
    root.log("wc").unlink()
    write_log(root, "wc", [event_line(7)])
    with pytest.raises(EpochError):
        history.read("wc", epoch, 0, 9)
    assert history.read("wc", natural_epoch(event_line(7)), 0, 9) == [event_line(7)]


def test_lines_before_the_base_of_a_pruned_log_are_not_there(root: Root) -> None:
    write_log(root, "wc", [b'{"type":"log","epoch":5,"base":100}', event_line(100), event_line(101)])
    history = History(Roots(root))
    assert history.extent("wc") == Extent(5, 100, 102)
    assert history.read("wc", 5, 101, 9) == [event_line(101)]
    assert history.read("wc", 5, 99, 9) == []


def test_many_workcells_cost_bounded_memory(root: Root) -> None:
    history = History(Roots(root))
    for number in range(300):
        write_log(root, f"wc-{number}", [event_line(number)])
        assert history.extent(f"wc-{number}") is not None
    assert len(history._readers) <= 256


@pytest.mark.parametrize("link", ["wc", "wc/telemetry.jsonl"])
def test_what_became_a_link_out_of_the_root_is_not_read(
    root: Root, link: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    write_log(root, "wc", [event_line(0)])
    history, epoch = History(Roots(root)), natural_epoch(event_line(0))
    assert history.read("wc", epoch, 0, 9) == [event_line(0)]
    moved = tmp_path_factory.mktemp("outside") / "moved"
    (root.workcells / link).rename(moved)
    (root.workcells / link).symlink_to(moved)
    nothing = None if link == "wc" else Extent(0, 0, 0)  # a workcell whose log is missing
    assert history.extent("wc") == nothing
    assert history.synced_extent("wc") == nothing
    with pytest.raises(EpochError, match=r"expected a workcell that has a log here|its log has 0"):
        history.read("wc", epoch, 0, 9)
