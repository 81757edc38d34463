"""An append beside another writer that holds the log's lock."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from support.waiting import wait_until
from workcast.broker.appender import Appender
from workcast.broker.errors import LogLockedError
from workcast.broker.files import is_locked, lock_file
from workcast.events.errors import WorkcastError

HOLDER = "import fcntl, sys; log = open(sys.argv[1], 'rb'); fcntl.flock(log, 2); print('held', flush=True); input()"


@contextmanager
def stopped_holder(path: Path) -> Generator[psutil.Process]:
    """A process that holds the log's lock, and is stopped."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        holder.send_signal(signal.SIGSTOP)
        process = psutil.Process(holder.pid)
        wait_until(lambda: process.status() == psutil.STATUS_STOPPED)
        yield process
        holder.kill()


def test_an_append_waits_for_a_stopped_holder_no_longer_than_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\n")
    with stopped_holder(path) as holder, Appender(path, lock_timeout=0.1) as appender:
        with pytest.raises(LogLockedError, match=r"within 0\.1 s, but another process holds it; nothing was written"):
            appender.append(b"two\n")
        assert path.read_bytes() == b"one\n"
        holder.kill()
        wait_until(lambda: not is_locked(path))
        appender.append(b"three\n")
    assert path.read_bytes() == b"one\nthree\n"


def test_an_append_goes_on_once_the_holder_does(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.touch()
    with stopped_holder(path) as holder, Appender(path, lock_timeout=20) as appender:
        threading.Timer(0.1, holder.kill).start()
        appender.append(b"one\n")
    assert path.read_bytes() == b"one\n"


def test_threads_of_one_appender_share_the_bound(tmp_path: Path) -> None:
    """The second waits for the first, which waits for the file's lock: both give up after one bound, not two."""
    path = tmp_path / "log"
    path.touch()
    failed: list[float] = []

    def append() -> None:
        began = time.monotonic()
        with pytest.raises(LogLockedError):
            appender.append(b"one\n")
        failed.append(time.monotonic() - began)

    with lock_file(path), Appender(path, lock_timeout=0.3) as appender:
        threads = [threading.Thread(target=append) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(failed) == 3
        assert min(failed) >= 0.3
    assert path.read_bytes() == b""


def test_a_locked_log_is_an_error_of_workcast_and_of_the_system(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with lock_file(path), Appender(path, lock_timeout=0) as appender:
        with pytest.raises(WorkcastError):
            appender.append(b"one\n")
        with pytest.raises(OSError, match="expected the lock of"):
            appender.append(b"one\n")


def test_processes_that_contend_for_a_log_all_append_every_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    code = (
        "import os, sys; from pathlib import Path; from workcast.broker.appender import Appender\n"
        "with Appender(Path(sys.argv[1])) as a:\n"
        "    for n in range(500): a.append(b'%d %d\\n' % (os.getpid(), n))\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path)]) for _ in range(4)]
    assert [writer.wait() for writer in writers] == [0] * 4
    lines = path.read_bytes().splitlines()
    for writer in writers:
        mine = [line for line in lines if line.startswith(b"%d " % writer.pid)]
        assert mine == [b"%d %d" % (writer.pid, number) for number in range(500)]


def test_a_log_that_is_replaced_while_its_lock_is_waited_for_is_not_written(tmp_path: Path) -> None:
    path, old = tmp_path / "log", tmp_path / "old"
    path.write_bytes(b"old\n")
    appender = Appender(path, lock_timeout=20)
    with lock_file(path):
        thread = threading.Thread(target=appender.append, args=(b"new\n",))
        thread.start()
        path.rename(old)
    thread.join()
    appender.close()
    assert (old.read_bytes(), path.read_bytes()) == (b"old\n", b"new\n")


INTERRUPTED = """
import signal, sys, threading, time
from pathlib import Path
from workcast.broker.appender import Appender

class InterruptError(TimeoutError if "timeout" in sys.argv else Exception):
    pass

returned, counts = [], {"main": 0, "handler": 0, "raised": 0}
is_caught = False  # what a handler raises

def emit(kind):
    number = counts[kind] = counts[kind] + 1  # no call in between: a handler counts too
    line = b"%s %d" % (kind.encode(), number)
    appender.append(line + b"\\n")
    returned.append(line)

def interrupt(number, frame):
    signal.setitimer(signal.ITIMER_REAL, 0.0003)
    emit("handler")
    if is_caught and counts["handler"] % 3 == 0:
        counts["raised"] += 1
        raise InterruptError

signal.signal(signal.SIGALRM, interrupt)
appender = Appender(Path(sys.argv[1]), lock_timeout=5)
while counts["raised"] < 200:
    try:
        is_caught = True
        signal.setitimer(signal.ITIMER_REAL, 0.0003)
        while True:
            emit("main")
    except InterruptError:
        is_caught = False
signal.signal(signal.SIGALRM, signal.SIG_IGN)
other = threading.Thread(target=appender.append, args=(b"other thread\\n",))
other.start()
other.join()
beside = Appender(Path(sys.argv[1]), lock_timeout=5)
beside.append(b"other file\\n")
sys.stdout.buffer.write(b"\\n".join(returned))
"""


@pytest.mark.parametrize("error", ["timeout", "another error"])
def test_a_signal_handler_may_append_or_raise_at_any_point_of_an_append(tmp_path: Path, error: str) -> None:
    """A TimeoutError, which handlers of SIGALRM usually raise, is an OSError, as errors of the file are."""
    path = tmp_path / "log"
    command = [sys.executable, "-c", INTERRUPTED, str(path), error]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    returned, lines = done.stdout.splitlines(), path.read_bytes().splitlines()
    assert len(set(lines)) == len(lines)
    assert set(returned) <= set(lines)
    assert lines[-2:] == [b"other thread", b"other file"]
    for kind in (b"main", b"handler"):
        numbers = [int(line.split()[1]) for line in lines if line.startswith(kind + b" ")]
        assert set(numbers) <= set(range(1, len(numbers) + 201))
        if kind == b"main":
            assert numbers == sorted(numbers)


def test_a_handler_that_appends_during_an_append_is_written_before_that_returns(tmp_path: Path) -> None:
    path = tmp_path / "log"
    appender = Appender(path, lock_timeout=20)
    seen: list[bytes] = []

    def interrupt(*_: object) -> None:
        appender.append(b"handler\n")
        appender.close()
        seen.append(path.read_bytes())
        lock.close()

    before = signal.signal(signal.SIGUSR1, interrupt)
    lock = path.open("wb")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        main = threading.main_thread().ident
        assert main is not None
        threading.Timer(0.1, signal.pthread_kill, (main, signal.SIGUSR1)).start()
        appender.append(b"main\n")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == [b""]
    assert path.read_bytes() == b"main\nhandler\n"
