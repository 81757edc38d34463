from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from support import hostile
from support.hostile import CELL, KINDS, OF_ONE_CELL, PLACES, is_untouched, make_outside, named_places
from support.logs import event_line, write_log
from support.waiting import wait_until
from workcast.broker.appender import Appender
from workcast.broker.below import (
    OddFileError,
    is_directory_below,
    list_directory,
    make_directory,
    oddity,
    open_below,
    read_below,
    remove_below,
    stat_below,
)
from workcast.broker.errors import RootError
from workcast.broker.files import create_file_once, is_locked, lock_file, replace_file
from workcast.broker.log import LogReader
from workcast.broker.relay import Relay
from workcast.broker.root import Root

REPOSITORY = Path(__file__).parents[2]
Make = Callable[[Path, Path], None]


def test_each_name_of_a_file_has_a_place_in_the_table() -> None:
    assert named_places() == set(PLACES)


# ── each way of opening by each file by each hostile thing in its place ──────────────────────────────────────────────
def opened(path: Path, flags: int) -> None:
    os.close(open_below(path, flags))


def locked(path: Path) -> None:
    with lock_file(path):
        pass


def appended(path: Path) -> None:
    with Appender(path) as appender:
        appender.append(b"{}\n")


REFUSED: tuple[Callable[[Path], object], ...] = (
    lambda path: opened(path, os.O_WRONLY | os.O_CREAT),
    lambda path: opened(path, os.O_RDWR),
    locked,
    appended,
)
"""What must not be done to anything but a file of ours."""
HARMLESS: tuple[Callable[[Path], object], ...] = (
    is_locked, stat_below, oddity,
    lambda path: LogReader(path).refresh(),
    lambda path: read_below(path, 100),
    lambda path: create_file_once(path, b"new"),
)  # fmt: skip


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("name", PLACES)
def test_what_is_not_a_file_of_ours_is_neither_written_nor_waited_for(root: Root, name: str, make: Make) -> None:
    outside = make_outside(root.directory / "outside")
    path = PLACES[name](root, CELL)
    if path in {root.workcells, root.state}:
        shutil.rmtree(path)
    elif path.exists():
        path.unlink()
    if path != root.workcells:
        make_directory(path.parent)
    make(path, outside)
    before = path.lstat()
    for use in HARMLESS:
        with suppress(OSError):
            use(path)
    for use in REFUSED:
        with pytest.raises(OddFileError, match=r"expected a (regular file|file of this user), got"):
            use(path)
    assert path.lstat() == before
    inner = path / "telemetry.jsonl"
    if make not in {hostile.directory, hostile.file_of_another_user}:
        for use in (*REFUSED, make_directory):
            with pytest.raises((OddFileError, NotADirectoryError)):
                use(inner)
        assert LogReader(inner).refresh() is False
    with suppress(OSError):
        replace_file(path, b"new")  # in place of the link, not through it
    with suppress(OSError):
        remove_below(path)
    assert is_untouched(outside)


def test_workcells_that_are_elsewhere_are_refused_with_what_to_do(tmp_path: Path) -> None:
    elsewhere = Root(tmp_path / "elsewhere")
    elsewhere.directory.mkdir()
    elsewhere.prepare()
    root = Root(tmp_path / "root")
    root.directory.mkdir()
    root.workcells.symlink_to(elsewhere.workcells)
    for use in (root.check, root.prepare):
        with pytest.raises(RootError, match=re.escape(f"name {elsewhere.directory} as root")):
            use()
    assert root.ids() == []


