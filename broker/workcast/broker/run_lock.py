"""A run's lock on its workcell, and what it tells others: that somebody writes the log, or that nobody does any more.

The lock alone would do on one host. Where it is not seen by all (a container's file system may not share it), its
heartbeat is: the file's modification time, renewed while the run goes on. A run is over once both are gone, so a run
that is merely quiet, stopped, or on a busy machine is never taken for a dead one; nor is a log that was written
without such a lock.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

LOCK_NAME: Final = "run.lock"
HEARTBEAT_S: Final = 2.0
"""How often the modification time of a lock that is held is renewed."""
STALE_S: Final = 10.0
"""How old that time is at least when a run is taken for dead."""
_TRIES: Final = 50
_TRY_AGAIN_S: Final = 0.01
"""Somebody who only looks holds the lock for some microseconds, or longer if the machine is busy."""


class LockHeldError(Exception):
    """Somebody else holds the lock; ``str`` of it is the id of their process, if they have told."""


@contextmanager
def hold_lock(directory: Path) -> Generator[int]:
    """Hold a workcell's lock, and renew its heartbeat from a thread; the lock's descriptor.

    The kernel lets go of the lock when the last process that has the descriptor ends, however it does; the file stays,
    as one that is unlinked could be locked twice.

    Raises:
        LockHeldError: another run holds it.
        OSError: the file cannot be written.
    """
    descriptor = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _take(descriptor)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        over = threading.Event()
        heart = threading.Thread(target=_beat, args=(descriptor, over), name=f"run {directory.name}", daemon=True)
        heart.start()
        try:
            yield descriptor
        finally:
            over.set()
            heart.join()
    finally:
        os.close(descriptor)


def is_over(directory: Path) -> bool:
    """Whether a run has begun in this workcell, and its writer is gone: nobody holds the lock, and its heart is still.

    False where no run of ours ever was: nobody can say who else writes there.
    """
    try:
        descriptor = os.open(directory / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # A time that lies ahead was written before the clock was set back.
        if abs(time.time() - os.fstat(descriptor).st_mtime) < STALE_S:
            return False
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> None:
    for _ in range(_TRIES):
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(_TRY_AGAIN_S)
    raise LockHeldError(os.pread(descriptor, 20, 0).decode("ascii", "replace").strip())


def _beat(descriptor: int, over: threading.Event) -> None:
    while not over.wait(HEARTBEAT_S):
        with suppress(OSError):  # a full disk is told by the log
            os.utime(descriptor)
