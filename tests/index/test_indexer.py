"""Index and logs together answer as if all lines were read and summed up, whatever happened to either."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from support.generated_events import LOGS, Event
from support.indexed import finish, heads, index_all, index_files, indexing, soon, stats
from support.log_edits import prune
from support.logs import event_line, write_log
from support.plain_figures import counts_of, figures_of, stats_of
from support.waiting import wait_until
from workcast.broker.root import Root
from workcast.consumer.overview_page import overview_page
from workcast.index.database import index_path
from workcast.index.indexer import Indexer
from workcast.index.view import View
from workcast.ledger.buckets import FIGURES
from workcast.ledger.prices import parse_table, shipped_prices

CELLS = st.sampled_from(["a", "b"])


def encode(event: Event | None) -> bytes:
    return b"not an event" if event is None else json.dumps(event).encode()


def read(line: bytes) -> Event | None:
    return None if line == b"not an event" else json.loads(line)


def line(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def shown(root: Root, by: str) -> dict[str | None, dict[str, int]]:
    """Return what the stats say, with the figures of the plain sums."""
    found: dict[str | None, dict[str, int]] = {}
    for row in stats(root, by).rows:
        assert not isinstance(row.key, list)
        if by == "tool":
            assert row.call_ms is not None
            figures = {"calls": row.calls, "failed": row.failed_calls, "ms": row.call_ms.sum}
        elif by == "path":
            figures = {"changes": row.changes}
        else:
            figures = {
                "events": row.events, "errors": row.errors, "calls": row.calls,
                "tokens": row.usage.total if row.usage else None, "duration": row.duration_ms, "added": row.lines_added,
            }  # fmt: skip
        found[row.key] = {name: number or 0 for name, number in figures.items()} | {"runs": row.runs}
    return found


class IndexMachine(RuleBasedStateMachine):
    """Logs that grow, are replaced, edited or pruned, and an index that is behind, begun anew, or not there."""

    def __init__(self) -> None:
        super().__init__()
        self.logs: dict[str, list[Event | None]] = {}
        """All events of each log's epoch, also those that were pruned since."""
        self.pruned: dict[str, int] = {}
        self.indexer: Indexer | None = None
        self.directory = tempfile.TemporaryDirectory()
        self.root = Root(Path(self.directory.name))
        self.root.prepare()

    def teardown(self) -> None:
        try:
            self.sums_are_those_of_all_lines()
        finally:
            self._stop()
            self.directory.cleanup()

    def _stop(self) -> None:
        if self.indexer is not None:
            self.indexer.close()
            self.indexer = None

    def _use(self) -> Indexer:
        if self.indexer is None:
            self.indexer = Indexer(self.root, shipped_prices())
            self.indexer.open()
        return self.indexer

    @rule(cell=CELLS, events=LOGS)
    def append(self, cell: str, events: list[Event | None]) -> None:
        write_log(self.root, cell, [encode(event) for event in events])
        self.logs.setdefault(cell, []).extend(events)

    @rule(cell=CELLS, torn=st.sampled_from([b'{"type":"err', b'{"type":"error","error":"x"}']))
    def tear(self, cell: str, torn: bytes) -> None:
        """Write a line without its newline, which counts only when the next writer has ended it."""
        path = write_log(self.root, cell, [])
        with path.open("ab") as file:
            file.write(torn)
        self.index()
        self.sums_are_those_of_all_lines()
        with path.open("ab") as file:
            file.write(b"\n")
        self.logs.setdefault(cell, []).append(None if torn.endswith(b"err") else json.loads(torn))

    @rule(cell=CELLS, events=LOGS.filter(bool), in_place=st.booleans())
    def replace(self, cell: str, events: list[Event | None], in_place: bool) -> None:
        path = self.root.log(cell)
        marked: list[Event | None] = [{"type": "x", "number": len(self.logs.get(cell, []))}, *events]
        if in_place or not path.exists():
            write_log(self.root, cell, [encode(event) for event in marked], "wb")
        else:
            other = path.with_suffix(".other")
            other.write_bytes(b"".join(encode(event) + b"\n" for event in marked))
            other.rename(path)
        self.logs[cell], self.pruned[cell] = marked, 0

    @rule(cell=CELLS, share=st.floats(0, 1))
    def prune(self, cell: str, share: float) -> None:
        """Prune a log that is indexed to its end: what is pruned before it was read is in no figure."""
        self.index()
        events = self.logs.get(cell, [])
        left = len(events) - self.pruned.get(cell, 0)
        if left < 2:
            return
        drop = int(share * (left - 1))
        with closing(View(self.root, shipped_prices())) as view:
            log, _ = view.follow(cell, soon())
        prune(self.root.log(cell), log.epoch, drop)
        self.pruned[cell] = self.pruned.get(cell, 0) + drop
        self.index()

    @rule()
    def index(self) -> None:
        finish(self._use())

    @rule(steps=st.integers(0, 2))
    def index_a_part(self, steps: int) -> None:
        indexer = self._use()
        indexer.sweep()
        for _ in range(steps):
            indexer.step()

    @rule()
    def restart(self) -> None:
        self._stop()

    @rule()
    def delete(self) -> None:
        """Delete the index, unless lines that it has were pruned since."""
        if any(self.pruned.values()):
            return
        self._stop()
        for file in index_files(self.root):
            file.unlink()

    @rule(cell=CELLS)
    def remove(self, cell: str) -> None:
        path = self.root.log(cell)
        path.unlink(missing_ok=True)
        if path.parent.exists():
            path.parent.rmdir()
        self.logs.pop(cell, None)
        self.pruned.pop(cell, None)

    @rule()
    def check(self) -> None:
        self.sums_are_those_of_all_lines()

    def sums_are_those_of_all_lines(self) -> None:
        plain = {cell: figures_of(events) for cell, events in self.logs.items()}
        runs = {cell: found for cell, (found, _) in plain.items()}
        for by in ("workcell", "agent", "model", "status", "tool", "path"):
            assert shown(self.root, by) == stats_of(runs, by), by
        page = stats(self.root, "agent")
        assert page.complete
        assert page.total.events == sum(map(len, self.logs.values()))
        assert page.total.usage is not None
        totals = [total for _, total in plain.values()]
        assert page.total.usage.total == sum(total.usage.total for total in totals)
        assert page.total.duration_ms == sum(total.duration_ms for total in totals)
        for cell, events in self.logs.items():
            overview = overview_page(self.root, cell, shipped_prices(), 7, "offset", 60)
            rows = [bucket.model_dump() for bucket in overview.buckets]
            assert {name: sum(row[name] for row in rows) for name in FIGURES} == counts_of(events, plain[cell][1])