def test_an_error_names_what_was_asked_for_and_what_is_there(root: Root) -> None:
    path = root.workcell(CELL) / "logs"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    for use in (make_directory, list_directory):
        with pytest.raises(OddFileError, match="expected a directory, got a regular file; remove it") as refused:
            use(path)
        assert refused.value.filename == str(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(OddFileError, match="expected a regular file, got a directory; remove it") as refused:
        remove_below(path)
    assert refused.value.filename == str(path)


def test_a_root_that_is_named_by_a_link_is_trusted(tmp_path: Path, root: Root) -> None:
    link = tmp_path / "link"
    link.symlink_to(root.directory)
    write_log(root, "wc", [event_line(0)])
    assert Root(link).ids() == ["wc"]
    with Appender(Root(link).log("wc")) as appender:
        appender.append(b"{}\n")
    reader = LogReader(root.log("wc"))
    reader.refresh()
    assert reader.end == 2


def test_a_log_that_is_swapped_for_a_link_under_its_writer_is_not_written_through(root: Root) -> None:
    outside = make_outside(root.directory / "outside")
    write_log(root, "wc", [])
    with Appender(root.log("wc")) as appender:
        appender.append(b"{}\n")
        root.log("wc").unlink()
        root.log("wc").symlink_to(outside / "profile")
        with pytest.raises(OddFileError, match="a symbolic link"):
            appender.append(b"touch /tmp/hacked\n")
        root.log("wc").unlink()
        shutil.move(root.workcell("wc"), root.directory / "moved")
        root.workcell("wc").symlink_to(outside)
        with pytest.raises(OddFileError, match="a symbolic link"):
            appender.append(b"touch /tmp/hacked\n")
    assert is_untouched(outside)


def has_streamed(client: Any, count: int) -> bool:
    """Whether the events of the calm workcell are in its stream."""
    return bool(client.xlen("workcast:{0}:stream:calm") == count)


# ── one workcell's oddity is that workcell's ─────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("make", KINDS)
def test_the_logs_beside_hostile_files_are_published(
    root: Root, redis_url: str, redis_client: Any, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    outside = make_outside(root.directory / "outside")
    for name in OF_ONE_CELL:
        cell = name.lower()
        path = PLACES[name](root, cell)
        if name != "LOG_FILE":
            write_log(root, cell, [event_line(0)])
        make_directory(root.workcell(cell))
        make(path, outside)
    (root.workcells / "whole").symlink_to(outside)
    relay = Relay(root, redis_url, sweep_seconds=0.1)
    relay.start()
    try:
        for number in range(3):
            write_log(root, "calm", [event_line(number)])
            wait_until(partial(has_streamed, redis_client, number + 1))
        wait_until(lambda: "whole is not published: expected a directory, got a symbolic link" in caplog.text)
    finally:
        relay.close(2)
    assert is_untouched(outside)
    assert [record for record in caplog.records if record.exc_info] == []
    if make is not hostile.file_of_another_user:
        assert caplog.text.count("log_file is not published") == 1
    assert redis_client.exists("workcast:{0}:stream:log_file") == 0


# ── permissions ──────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def open_root() -> Generator[Root]:
    """A root in a directory that others can enter: those of pytest keep them out."""
    directory = Path(tempfile.mkdtemp(prefix="workcast-test-"))
    directory.chmod(0o755)
    before = os.umask(0o022)
    try:
        yield Root(directory)
    finally:
        os.umask(before)
        shutil.rmtree(directory)


def write_everything(root: Root) -> None:
    """Make a directory or a file in each way that there is."""
    root.prepare()
    root.ensure_origin()
    root.write_state("up.json", "{}")
    make_directory(root.workcell("wc"))
    with Appender(root.log("wc")) as appender:
        appender.append(b"{}\n")
    with lock_file(root.workcell("wc") / "run.lock"):
        pass
    root.log_state("wc").retire_epochs(frozenset({1}))


def modes(root: Root) -> dict[str, tuple[int, int]]:
    paths = [root.workcells, *root.workcells.rglob("*")]
    return {path.name: (stat.S_IMODE(path.stat().st_mode), path.stat().st_gid) for path in paths}


def test_what_is_made_is_for_its_user_alone(open_root: Root) -> None:
    write_everything(open_root)
    found = modes(open_root)
    assert len(found) >= 8
    assert {name for name, (mode, _) in found.items() if mode & 0o077} == set()


def test_what_was_made_for_all_is_corrected_when_it_is_written(open_root: Root) -> None:
    write_everything(open_root)
    for path in (open_root.workcells, *open_root.workcells.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    with Appender(open_root.log("wc")) as appender:
        appender.append(b"{}\n")
    open_root.write_state("up.json", "{}")
    assert {name for name, (mode, _) in modes(open_root).items() if not mode & 0o077} >= {
        ".workcells", ".workcast", "telemetry.jsonl", "up.json",
    }  # fmt: skip
    assert modes(open_root)["wc"][0] == 0o755  # as the orchestrator made it, perhaps; the directory above is closed


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a directory to another group")
def test_a_shared_root_is_shared_with_its_group(open_root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chown(open_root.directory, -1, hostile.OTHER_USER)
    monkeypatch.setenv("WORKCAST_SHARE", "group")
    write_everything(open_root)
    for name, (mode, group) in modes(open_root).items():
        is_directory = is_directory_below(open_root.workcells / name) or name in {".workcells", ".workcast", "wc"}
        assert (name, oct(mode), group) == (name, oct(0o770 if is_directory else 0o660), hostile.OTHER_USER)


def may_lock(path: Path) -> bool:
    """Whether another user can lock a file."""
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(hostile.OTHER_USER)
            os.setuid(hostile.OTHER_USER)
            fcntl.flock(os.open(path, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_another_user_can_lock_and_read_nothing(open_root: Root) -> None:
    write_everything(open_root)
    open_file = open_root.directory / "open"
    open_file.write_bytes(b"")
    assert may_lock(open_file)
    files = [path for path in open_root.workcells.rglob("*") if path.is_file()]
    assert len(files) >= 5
    assert [path for path in files if may_lock(path)] == []
    open_root.workcells.chmod(0o755)  # each file is closed too, should a directory above be open
    open_root.state.chmod(0o755)
    open_root.workcell("wc").chmod(0o755)
    assert [path for path in files if may_lock(path)] == []


# ── nothing else opens files ─────────────────────────────────────────────────────────────────────────────────────────
OPENS = re.compile(
    r"os\.(open|stat|scandir|listdir|unlink|mkdir|makedirs|rename|rmdir)\(|rmtree|"
    r"\.(read_bytes|write_bytes|read_text|write_text|mkdir|touch|iterdir|rglob|glob)\(|\.(unlink|rmdir|stat)\(|\.open\(\""
)
ELSEWHERE = {
    "broker/below.py": "it is the one that opens",
    "broker/files.py": "relative to a descriptor of it; and the metadata of transcripts",
    "broker/ended_logs.py": "lstat, and relative to a descriptor of it",
    "broker/records.py": "relative to descriptors of it", "broker/removal.py": "relative to descriptors of it",
    "broker/embedded.py": "the server's own directory", "broker/orphan.py": "the server's own directory",
    "broker/price_file.py": "named by the user", "broker/publisher.py": "a part of the package",
    "broker/running.py": "of /proc",
    "producer/replay.py": "recordings of the package", "producer/keeper.py": "/dev/null, /proc",
    "producer/workcell.py": "the user's own exclude list", "producer/changes.py": "lstat of the agent's files",
    "producer/leftovers.py": "of /proc", "producer/worktree.py": "of git",
    "producer/transcripts/discovery.py": "transcripts of the user", "producer/transcripts/tail.py": "transcripts",
    "producer/transcripts/forks.py": "transcripts", "producer/transcripts/follower.py": "transcripts",
    "producer/transcripts/tree_watch.py": "transcripts",
    "cli/entry.py": "/dev/null", "cli/parse.py": "named by the user",
}  # fmt: skip
"""Modules that open something that is not below a root, or relative to a descriptor."""


def test_no_other_module_opens_what_is_below_a_root() -> None:
    sources = [
        path
        for part in ("broker", "producer", "consumer", "cli")
        for path in (REPOSITORY / part / "workcast" / part).rglob("*.py")
    ]
    assert len(sources) > 100
    found = {
        str(path.relative_to(path.parents[path.parts[::-1].index("workcast") - 1]))
        for path in sources
        if OPENS.search(path.read_text())
    }
    assert found - set(ELSEWHERE) == set()
