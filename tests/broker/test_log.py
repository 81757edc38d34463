from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workcast.broker.appender import Appender
from workcast.broker.log import Header, LogReader, natural_epoch, parse_header
from workcast.events.cut_line import size_of
from workcast.events.wire import wire

line_bytes = st.binary(max_size=200).map(lambda data: data.replace(b"\n", b" "))


def lines_of(path: Path) -> list[bytes]:
    """What a reader must see: everything up to the last newline."""
    return path.read_bytes().split(b"\n")[:-1]


def read_all(reader: LogReader, max_lines: int = 7, max_bytes: int = 500) -> list[bytes]:
    reader.refresh()
    found: list[bytes] = []
    while reader.base + len(found) < reader.end:
        span = reader.read(reader.base + len(found), max_lines, max_bytes)
        assert span.lines
        assert span.offset == reader.base + len(found)
        found += span.lines
    return found


# ── appending ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_an_append_is_in_the_file_when_it_returns(tmp_path: Path) -> None:
    with Appender(tmp_path / "log") as appender:
        appender.append(b"one\n")
        assert (tmp_path / "log").read_bytes() == b"one\n"
        appender.append(b"two\nthree\n")
    assert lines_of(tmp_path / "log") == [b"one", b"two", b"three"]


def test_only_whole_lines_can_be_appended(tmp_path: Path) -> None:
    with Appender(tmp_path / "log") as appender, pytest.raises(ValueError, match="newline"):
        appender.append(b"no newline")


def test_a_torn_tail_is_closed_before_the_next_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with Appender(path) as appender:
        appender.append(b"one\n")
        with path.open("ab") as other:
            other.write(b'{"torn')
        appender.append(b"two\n")
    assert path.read_bytes() == b'one\n{"torn\ntwo\n'


def test_an_unlinked_log_is_created_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with Appender(path) as appender:
        appender.append(b"one\n")
        path.unlink()
        appender.append(b"two\n")
        path.rename(tmp_path / "old")
        appender.append(b"three\n")
    assert path.read_bytes() == b"three\n"
    assert (tmp_path / "old").read_bytes() == b"two\n"


def test_a_disk_that_is_full_leaves_whole_lines_only(tmp_path: Path) -> None:
    path = tmp_path / "log"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with Appender(path) as appender:
            appender.append(b"one\n")
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
            with pytest.raises(OSError, match="File too large"):
                appender.append(b"x" * 2000 + b"\n")
            assert path.read_bytes() == b"one\n"
            appender.append(b"two\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == b"one\ntwo\n"


def test_threads_share_an_appender_without_mixing_lines(tmp_path: Path) -> None:
    path = tmp_path / "log"

    def work(name: str) -> None:
        for number in range(200):
            appender.append(f"{name} {number}\n".encode())

    with Appender(path) as appender:
        threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = lines_of(path)
    for name in "abcd":
        assert [line for line in lines if line.startswith(name.encode())] == [
            f"{name} {number}".encode() for number in range(200)
        ]


def test_a_forked_child_locks_for_itself(tmp_path: Path) -> None:
    """Two processes that share the open file share its lock: they would append into each other's lines."""
    path = tmp_path / "log"
    code = (
        "import os, sys; from pathlib import Path; from workcast.broker.appender import Appender\n"
        "a = Appender(Path(sys.argv[1])); a.append(b'first\\n')\n"
        "child = os.fork()\n"
        "for n in range(300): a.append((b'c' if child == 0 else b'p') * 5000 + b'\\n')\n"
        "assert a._process == os.getpid()\n"
        "child and os.waitpid(child, 0)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    lines = lines_of(path)
    assert sorted(lines) == [b"c" * 5000] * 300 + [b"first"] + [b"p" * 5000] * 300


def spawn(path: Path, name: str, count: int, size: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "support.writers", str(path), name, str(count), str(size)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)


def numbers(path: Path, name: str) -> list[int]:
    found: list[int] = []
    for line in lines_of(path):
        try:
            event = json.loads(line)
        except ValueError:
            continue  # torn
        if event["from"] == name:
            found.append(event["n"])
    return found


def test_processes_append_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with spawn(path, "a", 400, 50) as one, spawn(path, "b", 400, 5000) as two:
        one.communicate()
        two.communicate()
    assert numbers(path, "a") == numbers(path, "b") == list(range(400))


@settings(max_examples=12)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=4), st.sampled_from([20, 20_000, 300_000]))
def test_what_was_appended_survives_a_kill_at_any_moment(
    tmp_path_factory: pytest.TempPathFactory, kills: list[int], size: int
) -> None:
    """Writers are killed after so many appends, one after the other; the remaining ones close their torn lines."""
    path = tmp_path_factory.mktemp("log") / "log"
    for at, kill in enumerate(kills):
        with spawn(path, str(at), 10_000, size) as writer:
            assert writer.stdout is not None
            for _ in range(kill):
                writer.stdout.readline()
            writer.kill()
            output = writer.stdout.read()
        certain = kill + output.count(b"\n")
        assert numbers(path, str(at))[:certain] == list(range(certain))
    with Appender(path) as appender:
        appender.append(b'{"type":"x","from":"end","n":0}\n')
    assert numbers(path, "end") == [0]
    for at, _ in enumerate(kills):
        found = numbers(path, str(at))
        assert found == list(range(len(found)))


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────
@settings(max_examples=60)
@given(st.lists(st.tuples(st.lists(line_bytes, max_size=20), st.binary(max_size=30)), max_size=6))
def test_a_reader_sees_the_whole_lines_however_the_file_grows(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[list[bytes], bytes]]
) -> None:
    """Each step appends whole lines and a torn tail, which the next step's bytes complete."""
    path = tmp_path_factory.mktemp("log") / "log"
    path.touch()
    reader = LogReader(path)
    for lines, tail in steps:
        with path.open("ab") as file:
            file.write(b"".join(line + b"\n" for line in lines) + tail)
        expected = lines_of(path)
        if expected and parse_header(expected[0]):
            return
        assert read_all(reader) == expected
        assert reader.generation == 0
        assert reader.natural_epoch == (natural_epoch(expected[0]) if expected else None)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 200_000), min_size=1, max_size=40), st.data())