TestIndexMachine = IndexMachine.TestCase
TestIndexMachine.settings = settings(max_examples=20, stateful_step_count=10, phases=[Phase.generate])


# ── kills, damage, and what others put in the place ─────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "points",
    [pytest.param(12, id="12"), pytest.param(200, id="200", marks=[pytest.mark.accept, pytest.mark.timeout(600)])],
)
def test_an_index_is_right_however_often_its_indexer_is_killed(root: Root, tmp_path: Path, points: int) -> None:
    events: list[Event | None] = [
        event
        for number in range(points * 8)
        for event in (
            {"type": "prompt_sent", "prompt": "x"} if number % 9 == 0 else None,
            {"type": "tool_call", "tool": f"T{number % 3}", "call_id": f"c{number}"},
            {"type": "file_write", "path": f"f{number % 5}", "lines_added": 1},
            {"type": "tool_result", "call_id": f"c{number}", "error": "x" if number % 4 == 0 else None},
            {"type": "usage", "message_id": f"m{number}", "usage": {"input_tokens": number}, "model": "gpt-5.5"},
            {"type": "completed", "status": "success"} if number % 9 == 8 else {"type": "error", "error": "x"},
        )
    ]
    lines = tmp_path / "lines"
    lines.write_bytes(b"".join(encode(event) + b"\n" for event in events))
    command = [sys.executable, "-m", "support.index_kills", str(root.directory), str(lines), str(points), "1"]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}, check=True)
    assert heads(root) == dict.fromkeys("abc", len(events))
    runs = dict.fromkeys("abc", figures_of(events)[0])
    for by in ("workcell", "tool", "path", "status"):
        assert shown(root, by) == stats_of(runs, by), by


