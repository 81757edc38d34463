"""A run's lock on its workcell, and its heartbeat: the lock file's modification time, renewed while the run goes on.

Both show other processes whether the writer of the log is alive; :mod:`workcast.ledger.lost` decides.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from workcast.broker.below import open_below, read_below
from workcast.broker.files import LockedError, lock_descriptor, lock_file
from workcast.broker.names import RUN_LOCK_FILE
from workcast.ledger.lost import WriterSigns

HEARTBEAT_S: Final = 2.0
"""How often the modification time of a lock that is held is renewed."""
_HOLDER_BYTES: Final = 20
CHECK_S: Final = 0.5
"""How long to wait for the lock: a process that checks whether it is held holds it for a moment too."""


class RunLockedError(LockedError):
    """Another run holds the lock; ``holder`` is its process id as text, or empty if unknown."""

    def __init__(self, holder: str) -> None:
        super().__init__(f"the run's lock is held by process {holder or 'unknown'}")
        self.holder = holder


@contextmanager
def hold_lock(directory: Path, *, wait: float = CHECK_S) -> Generator[int]:
    """Hold a workcell's lock, and renew its heartbeat from a thread; yields the lock's descriptor.

    The kernel releases the lock when the last process that has the descriptor ends, however it ends.

    Args:
        directory: the workcell's.
        wait: seconds to wait for the lock; 0: try once.

    Raises:
        RunLockedError: another run holds it.
        OSError: the file cannot be written.
    """
    path = directory / RUN_LOCK_FILE
    with ExitStack() as stack:
        try:
            descriptor = stack.enter_context(lock_file(path, wait=wait))
        except LockedError:
            raise RunLockedError(_holder(path)) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        over = threading.Event()
        heartbeat = threading.Thread(target=_beat, args=(descriptor, over), name=f"run {directory.name}", daemon=True)
        heartbeat.start()
        try:
            yield descriptor
        finally:
            over.set()
            heartbeat.join()


def writer_signs(directory: Path) -> WriterSigns | None:
    """Return what shows whether a workcell's writer is alive; None if no run began there.

    Call it before the log is read: if the writer is gone, everything that it wrote is then read.
    """
    try:
        descriptor = open_below(directory / RUN_LOCK_FILE, os.O_RDONLY)
    except OSError:
        return None
    try:
        age = time.time() - os.fstat(descriptor).st_mtime
        return WriterSigns(_is_held(descriptor), age)
    finally:
        os.close(descriptor)


def _is_held(descriptor: int) -> bool:
    try:
        lock_descriptor(descriptor, shared=True)
    except OSError:  # also if the file system cannot lock: then the lock shows nothing
        return True
    return False


def _holder(path: Path) -> str:
    with suppress(OSError):
        return read_below(path, _HOLDER_BYTES).decode("ascii", "replace").strip()
    return ""


def _beat(descriptor: int, over: threading.Event) -> None:
    while not over.wait(HEARTBEAT_S):
        with suppress(OSError):  # a full disk is reported by the writer of the log
            os.utime(descriptor)