def test_a_read_at_any_offset_gives_the_lines_from_there(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("log") / "log"
    lines = [b"%d " % at + b"x" * size for at, size in enumerate(sizes)]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    reader = LogReader(path)
    reader.refresh()
    assert reader.end == len(lines)
    for _ in range(5):
        offset = data.draw(st.integers(0, len(lines)))
        count = data.draw(st.integers(1, 10))
        span = reader.read(offset, count, 1 << 30)
        assert span.lines == lines[offset : offset + count]
        near = reader.offset_near(data.draw(st.integers(-5, path.stat().st_size + 5)))
        assert 0 <= near <= reader.end


def test_an_offset_near_a_position_begins_at_or_after_it(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"".join(b"x" * 99 + b"\n" for _ in range(5000)))
    reader = LogReader(path)
    reader.refresh()
    assert reader.offset_near(0) == 0
    for position in (1, 70_000, 400_000):
        offset = reader.offset_near(position)
        assert position <= offset * 100 < position + 2 * 65_536
    assert reader.offset_near(500_000) == 5000


def test_a_read_stays_within_its_bounds_but_gives_one_line_at_least(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"a" * 1000 + b"\n" + b"b\n" * 100)
    reader = LogReader(path)
    reader.refresh()
    assert [len(line) for line in reader.read(0, 100, 10).lines] == [1000]
    assert len(reader.read(1, 100, 10).lines) == 5
    with pytest.raises(ValueError, match="expected an offset"):
        reader.read(102, 1, 1)


def test_lines_of_20_mb_are_lines(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\n" + b"x" * 20_000_000 + b"\nthree\ntorn")
    reader = LogReader(path)
    reader.refresh()
    assert reader.end == 3
    assert len(reader.read(1, 1, 1).lines[0]) == 20_000_000
    assert reader.read(2, 9, 99).lines == [b"three"]


# ── lines that are not finished yet ──────────────────────────────────────────────────────────────────────────────────
def bytes_read(call: Callable[[], object]) -> int:
    """How many bytes this process reads from files during a call."""

    def total() -> int:
        return int(Path("/proc/self/io").read_bytes().split()[1])

    before = total()
    call()
    return total() - before


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts the bytes that a process reads")
def test_an_unterminated_tail_is_searched_once_however_often_the_log_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\n" + b"x" * (32 << 20))
    reader = LogReader(path)
    assert bytes_read(reader.refresh) < 34 << 20
    for _ in range(3):
        assert bytes_read(reader.refresh) < 1 << 16
    with path.open("ab") as file:
        file.write(b"x" * (1 << 20))
    assert bytes_read(reader.refresh) < 2 << 20
    assert reader.end == 1
    with path.open("ab") as file:
        file.write(b"\nthree\n")
    assert bytes_read(reader.refresh) < 35 << 20  # once more, to be sure of what ended
    assert reader.end == 3
    assert reader.read(2, 9, 9).lines == [b"three"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts the bytes that a process reads")
def test_of_a_line_over_32_mib_only_the_beginning_is_read(tmp_path: Path) -> None:
    """Wherever it is in the log; what follows keeps its offset."""
    path = tmp_path / "log"
    long, whole = b"x" * (33 << 20), b"y" * (3 << 20)
    written = [long, b"one", whole, long, long, b"two", long]
    path.write_bytes(b"\n".join(written) + b"\n")
    reader = LogReader(path)
    reader.refresh()
    assert reader.end == len(written)
    assert bytes_read(lambda: reader.read(0, 10, 1 << 30)) < 20 << 20
    for offset in range(len(written)):
        lines = reader.read(offset, 10, 1 << 30).lines
        assert [size_of(line) for line in lines] == [len(line) for line in written[offset:]]
        assert lines == [line if len(line) < len(long) else line[:4096] for line in written[offset:]]
    assert json.loads(wire(reader.read(0, 1, 1).lines[0])) == {
        "type": "malformed", "reason": "size", "bytes": len(long), "raw": "x" * 4096,
    }  # fmt: skip


def test_a_long_line_is_read_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "log"
    line = b"x" * (24 << 20)
    path.write_bytes(line)
    reader = LogReader(path)
    tracemalloc.start()
    try:
        reader.refresh()
        with path.open("ab") as file:
            file.write(b"\n")
        reader.refresh()
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    assert (reader.end, reader.natural_epoch, reader.header) == (1, natural_epoch(line), None)


def repeated(text: bytes, count: int) -> bytes:
    return text * count


pieces_of_lines = st.builds(repeated, st.sampled_from([b"x", b"y" * 50 + b"\n", b"\n"]), st.integers(0, 900))


@given(pieces=st.lists(pieces_of_lines, max_size=8), chunk=st.integers(257, 500))
@settings(max_examples=100)
def test_any_growth_read_in_chunks_of_any_size_gives_the_same_lines(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], chunk: int
) -> None:
    path = tmp_path_factory.mktemp("growth") / "log"
    path.touch()
    reader = LogReader(path, chunk_bytes=chunk)
    for piece in pieces:
        with path.open("ab") as file:
            file.write(piece)
        reader.refresh()
        lines = lines_of(path)
        assert reader.generation <= 1
        header = parse_header(lines[0]) if lines else None
        assert read_all(reader) == (lines[1:] if header else lines)
        assert reader.natural_epoch == (natural_epoch(lines[0]) if lines else None)
        assert not reader.is_behind


@pytest.mark.parametrize("cut", [0, 20, 3000])
def test_a_tail_that_was_cut_back_and_written_again_is_searched_again(tmp_path: Path, cut: int) -> None:
    """As a writer does whose disk was full: the place where the search stopped may now lie beyond a newline."""
    path = tmp_path / "log"
    path.write_bytes(b"one\n" + b"x" * 5000)
    reader = LogReader(path, chunk_bytes=300)
    reader.refresh()
    os.truncate(path, 4 + cut)
    with path.open("ab") as file:
        file.write(b"two\n" + b"x" * 6000)
    reader.refresh()
    with path.open("ab") as file:
        file.write(b"\n")
    assert read_all(reader) == lines_of(path)


def test_a_refresh_with_a_limit_says_that_it_is_behind(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"".join(b"%d\n" % number for number in range(1000)) + b"x" * 1000)
    reader = LogReader(path, chunk_bytes=257)
    looks = 0
    reader.refresh(limit=500)
    while reader.is_behind:
        looks += 1
        reader.refresh(limit=500)
    assert looks >= 7
    assert read_all(reader) == [b"%d" % number for number in range(1000)]


def test_an_index_stays_sparse_however_the_log_grows(tmp_path: Path) -> None:
    reader = LogReader(tmp_path / "log")
    with Appender(tmp_path / "log") as appender:
        for number in range(2000):
            appender.append(b"%d " % number + b"x" * 150 + b"\n")
            reader.refresh()
    assert reader.end == 2000
    assert len(reader._positions) <= 6  # 300 KB of log
    for offset in (0, 1, 777, 1999):
        assert reader.read(offset, 1, 1).lines[0].startswith(b"%d " % offset)


def big_log(path: Path, count: int = 80_000) -> bytes:
    data = b"".join(b"%d " % number + b"x" * 100 + b"\n" for number in range(count))
    path.write_bytes(data)
    return data


def test_with_a_saved_index_only_newer_lines_are_scanned(tmp_path: Path) -> None:
    path, index = tmp_path / "log", tmp_path / "log.index"
    size = len(big_log(path))
    first = LogReader(path, index)
    first.refresh()
    first.save_index()
    again = LogReader(path, index)
    assert (again.end, again.end_position) == (80_000, size)  # before it has looked at the log at all
    with path.open("ab") as file:
        file.write(b"one more\n")
    again.refresh()
    assert (again.generation, again.end) == (0, 80_001)
    assert again.read(80_000, 5, 99).lines == [b"one more"]
    for offset in (0, 41_234, 79_999):
        assert again.read(offset, 1, 1).lines[0].startswith(b"%d " % offset)
    assert again.natural_epoch == first.natural_epoch


def test_a_saved_index_that_is_damaged_or_of_another_log_is_ignored(tmp_path: Path) -> None:
    path, index = tmp_path / "log", tmp_path / "log.index"
    big_log(path)
    reader = LogReader(path, index)
    reader.refresh()
    reader.save_index()
    kept = index.read_bytes()
    path.write_bytes(b"another\n")
    other = LogReader(path, index)
    other.refresh()
    assert (other.generation, other.end) == (1, 1)
    big_log(path)
    for damaged in (b"", b"{}", kept[:-5], kept.replace(b'"end"', b'"odd"'), b"\xff" * 100):
        index.write_bytes(damaged)
        reader = LogReader(path, index)
        reader.refresh()
        assert reader.end == 80_000


def test_a_saved_index_keeps_the_header(tmp_path: Path) -> None:
    path, index = tmp_path / "log", tmp_path / "log.index"
    data = big_log(path)
    path.write_bytes(b'{"type":"log","epoch":77,"base":1000}\n' + data)
    reader = LogReader(path, index)
    reader.refresh()
    reader.save_index()
    again = LogReader(path, index)
    assert (again.header, again.base, again.end) == (Header(77, 1000), 1000, 81_000)


def replaced_by_another_file(path: Path) -> None:
    path.with_suffix(".new").write_bytes(b"first\nanother\n")
    path.with_suffix(".new").rename(path)


def truncated(path: Path) -> None:
    os.truncate(path, 6)


def rewritten_in_place(path: Path) -> None:
    path.write_bytes(b"other\n" * 50)


def regrown_with_the_same_first_line(path: Path) -> None:
    path.write_bytes(b"first\n" + b"different\n" * 50)


def unlinked(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    "change",
    [replaced_by_another_file, truncated, rewritten_in_place, regrown_with_the_same_first_line, unlinked],
)
def test_a_log_that_is_not_a_continuation_is_noticed_and_read_from_its_start(tmp_path: Path, change: object) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"first\nsecond\nthird\n")
    reader = LogReader(path)
    assert read_all(reader) == [b"first", b"second", b"third"]
    assert callable(change)
    change(path)
    assert reader.read(0, 10, 1000).lines == []  # nothing of the new file under the old generation
    assert reader.refresh()
    assert reader.generation == 1
    assert read_all(reader) == (lines_of(path) if path.exists() else [])


def test_a_header_is_not_counted_and_gives_base_and_epoch(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b'{"type":"log","epoch":77,"base":1000}\nline 1000\nline 1001\n')
    reader = LogReader(path)
    reader.refresh()
    assert (reader.header, reader.base, reader.end) == (Header(77, 1000), 1000, 1002)
    assert reader.read(1001, 5, 100).lines == [b"line 1001"]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b'{"type":"log"}',
        b'{"type":"log","epoch":-1,"base":0}',
        b'{"type":"log","epoch":0,"base":0}',
        b'{"type":"log","epoch":281474976710656,"base":0}',
        b'{"type":"log","epoch":1,"base":"0"}',
        b'{"type":"log","epoch":1,"base":-1}',
        b'{"type":"log","epoch":1,"base":4503599627370496}',
        b'{"type":"log","epoch":1,"base":100000000000000000000000}',
        b'{"type":"log","epoch":true,"base":0}',
        b'{"type":"log","epoch":1,"base":false}',
        b'{"type":"log","epoch":1.0,"base":0}',
        b'"log"',
    ],
)
def test_an_ordinary_first_line_is_not_a_header(line: bytes) -> None:
    assert parse_header(line) is None


