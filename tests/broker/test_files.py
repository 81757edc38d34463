from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.waiting import wait_until
from workcast.broker.files import (
    LockedError,
    create_file_once,
    is_locked,
    lock_descriptor,
    lock_file,
    replace_file,
    sync_directory,
    unlock_descriptor,
)

HOLDER = """
import sys, time
from pathlib import Path
from workcast.broker.files import lock_file
with lock_file(Path(sys.argv[1]), shared=sys.argv[2] == "shared"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_elsewhere(path: Path, *, shared: bool = False) -> Generator[subprocess.Popen[bytes]]:
    """Another process that holds the lock; closing its stdin releases it."""
    command = [sys.executable, "-c", HOLDER, str(path), "shared" if shared else "exclusive"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        yield holder


# ── locks ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_an_exclusive_lock_excludes_every_other_lock(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with lock_file(path):
        for shared in (False, True):
            with pytest.raises(LockedError), lock_file(path, shared=shared):
                pass
    with lock_file(path):
        pass


def test_shared_locks_exclude_only_exclusive_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with lock_file(path, shared=True), lock_file(path, shared=True):
        with pytest.raises(LockedError), lock_file(path):
            pass
        assert not is_locked(path)
        assert is_locked(path, shared_too=True)


def test_a_lock_of_another_process_is_seen_until_that_process_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with held_elsewhere(path) as holder:
        assert is_locked(path)
        with pytest.raises(LockedError), lock_file(path, wait=0.05):
            pass
        holder.kill()
    assert not is_locked(path)


def test_a_bounded_wait_ends_once_the_lock_is_released(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with held_elsewhere(path) as holder:
        assert holder.stdin is not None
        threading.Timer(0.05, holder.stdin.close).start()
        with lock_file(path, wait=20):
            assert is_locked(path)


def test_a_bounded_wait_for_a_stopped_process_ends_with_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with held_elsewhere(path) as holder:
        holder.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(LockedError), lock_file(path, wait=0.2):
            pass
        assert time.monotonic() - began >= 0.2
        holder.kill()


def test_a_descriptor_can_be_locked_and_unlocked_again(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with path.open("wb") as file:
        lock_descriptor(file.fileno())
        assert is_locked(path)
        unlock_descriptor(file.fileno())
        assert not is_locked(path)


def test_a_missing_file_is_not_locked_and_is_not_created(tmp_path: Path) -> None:
    assert not is_locked(tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_lock_file_is_kept_with_its_content_and_mode(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with lock_file(path, mode=0o600) as descriptor:
        os.pwrite(descriptor, b"17\n", 0)
    with lock_file(path):
        assert path.read_bytes() == b"17\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("durable", [False, True])
def test_a_replaced_file_has_the_new_content_and_mode(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    replace_file(path, b"new", mode=0o600, durable=durable)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_reader_sees_the_old_content_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "a"
    replace_file(path, b"a" * 100_000)
    over = threading.Event()

    def replace() -> None:
        for number in range(200):
            replace_file(path, b"ab"[number % 2 : number % 2 + 1] * 100_000)
        over.set()

    writer = threading.Thread(target=replace)
    writer.start()
    seen: set[bytes] = set()
    while not over.is_set():
        seen.add(path.read_bytes())
    writer.join()
    assert seen <= {b"a" * 100_000, b"b" * 100_000}


def test_a_file_that_cannot_be_replaced_is_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a"
    (path / "file").parent.mkdir()
    (path / "file").touch()
    with pytest.raises(OSError, match=r".+"):
        replace_file(path, b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (path / "file").exists()


def test_a_file_is_created_once_with_all_its_content(tmp_path: Path) -> None:
    path = tmp_path / "a"
    assert create_file_once(path, b"first")
    assert not create_file_once(path, b"second")
    assert path.read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_of_many_threads_that_create_a_file_one_succeeds(tmp_path: Path) -> None:
    path = tmp_path / "a"
    created: list[bytes] = []

    def create(data: bytes) -> None:
        if create_file_once(path, data):
            created.append(data)

    threads = [threading.Thread(target=create, args=(b"%d" % number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert created == [path.read_bytes()]


def test_a_directory_can_be_synced(tmp_path: Path) -> None:
    sync_directory(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync_directory(tmp_path / "missing")


def test_the_modules_that_hooks_use_load_nothing_heavy() -> None:
    code = (
        "import sys, workcast.broker.files, workcast.broker.names, workcast.broker.environment\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = set(eval(done.stdout))
    assert loaded.isdisjoint({"pydantic", "redis", "psutil", "asyncio", "typer", "fastapi", "tempfile", "dataclasses"})


def test_the_lock_is_free_as_soon_as_its_holder_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with held_elsewhere(path) as holder:
        os.kill(holder.pid, signal.SIGKILL)
        wait_until(lambda: not is_locked(path))


@pytest.mark.parametrize("write", [replace_file, create_file_once])
def test_an_error_names_the_file_not_its_temporary(tmp_path: Path, write: Callable[[Path, bytes], object]) -> None:
    path = tmp_path / "missing" / "file"
    with pytest.raises(FileNotFoundError) as caught:
        write(path, b"data")
    assert str(caught.value) == f"[Errno 2] No such file or directory: '{path}'"
