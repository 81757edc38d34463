"""Locking, replacing and creating files of a root, safely beside other processes; see :mod:`workcast.broker.below`."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from workcast.broker.below import create_in, directory_of, open_below, stat_below

_EXCLUSIVE: Final = fcntl.LOCK_EX | fcntl.LOCK_NB
_SHARED: Final = fcntl.LOCK_SH | fcntl.LOCK_NB
_BUSY_S: Final = 0.25
"""A lock that is held for longer is not merely busy: its holder is slow, or has stopped."""
_BUSY_PAUSE_S: Final = 0.000_3
"""Between two attempts to take a busy lock; longer ones would give the other writers an advantage."""
_PAUSE_S: Final = 0.005
"""Between two attempts later on."""


class LockedError(BlockingIOError):
    """The lock is held through another open file, for longer than the caller wanted to wait."""


def lock_descriptor(descriptor: int, *, shared: bool = False, wait: float = 0.0) -> None:
    """Lock an open file with ``flock``, until it is unlocked or its last descriptor is closed.

    Args:
        descriptor: of the open file.
        shared: let others hold a shared lock at the same time.
        wait: seconds; 0: try once.

    Raises:
        LockedError: the lock was not free within ``wait`` seconds.
        OSError: the file system cannot lock files.
    """
    operation = _SHARED if shared else _EXCLUSIVE
    try:
        fcntl.flock(descriptor, operation)
    except BlockingIOError as error:
        if not _lock_later(descriptor, operation, wait):
            raise LockedError(error.errno, "the lock is held elsewhere") from None


def _lock_later(descriptor: int, operation: int, wait: float) -> bool:
    # flock has no timeout, and a timer's signal would reach the main thread alone: so try again and again.
    began = time.monotonic()
    while (waited := time.monotonic() - began) < wait:
        time.sleep(min(_BUSY_PAUSE_S if waited < _BUSY_S else _PAUSE_S, wait - waited))
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, operation)
            return True
    return False


def unlock_descriptor(descriptor: int) -> None:
    """Release the lock of an open file."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)


@contextmanager
def lock_file(path: Path, *, shared: bool = False, wait: float = 0.0, mode: int | None = None) -> Generator[int]:
    """Hold a lock on a file, which is created if missing; yields its descriptor, open for reading and writing.

    The file stays afterwards. A holder may remove it: what is locked next is the file that then has the name.

    Args:
        path: the file.
        shared: let others hold a shared lock at the same time.
        wait: seconds; 0: try once.
        mode: the most that the file permits; None: what the group is given too, if it shares the root.

    Raises:
        LockedError: the lock was not free within ``wait`` seconds.
        OddFileError: it is not a regular file, or not ours.
        OSError: the file cannot be opened or locked.
    """
    while True:
        descriptor = open_below(path, os.O_RDWR | os.O_CREAT, mode=mode)
        try:
            lock_descriptor(descriptor, shared=shared, wait=wait)
            found = stat_below(path)
            if found is None or not os.path.samestat(os.fstat(descriptor), found):
                continue  # its holder removed it: another process may hold the file that has the name now
            yield descriptor
            return
        finally:
            os.close(descriptor)


def is_locked(path: Path, *, shared_too: bool = False) -> bool:
    """Whether another open file holds the exclusive lock of a file; with ``shared_too``, any lock.

    False if the file is missing or cannot be read. Without ``shared_too``, checks do not get in each other's way.
    """
    try:
        descriptor = open_below(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        lock_descriptor(descriptor, shared=not shared_too)
    except LockedError:
        return True
    except OSError:
        return False
    else:
        return False
    finally:
        os.close(descriptor)


def read_regular(path: Path, limit: int) -> bytes:
    """Read a whole file that another program may have put there: never waits for a FIFO or a device.

    Raises:
        OSError: the file cannot be read, is not a regular one, or has more than ``limit`` bytes.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    with os.fdopen(descriptor, "rb") as file:
        check_regular(descriptor, path)
        if len(data := file.read(limit + 1)) > limit:
            raise OSError(errno.EFBIG, f"expected at most {limit} bytes", str(path))
    return data


def check_regular(descriptor: int, path: Path) -> None:
    """Raise OSError unless an open file is a regular one."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError(errno.EINVAL, "expected a regular file", str(path))


def replace_file(
    path: Path, data: bytes, *, mode: int | None = None, durable: bool = False, trusted: Path | None = None
) -> None:
    """Write a whole file: a reader sees the old content or the new one. A link or a FIFO in its place is replaced.

    Args:
        path: the file; its directory must exist.
        data: the new content.
        mode: the most that the file permits; None: what the group is given too, if it shares the root.
        durable: return only once the content and the name are on disk.
        trusted: see :func:`~workcast.broker.below.directory_of`.

    Raises:
        OSError: the file cannot be written; the old one is then as it was.
    """
    with directory_of(path, writes=True, trusted=trusted) as (directory, name), _naming(path):
        temporary = _temporary_name(name)
        try:
            with os.fdopen(create_in(directory, temporary, path, mode=mode, trusted=trusted), "wb") as file:
                file.write(data)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            _remove(temporary, directory)
            raise
        if durable:
            os.fsync(directory)


def create_file_once(path: Path, data: bytes, *, mode: int | None = None) -> bool:
    """Create a file with all its content; False, and nothing changed, if the path exists already.

    Raises:
        OSError: the file cannot be written.
    """
    with directory_of(path, writes=True) as (directory, name):
        temporary = _temporary_name(name)
        try:
            with _naming(path):
                with os.fdopen(create_in(directory, temporary, path, mode=mode), "wb") as file:
                    file.write(data)
                os.link(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        except FileExistsError:
            return False
        else:
            return True
        finally:
            _remove(temporary, directory)


def check_writable(directory: Path) -> None:
    """Check that files can be created in a directory, by creating one.

    Raises:
        OSError: none can be.
    """
    path = directory / "check"
    with directory_of(path, writes=True) as (descriptor, name):
        temporary = _temporary_name(name)
        os.close(create_in(descriptor, temporary, path))
        _remove(temporary, descriptor)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable: new, renamed and removed files."""
    with directory_of(path / "x", writes=True) as (directory, _):
        os.fsync(directory)


@contextmanager
def _naming(path: Path) -> Generator[None]:
    """Name ``path`` in errors, not its temporary file: the same problem has the same message each time."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _temporary_name(name: str) -> str:
    return f".{name}.{os.getpid()}.{os.urandom(4).hex()}"


def _remove(name: str, directory: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)