def test_the_largest_numbers_of_a_header_are_exact_in_scripts() -> None:
    header = parse_header(b'{"type":"log","epoch":281474976710655,"base":4503599627370495}')
    assert header == Header(2**48 - 1, 2**52 - 1)


def make_link(path: Path) -> None:
    target = path.with_name("elsewhere")
    target.write_bytes(b"secret\n")
    path.symlink_to(target)


def make_loop(path: Path) -> None:
    path.symlink_to(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))


@pytest.mark.parametrize("make", [make_link, make_loop, make_socket, os.mkfifo, os.mkdir])
def test_only_a_regular_file_is_a_log(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "log"
    make(path)
    reader = LogReader(path)
    assert not reader.refresh()
    assert (reader.end, reader.natural_epoch) == (0, None)
    with pytest.raises(FileNotFoundError):
        reader.sync()


def test_a_log_that_became_a_symbolic_link_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\n")
    reader = LogReader(path)
    reader.refresh()
    path.rename(tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    assert reader.read(0, 1, 100).lines == []
    assert reader.refresh()
    assert reader.end == 0


def test_the_natural_epoch_is_48_bits_of_the_first_lines_hash() -> None:
    # printf '{"type":"started"}' | sha256sum
    assert natural_epoch(b'{"type":"started"}') == 0x6AEBE4B12031