DAMAGE: list[tuple[str, Callable[[Path], object]]] = [
    ("cut", lambda path: os.truncate(path, path.stat().st_size // 2)),
    ("overwritten", lambda path: path.write_bytes(b"\0" * path.stat().st_size)),
    ("not a database", lambda path: path.write_bytes(b"x" * 5000)),
    ("empty", lambda path: path.write_bytes(b"")),
    ("another database", lambda path: _execute(path, "DROP TABLE logs")),
    ("another layout", lambda path: _execute(path, "PRAGMA user_version = 99")),
    ("another program's", lambda path: _execute(path, "PRAGMA application_id = 7")),
    ("a damaged fold", lambda path: _execute(path, "UPDATE logs SET figures = x'00'")),
]


def _execute(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute(statement)
        database.commit()


@pytest.mark.parametrize("damage", [damage for _, damage in DAMAGE], ids=[name for name, _ in DAMAGE])
def test_a_damaged_or_foreign_index_is_made_anew(root: Root, damage: Callable[[Path], object]) -> None:
    write_log(root, "wc", [line(type="error", error="x"), line(type="tool_call", tool="Bash")] * 300)
    index_all(root)
    for file in index_files(root)[1:]:
        file.unlink()  # the write-ahead log would repair the database
    damage(index_path(root.state))
    assert stats(root, "agent").total.events == 600
    index_all(root)
    assert heads(root) == {"wc": 600}
    page = stats(root, "agent", seconds=0)
    assert page.complete
    assert (page.total.events, page.total.errors, page.total.calls) == (600, 300, 300)


def test_stats_are_right_whichever_page_of_the_index_is_damaged(root: Root) -> None:
    for cell in range(12):
        calls = [line(type="tool_call", tool="Bash", call_id=f"c{number}") for number in range(40)]
        writes = [line(type="file_write", path=f"a/rather/long/path/{number}") for number in range(60)]
        write_log(root, f"wc{cell}", [*calls, *writes])
    index_all(root)
    path = index_path(root.state)
    whole = path.read_bytes()
    pages = len(whole) // 4096
    assert pages > 20
    for page in range(pages):
        path.write_bytes(whole[: page * 4096] + b"x" * 4096 + whole[(page + 1) * 4096 :])
        for by in ("agent", "path"):
            total = stats(root, by).total
            assert (total.events, total.calls) == (1200, 480), page


def test_an_indexer_makes_a_damaged_index_anew(root: Root, caplog: pytest.LogCaptureFixture) -> None:
    for cell in range(12):
        write_log(root, f"wc{cell}", [line(type="file_write", path=f"path/{number}") for number in range(200)])
    index_all(root)
    path = index_path(root.state)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"x" * (path.stat().st_size - 4096))
    indexer = Indexer(root, shipped_prices(), sweep_seconds=0.05)
    thread = threading.Thread(target=indexer.run)
    thread.start()
    try:
        wait_until(lambda: heads(root) == {f"wc{cell}": 200 for cell in range(12)})
    finally:
        indexer.stop()
        thread.join()
    assert len([record for record in caplog.records if "is made anew" in record.message]) == 1


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
@pytest.mark.parametrize("kind", ["link", "hard link", "FIFO"])
def test_nothing_that_is_put_in_the_place_of_the_index_is_followed(
    root: Root, tmp_path: Path, suffix: str, kind: str
) -> None:
    write_log(root, "wc", [event_line(1)])
    precious = tmp_path / "precious"
    precious.write_bytes(b"mine" * 2000)
    place = index_path(root.state).with_name(index_path(root.state).name + suffix)
    if kind == "link":
        place.symlink_to(precious)
    elif kind == "hard link":
        place.hardlink_to(precious)
    else:
        os.mkfifo(place)
    assert stats(root, "agent").total.events == 1
    index_all(root)
    assert precious.read_bytes() == b"mine" * 2000
    assert heads(root) == {"wc": 1}
    assert not index_path(root.state).is_symlink()


def test_only_its_user_may_read_the_index(root: Root) -> None:
    write_log(root, "wc", [event_line(1)])
    with indexing(root) as indexer:
        finish(indexer)
        assert len(index_files(root)) == 3
        assert {stat.S_IMODE(file.stat().st_mode) for file in index_files(root)} == {0o600}
    index_path(root.state).chmod(0o644)
    index_all(root)
    assert stat.S_IMODE(index_path(root.state).stat().st_mode) == 0o600


def test_an_index_of_another_price_table_is_not_used_and_made_anew(root: Root) -> None:
    write_log(root, "wc", [event_line(1)])
    index_all(root)
    text = json.dumps({"source": "ours", "date": "2026-01-01", "models": []}).encode()
    prices = parse_table(text, "ours")
    with closing(View(root, prices)) as view:
        assert not view.has_index
    indexer = Indexer(root, prices)
    indexer.open()
    finish(indexer)
    indexer.close()
    with closing(View(root, prices)) as view:
        assert view.heads().keys() == {"wc"}


def test_an_index_that_is_deleted_while_it_is_written_is_made_anew(root: Root) -> None:
    write_log(root, "wc", [event_line(number) for number in range(50)])
    indexer = Indexer(root, shipped_prices(), sweep_seconds=0.05)
    thread = threading.Thread(target=indexer.run)
    thread.start()
    try:
        wait_until(lambda: heads(root) == {"wc": 50})
        for file in index_files(root):
            file.unlink()
        wait_until(lambda: heads(root) == {"wc": 50})
        write_log(root, "wc", [event_line(number) for number in range(9)])
        wait_until(lambda: heads(root) == {"wc": 59})
    finally:
        indexer.stop()
        thread.join()


def test_a_removed_workcell_leaves_the_index_within_two_sweeps(root: Root) -> None:
    for cell in ("wc", "other"):
        write_log(root, cell, [line(type="file_write", path="x")])
    with indexing(root) as indexer:
        finish(indexer)
        shutil.rmtree(root.workcell("wc"))
        assert stats(root, "agent").total.events == 1
        indexer.sweep()
        indexer.sweep()
    assert heads(root).keys() == {"other"}
    with closing(sqlite3.connect(index_path(root.state))) as database:
        for table in ("logs", "runs", "changes"):
            assert database.execute(f"SELECT count(*) FROM {table}").fetchone() == (1,)


def test_logs_of_which_one_is_long_are_indexed_in_turns(root: Root) -> None:
    write_log(root, "a-long-one", [event_line(number, "x" * 1000) for number in range(5000)])
    write_log(root, "short", [event_line(1)])
    indexer = Indexer(root, shipped_prices(), turn_bytes=100_000)
    indexer.open()
    indexer.sweep()
    indexer.step()
    assert heads(root)["short"] == 1
    assert 0 < heads(root)["a-long-one"] < 5000
    indexer.close()


def test_stats_say_what_they_could_not_read_in_time(root: Root) -> None:
    write_log(root, "wc", [event_line(number, "x" * 1000) for number in range(9000)])
    page = stats(root, "agent", seconds=0)
    assert not page.complete
    assert page.total.events is not None
    assert 0 < page.missing == 9000 - page.total.events
    index_all(root)
    page = stats(root, "agent", seconds=0)
    assert (page.complete, page.missing, page.total.events) == (True, 0, 9000)
    write_log(root, "wc", [event_line(1)])
    assert stats(root, "agent", seconds=0).total.events == 9001


def test_a_run_whose_writer_is_gone_counts_as_lost(root: Root) -> None:
    write_log(root, "wc", [line(type="started", toolchain="claude")])
    index_all(root)
    assert [row.key for row in stats(root, "status").rows] == ["running"]
    lock = root.workcell("wc") / "run.lock"
    lock.touch()
    os.utime(lock, (0, 0))
    page = stats(root, "status")
    assert [row.key for row in page.rows] == ["lost"]
    assert page.total.failed_runs == 1
