"""The checksums of lines: any edit of shown lines is found, whatever part of them is read, and nothing else is."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from zlib import crc32

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from workcast.broker.line_sums import LineSums, crcs_of

EPOCH, OTHER = 0x123456789ABC, 7
LINES = st.lists(st.binary(max_size=60).map(lambda line: line.replace(b"\n", b" ")), min_size=1, max_size=40)
HEADER_BYTES = 28


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "wc.sums"


def numbered(count: int, start: int = 0) -> list[bytes]:
    return [b"line %d" % number for number in range(start, start + count)]


def add(sums: LineSums, offset: int, lines: list[bytes], base: int = 0, epoch: int = EPOCH) -> int | None:
    return sums.add(epoch, base, offset, crcs_of(lines))


def written(path: Path, lines: list[bytes], base: int = 0) -> LineSums:
    sums = LineSums(path)
    assert add(sums, base, lines, base) is None
    return sums


@given(lines=LINES, base=st.integers(0, 1 << 40), data=st.data())
def test_any_lines_agree_with_their_sums_however_they_were_added_and_read(
    lines: list[bytes], base: int, data: st.DataObject
) -> None:
    with TemporaryDirectory() as directory:
        sums = LineSums(Path(directory) / "wc.sums")
        at = 0
        while at < len(lines):
            count = data.draw(st.integers(1, len(lines) - at))
            back = data.draw(st.integers(0, at))  # added again, as a relay does that starts over
            assert add(sums, base + back, lines[back : at + count], base) is None
            at += count
        start = data.draw(st.integers(0, len(lines)))
        end = data.draw(st.integers(start, len(lines)))
        assert sums.first_difference(EPOCH, base + start, lines[start:end]) is None
        assert sums.known_to(EPOCH, base + start) == base + len(lines)
        assert (Path(directory) / "wc.sums").stat().st_size == HEADER_BYTES + 4 * len(lines)


@given(lines=LINES, data=st.data())
def test_any_edit_of_a_byte_of_any_lines_read_is_found(lines: list[bytes], data: st.DataObject) -> None:
    with TemporaryDirectory() as directory:
        sums = written(Path(directory) / "wc.sums", lines)
        start = data.draw(st.integers(0, len(lines) - 1))
        end = data.draw(st.integers(start + 1, len(lines)))
        at = data.draw(st.integers(start, end - 1))
        line = bytearray(lines[at])
        assume(line)
        where = data.draw(st.integers(0, len(line) - 1))
        line[where] ^= data.draw(st.integers(1, 255))
        edited = [*lines[start:at], bytes(line), *lines[at + 1 : end]]
        assert sums.first_difference(EPOCH, start, edited) == at
        assert add(sums, start, edited) == at
        assert sums.first_difference(EPOCH, start, lines[start:end]) is None  # and the sums are as they were


@given(lines=LINES, data=st.data())
def test_lines_that_are_longer_shorter_moved_or_exchanged_are_found(lines: list[bytes], data: st.DataObject) -> None:
    with TemporaryDirectory() as directory:
        sums = written(Path(directory) / "wc.sums", lines)
        others = list(lines)
        at, to = data.draw(st.integers(0, len(lines) - 1)), data.draw(st.integers(0, len(lines) - 1))
        match data.draw(st.sampled_from(["longer", "shorter", "exchanged", "moved"])):
            case "longer":
                others[at] += b"x"
            case "shorter":
                others[at] = others[at][1:]
            case "exchanged":
                others[at], others[to] = others[to], others[at]
            case _:
                others.insert(to, others.pop(at))
        different = [number for number, pair in enumerate(zip(lines, others, strict=True)) if pair[0] != pair[1]]
        assert sums.first_difference(EPOCH, 0, others) == (different[0] if different else None)


@pytest.mark.parametrize("line", [b"", b"24 N135"])
def test_a_line_whose_crc_is_0_has_a_sum_too(path: Path, line: bytes) -> None:
    """0 stands for a sum that is not known."""
    assert crc32(line) == 0
    lines = [*numbered(3), line, line, *numbered(3, 5)]
    sums = written(path, lines)
    assert sums.known_to(EPOCH, 0) == len(lines)
    assert sums.first_difference(EPOCH, 0, lines) is None
    assert sums.first_difference(EPOCH, 0, [*lines[:4], b"x", *lines[5:]]) == 4
    assert add(sums, 3, lines[3:5]) is None
    assert add(sums, 3, [b"x"]) == 3


def test_a_log_that_is_pruned_keeps_its_sums(path: Path) -> None:
    lines = numbered(30)
    sums = written(path, lines)
    assert sums.known_to(EPOCH, 10) == 30
    assert add(sums, 20, [*lines[20:], *numbered(5, 30)], base=10) is None
    assert sums.first_difference(EPOCH, 10, [*lines[10:], *numbered(5, 30)]) is None
    assert sums.first_difference(EPOCH, 10, [*lines[10:25], b"x", *lines[26:]]) == 25
    assert path.stat().st_size == HEADER_BYTES + 4 * 35


def test_the_sums_of_another_epoch_say_nothing_and_are_replaced(path: Path) -> None:
    sums = written(path, numbered(30))
    others = numbered(30, 100)
    assert sums.first_difference(OTHER, 0, others) is None
    assert sums.known_to(OTHER, 0) == 0
    assert sums.first_difference(EPOCH, 0, others) == 0  # not yet replaced
    assert add(sums, 0, others, epoch=OTHER) is None
    assert sums.first_difference(EPOCH, 0, others) is None
    assert sums.first_difference(OTHER, 0, numbered(30)) == 0


def test_sums_that_were_left_out_say_nothing_and_can_be_added_later(path: Path) -> None:
    lines = numbered(30)
    sums = LineSums(path)
    assert add(sums, 20, lines[20:]) is None
    assert sums.known_to(EPOCH, 0) == 0
    assert sums.known_to(EPOCH, 20) == 30
    assert sums.first_difference(EPOCH, 0, [*numbered(20, 500), *lines[20:]]) is None
    assert sums.first_difference(EPOCH, 0, [*lines[:25], b"x", *lines[26:]]) == 25
    assert add(sums, 0, lines) is None
    assert sums.known_to(EPOCH, 0) == 30
    assert sums.first_difference(EPOCH, 0, [b"x", *lines[1:]]) == 0


@pytest.mark.parametrize(
    "size", [0, 5, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 4 * 12, HEADER_BYTES + 4 * 12 + 3]
)
def test_a_file_that_was_cut_anywhere_says_nothing_of_what_is_missing(path: Path, size: int) -> None:
    lines = numbered(20)
    sums = written(path, lines)
    os.truncate(path, size)
    known = max(size - HEADER_BYTES, 0) // 4
    assert sums.known_to(EPOCH, 0) == known
    for offset in range(20):
        edited = [*lines[:offset], b"x", *lines[offset + 1 :]]
        assert sums.first_difference(EPOCH, 0, edited) == (offset if offset < known else None)
    assert add(sums, known, lines[known:]) is None
    assert sums.first_difference(EPOCH, 0, [*lines[:19], b"x"]) == 19


@pytest.mark.parametrize(("start", "end"), [(0, 3), (5, 9), (15, 20), (0, 20)])
def test_sums_that_a_loss_of_power_turned_into_zeros_say_nothing(path: Path, start: int, end: int) -> None:
    lines = numbered(20)
    sums = written(path, lines)
    with path.open("r+b") as file:
        file.seek(HEADER_BYTES + 4 * start)
        file.write(bytes(4 * (end - start)))
    assert sums.known_to(EPOCH, 0) == start
    for offset in range(20):
        edited = [*lines[:offset], b"x", *lines[offset + 1 :]]
        assert sums.first_difference(EPOCH, 0, edited) == (None if start <= offset < end else offset)
    assert add(sums, start, [*lines[start:], *numbered(2, 20)]) is None
    assert sums.known_to(EPOCH, 0) == 22
    assert sums.first_difference(EPOCH, 0, [*lines[:start], b"x", *lines[start + 1 :]]) == start


@pytest.mark.parametrize("at", range(HEADER_BYTES))
def test_a_damaged_header_makes_all_sums_unknown(path: Path, at: int) -> None:
    sums = written(path, numbered(5))
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)
    assert sums.known_to(EPOCH, 0) == 0
    assert sums.first_difference(EPOCH, 0, numbered(5, 50)) is None
    assert add(sums, 0, numbered(5, 50)) is None


def test_more_sums_than_are_read_at_once_are_searched(path: Path) -> None:
    lines = numbered(40_000)
    sums = written(path, lines)
    assert sums.known_to(EPOCH, 0) == 40_000
    os.truncate(path, HEADER_BYTES + 4 * (1 << 14))
    assert sums.known_to(EPOCH, 0) == 1 << 14


@pytest.mark.parametrize("kind", ["fifo", "link", "directory link"])
def test_something_else_in_place_of_the_file_is_replaced(path: Path, kind: str) -> None:
    path.parent.mkdir()
    victim = path.with_name("victim")
    victim.write_bytes(b"content")
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "link":
            path.symlink_to(victim)
        case _:
            path.symlink_to(path.parent)
    sums = LineSums(path)
    assert sums.first_difference(EPOCH, 0, numbered(3)) is None
    assert sums.known_to(EPOCH, 0) == 0
    assert add(sums, 0, numbered(3)) is None
    assert sums.known_to(EPOCH, 0) == 3
    assert victim.read_bytes() == b"content"


def test_two_writers_that_add_the_same_lines_in_any_pieces_leave_the_same_sums(path: Path) -> None:
    lines = numbered(3000)
    written(path, lines[:1])
    start = threading.Barrier(2)
    found: list[int | None] = []

    def write(size: int) -> None:
        sums = LineSums(path)
        start.wait()
        found.extend(add(sums, at, lines[at : at + size]) for at in range(0, len(lines), size))

    threads = [threading.Thread(target=write, args=(size,)) for size in (7, 11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) == {None}
    written(path.with_name("alone.sums"), lines)
    assert path.read_bytes() == path.with_name("alone.sums").read_bytes()


def test_reading_creates_nothing(path: Path) -> None:
    sums = LineSums(path)
    assert sums.first_difference(EPOCH, 0, numbered(3)) is None
    assert sums.known_to(EPOCH, 4) == 4
    assert not path.parent.exists()
