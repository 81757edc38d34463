"""The removal of a workcell: everything that workcast wrote, nothing else, whatever is in its place or in between."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.logs import event_line, write_log
from support.removals import LINES, OUTPUT, left_of, write_records
from support.viewers import running_relay
from support.waiting import wait_until
from workcast.broker import names
from workcast.broker.errors import RootError, WorkcellRunningError
from workcast.broker.files import LockedError, lock_file
from workcast.broker.log import LogReader, natural_epoch
from workcast.broker.log_facts import epoch_of
from workcast.broker.records import find_records
from workcast.broker.removal import REMEMBERED_S, finish_removals, remove_records
from workcast.broker.root import Root

MARK = f".workcast/{names.REMOVED_DIRECTORY}/wc"


def test_every_state_file_of_a_workcell_is_in_the_one_list() -> None:
    suffixes = {value for name, value in vars(names).items() if name.endswith("_SUFFIX")}
    assert suffixes == set(names.STATE_SUFFIXES)


def test_all_records_are_removed_with_their_directories(root: Root) -> None:
    paths = write_records(root)
    size = sum(path.stat().st_size for path in paths)
    others = write_records(root, "wc.index")  # a name that looks like a state file
    neighbours = {path: path.read_bytes() for path in others}
    before = find_records(root, "wc")
    assert sorted(before.paths("wc")) == sorted(str(path.relative_to(root.workcells)) for path in paths)
    removed = remove_records(root, "wc")
    assert sorted(removed.paths("wc")) == sorted(before.paths("wc"))
    assert removed.size == before.size == size
    assert (removed.others, removed.has_directory) == ((), False)
    assert left_of(root) == []
    assert not root.workcell("wc").exists()
    assert root.ids() == ["wc.index"]
    assert {path: path.read_bytes() for path in neighbours} == neighbours


def test_what_workcast_did_not_write_stays_and_its_directory_is_no_workcell(root: Root) -> None:
    write_records(root)
    cell = root.workcell("wc")
    for name in ("src/main.py", "logs/agent.log", "telemetry.jsonl.bak", ".git"):
        (cell / name).parent.mkdir(exist_ok=True)
        (cell / name).write_text("work")
    removed = remove_records(root, "wc")
    assert removed.others == (".git", "logs", "src", "telemetry.jsonl.bak")
    assert left_of(root) == [
        "wc/.git", "wc/logs", "wc/logs/agent.log", "wc/src", "wc/src/main.py", "wc/telemetry.jsonl.bak",
    ]  # fmt: skip
    assert root.ids() == []
    assert not root.holds("wc")
    write_log(root, "wc", LINES)
    assert root.ids() == ["wc"]  # a log makes it a workcell again


def test_names_that_are_spared_stay(root: Root) -> None:
    write_records(root)
    removed = remove_records(root, "wc", lambda _: {"prompt.md", f"logs/{OUTPUT}"})
    assert removed.others == ("logs", "prompt.md")
    assert left_of(root) == ["wc/logs", f"wc/logs/{OUTPUT}", "wc/prompt.md"]


def test_files_that_a_directory_has_none_of_are_not_made(root: Root) -> None:
    root.workcell("wc").mkdir()
    assert remove_records(root, "wc").files == ()
    assert left_of(root) == []


# ── hostile places ───────────────────────────────────────────────────────────────────────────────────────────────────
def link_to_file(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "file")


def link_to_directory(path: Path, outside: Path) -> None:
    path.symlink_to(outside)


def link_to_itself(path: Path, outside: Path) -> None:
    path.symlink_to(path)


def fifo(path: Path, outside: Path) -> None:
    os.mkfifo(path)


def directory(path: Path, outside: Path) -> None:
    path.mkdir()
    (path / "file").write_text("work")


KINDS = (link_to_file, link_to_directory, link_to_itself, fifo, directory)
STATE_FILES = (*(names.state_file("wc", suffix) for suffix in names.STATE_SUFFIXES), "removed", "removed/wc")
PLACES = (
    *(f"wc/{name}" for name in names.WORKCELL_FILES), "wc/logs", f"wc/logs/{OUTPUT}",
    *(f".workcast/{name}" for name in STATE_FILES),
)  # fmt: skip
REMEMBERING = (".workcast/wc.retired", ".workcast/removed", MARK)
"""What has to be written before anything is removed."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", PLACES)
def test_whatever_is_in_the_place_of_a_record_only_records_are_removed(
    root: Root, tmp_path_factory: pytest.TempPathFactory, place: str, kind: Callable[[Path, Path], None]
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    for name in ("file", OUTPUT, "ignored-by-git"):
        (outside / name).write_text("precious")
    write_records(root)
    path = root.workcells / place
    if path.is_dir():
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    kind(path, outside)
    try:
        removed = remove_records(root, "wc").paths("wc")
    except OSError:  # of the mark or of the retired epochs: nothing may be gone then
        assert place in REMEMBERING
        assert LogReader(root.log("wc")).refresh()
        removed = []
    assert place not in removed
    assert os.path.lexists(path)
    assert {name: (outside / name).read_text() for name in ("file", OUTPUT, "ignored-by-git")} == {
        "file": "precious", OUTPUT: "precious", "ignored-by-git": "precious",
    }  # fmt: skip
    assert sorted(file.name for file in outside.iterdir()) == sorted(("file", OUTPUT, "ignored-by-git"))
    if removed and place not in REMEMBERING:
        assert set(left_of(root)) <= {place, f"{place}/file", "wc/logs"}


@pytest.mark.parametrize("place", [".workcells", ".workcells/wc", ".workcells/.workcast"])
def test_nothing_is_removed_through_a_directory_that_is_a_link(root: Root, tmp_path: Path, place: str) -> None:
    write_records(root)
    path = root.directory / place
    elsewhere = tmp_path / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    before = {file: file.read_bytes() for file in elsewhere.rglob("*") if file.is_file()}
    with pytest.raises((RootError, OSError)):
        remove_records(root, "wc")
    assert {file: file.read_bytes() for file in before} == before


# ── beside others ────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("lock", ["wc/run.lock", ".workcast/wc.telling"])
@pytest.mark.parametrize("has_other", [True, False])
def test_a_workcell_whose_lock_is_held_is_not_touched(root: Root, lock: str, *, has_other: bool) -> None:
    write_records(root)
    for other in ("wc/run.lock", ".workcast/wc.telling"):
        if other != lock and not has_other:
            (root.workcells / other).unlink()
    before = {path: path.read_bytes() for path in root.workcells.rglob("*") if path.is_file()}
    with lock_file(root.workcells / lock), pytest.raises(WorkcellRunningError, match="wc to be at rest"):
        remove_records(root, "wc")
    (root.state / names.REMOVAL_LOCK_FILE).unlink()
    assert {path: path.read_bytes() for path in root.workcells.rglob("*") if path.is_file()} == before
    assert root.ids() == ["wc"]


def test_an_append_that_is_being_written_is_waited_for(root: Root) -> None:
    write_records(root)
    with root.log("wc").open("rb") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        removal = threading.Thread(target=remove_records, args=(root, "wc"))
        removal.start()
        wait_until((root.workcells / MARK).exists)
        assert root.ids() == ["wc"]
    removal.join()
    assert left_of(root) == []


def test_a_lock_whose_file_was_removed_by_its_holder_is_not_held_twice(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    waits, stop = threading.Event(), threading.Event()

    def wait_for_lock() -> None:
        with lock_file(path, wait=20):
            waits.set()
            stop.wait(20)

    with lock_file(path):
        waiter = threading.Thread(target=wait_for_lock)
        waiter.start()
        wait_until(lambda: _open_in_this_process(path) > 1)
        path.unlink()
    assert waits.wait(20)
    try:
        with pytest.raises(LockedError), lock_file(path):
            pass
    finally:
        stop.set()
        waiter.join()


def _open_in_this_process(path: Path) -> int:
    """How many descriptors of this process are of a file."""
    there = path.stat()
    count = 0
    for number in os.listdir("/dev/fd"):  # noqa: PTH208 - of one process
        try:
            count += os.path.samestat(os.fstat(int(number)), there)
        except OSError:
            continue
    return count


KILLED = """
import json, os, signal, sys
from pathlib import Path
from support.removals import left_of, write_records, LINES
from workcast.broker import names
from workcast.broker.removal import finish_removals, remove_records
from workcast.broker.root import Root

EVENTS = {"open", "os.remove", "os.rmdir", "os.utime", "os.mkdir", "fcntl.flock"}
root = Root(Path(sys.argv[1]))
root.prepare()
found = []
for last in range(1000):
    (root.removed / "wc").unlink(missing_ok=True)
    paths = write_records(root)
    child = os.fork()
    if child == 0:
        count = 0
        def hook(event, _):
            global count
            if event in EVENTS:
                count += 1
                if count > last:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(hook)
        remove_records(root, "wc")
        os._exit(0)
    _, status = os.waitpid(child, 0)
    held = root.holds("wc")
    whole = all(path.exists() for path in paths)
    finish_removals(root)
    found.append([status, held, whole, left_of(root), root.ids()])
    if status == 0:
        break
    if held:
        remove_records(root, "wc")
        assert left_of(root) == [], left_of(root)
print(json.dumps(found))
"""


def test_a_removal_that_is_killed_anywhere_has_not_begun_or_is_finished_later(tmp_path: Path) -> None:
    """Killed before each of the calls that open, lock, or remove anything."""
    tests = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        check=False, capture_output=True, timeout=100, env={**os.environ, "PYTHONPATH": str(tests)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert len(found) > 20
    for _, held, whole, left, ids in found:
        if held:  # the log is there, and so is all else
            assert whole
            assert (left != [], ids) == (True, ["wc"])
        else:
            assert (left, ids) == ([], [])
    assert [entry[1] for entry in found] == sorted((entry[1] for entry in found), reverse=True)
    assert {entry[1] for entry in found} == {True, False}
    assert found[-1][0] == 0


def test_what_a_relay_writes_of_a_removed_workcell_is_removed_by_the_next_round(root: Root) -> None:
    write_records(root)
    remove_records(root, "wc")
    (root.state / "wc.checkpoint").write_text("{}")
    assert finish_removals(root) == 1
    assert left_of(root) == []
    assert finish_removals(root) == 0


def test_a_workcell_that_was_made_again_is_not_removed_by_the_next_round(root: Root) -> None:
    write_records(root)
    remove_records(root, "wc")
    paths = write_records(root)
    before = {path: path.read_bytes() for path in paths}
    assert finish_removals(root) == 0
    assert {path: path.read_bytes() for path in paths} == before
    assert root.ids() == ["wc"]


def test_a_run_that_has_not_written_its_log_yet_is_not_removed_by_the_next_round(root: Root) -> None:
    write_records(root)
    remove_records(root, "wc")
    cell = root.workcell("wc")
    cell.mkdir()
    (cell / "prompt.md").write_text("go")
    with lock_file(cell / names.RUN_LOCK_FILE):
        assert finish_removals(root) == 0
        assert left_of(root) == ["wc/prompt.md", "wc/run.lock"]


def test_a_removal_is_remembered_for_a_while_or_as_long_as_its_directory_is_there(root: Root) -> None:
    for name, stays in (("gone", False), ("stays", True)):
        write_records(root, name)
        if stays:
            (root.workcell(name) / "work").touch()
        remove_records(root, name)

    def remembered() -> list[str]:
        return sorted([*root.removed_names(), *(path.name for path in root.state.glob("*.retired"))])

    everything = ["gone", "gone.retired", "stays", "stays.retired"]
    for age, expected in ((0.9 * REMEMBERED_S, everything), (1.1 * REMEMBERED_S, everything[2:])):
        for name in root.removed_names():
            at = time.time() - age
            os.utime(root.removed / name, (at, at))
        finish_removals(root)
        assert remembered() == expected
    assert root.ids() == []


# ── made again ───────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("is_relayed", [True, False])
def test_a_log_that_begins_like_a_removed_one_gets_another_epoch(
    root: Root, redis_url: str, *, is_relayed: bool
) -> None:
    write_log(root, "wc", LINES)
    if is_relayed:
        with running_relay(root, redis_url):
            wait_until((root.state / "wc.mark").exists)
    remove_records(root, "wc")
    write_log(root, "wc", [LINES[0], event_line(99)])
    with running_relay(root, redis_url):
        wait_until((root.state / "wc.mark").exists)
    reader = LogReader(root.log("wc"))
    reader.refresh()
    assert epoch_of(root, "wc", reader) not in (0, natural_epoch(LINES[0]))
