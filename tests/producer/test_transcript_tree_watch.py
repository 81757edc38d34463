"""How a follower notices changed transcripts, on this system and on others."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryFile

import pytest

from support.processes import many_open_files
from support.waiting import wait_until
from workcast.producer.transcripts.tree_watch import InotifyTree, PortableTree, TreeWatcher, tree_watcher

KINDS = [PortableTree, *([InotifyTree] if sys.platform == "linux" else [])]


@pytest.fixture(params=KINDS)
def watcher(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TreeWatcher]:
    (tmp_path / "old").mkdir()
    watcher: TreeWatcher = request.param()
    watcher.watch(tmp_path)
    yield watcher
    watcher.close()


def heard(watcher: TreeWatcher, path: Path) -> None:
    """Wait until the watcher names the file.

    watchfiles may miss what is written into a directory before it is watched, so the file is written again; in use, a
    sweep finds such changes.
    """

    def is_named() -> bool:
        if isinstance(watcher, PortableTree):
            with path.open("a") as file:
                file.write("again\n")
        return path in watcher.wait(0.2)

    wait_until(is_named, what=str(path))


def test_files_in_directories_old_and_new_are_named(watcher: TreeWatcher, tmp_path: Path) -> None:
    for path in (tmp_path / "old" / "a.jsonl", tmp_path / "new" / "deep" / "subagents" / "b.jsonl"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("one\n")
        heard(watcher, path)
        with path.open("a") as file:
            file.write("two\n")
        heard(watcher, path)


def test_other_files_are_not_named(watcher: TreeWatcher, tmp_path: Path) -> None:
    (tmp_path / "old" / "note.txt").write_text("x")
    (tmp_path / "old" / "a.jsonl").write_text("x")
    seen: set[Path] = set()
    while tmp_path / "old" / "a.jsonl" not in seen:
        seen |= watcher.wait(0.2)
    assert {path.suffix for path in seen} == {".jsonl"}


def test_a_wait_can_be_ended_by_another_thread(watcher: TreeWatcher) -> None:
    done = threading.Thread(target=watcher.wait, args=(60,))
    done.start()
    watcher.wake()
    done.join(20)
    assert not done.is_alive()


def test_a_missing_directory_is_not_an_error(watcher: TreeWatcher, tmp_path: Path) -> None:
    watcher.watch(tmp_path / "none")
    assert watcher.wait(0) == set()


def test_a_watcher_works_with_descriptors_above_1023(tmp_path: Path) -> None:
    with many_open_files(), closing(tree_watcher()) as watcher:
        watcher.watch(tmp_path)
        (tmp_path / "a.jsonl").write_text("one\n")
        heard(watcher, tmp_path / "a.jsonl")


@pytest.mark.parametrize("kind", KINDS)
def test_a_closed_watcher_may_still_be_woken(kind: Callable[[], TreeWatcher]) -> None:
    """By a thread that has not noticed yet; its byte must not get into a file that has the descriptor by now."""
    watcher = kind()
    watcher.close()
    with TemporaryFile() as first, TemporaryFile() as second, TemporaryFile() as third:
        watcher.wake()
        assert [file.seek(0, os.SEEK_END) for file in (first, second, third)] == [0, 0, 0]
