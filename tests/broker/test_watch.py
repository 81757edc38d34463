from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing

import pytest

from support.logs import event_line, write_log
from support.processes import many_open_files
from support.waiting import DEADLINE
from workcast.broker.root import Root
from workcast.broker.watch import InotifyWatcher, PortableWatcher, Watcher

WATCHERS: list[Callable[[Root], Watcher]] = [PortableWatcher]
if sys.platform == "linux":
    WATCHERS.append(InotifyWatcher)


def changes(watcher: Watcher, wanted: set[str]) -> set[str]:
    """Collect what the watcher reports, until everything wanted was reported."""
    seen: set[str] = set()
    deadline = time.monotonic() + DEADLINE
    while not wanted <= seen and time.monotonic() < deadline:
        seen |= watcher.wait(1.0)
    return seen


@pytest.mark.parametrize("make", WATCHERS)
def test_appends_new_workcells_and_renames_are_reported(root: Root, make: Callable[[Root], Watcher]) -> None:
    write_log(root, "old", [event_line(0)])
    watcher = make(root)
    try:
        write_log(root, "old", [event_line(1)])
        assert changes(watcher, {"old"}) == {"old"}
        write_log(root, "new", [event_line(0)])
        assert "new" in changes(watcher, {"new"})
        write_log(root, "new", [event_line(1)])
        assert "new" in changes(watcher, {"new"})
        replacement = root.log("old").with_suffix(".tmp")
        replacement.write_bytes(b"x\n")
        replacement.rename(root.log("old"))
        assert "old" in changes(watcher, {"old"})
    finally:
        watcher.close()


def remove(root: Root) -> None:
    shutil.rmtree(root.workcells)


def move_away(root: Root) -> None:
    root.workcells.rename(root.directory / "old")


@pytest.mark.parametrize("end", [remove, move_away])
@pytest.mark.parametrize("is_seen", [True, False])
@pytest.mark.parametrize("make", WATCHERS)
def test_a_directory_of_workcells_that_was_made_again_is_watched(
    root: Root, make: Callable[[Root], Watcher], end: Callable[[Root], None], is_seen: bool
) -> None:
    write_log(root, "wc", [event_line(0)])
    with closing(make(root)) as watcher:
        end(root)
        if is_seen:
            while watcher.wait(0.05):  # until it has nothing more to report: it has seen that the directory is gone
                pass
        root.workcells.mkdir()
        write_log(root, "wc", [event_line(0)])
        assert "wc" in changes(watcher, {"wc"})
        while watcher.wait(0.05):
            pass
        write_log(root, "wc", [event_line(1)])
        assert changes(watcher, {"wc"}) == {"wc"}
        write_log(root, "new", [event_line(0)])
        assert "new" in changes(watcher, {"new"})


@pytest.mark.parametrize("make", WATCHERS)
def test_a_wait_ends_when_it_is_woken(root: Root, make: Callable[[Root], Watcher]) -> None:
    watcher = make(root)
    try:
        ended = threading.Event()

        def wait() -> None:
            watcher.wait(60)
            ended.set()

        thread = threading.Thread(target=wait)
        thread.start()
        watcher.wake()
        assert ended.wait(DEADLINE)
        thread.join()
    finally:
        watcher.close()


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
def test_changes_in_an_agents_worktree_do_not_wake_the_relay(root: Root) -> None:
    write_log(root, "wc", [event_line(0)])
    (root.workcells / "wc" / "src").mkdir()
    watcher = InotifyWatcher(root)
    try:
        for number in range(100):
            (root.workcells / "wc" / "src" / f"{number}.py").touch()
            (root.workcells / "wc" / f"{number}.txt").touch()
        write_log(root, "wc", [event_line(1)])
        assert changes(watcher, {"wc"}) == {"wc"}
    finally:
        watcher.close()


@pytest.mark.parametrize("make", WATCHERS)
def test_a_process_with_many_open_files_can_watch(root: Root, make: Callable[[Root], Watcher]) -> None:
    with many_open_files(), closing(make(root)) as watcher:
        write_log(root, "wc", [event_line(0)])
        assert "wc" in changes(watcher, {"wc"})
