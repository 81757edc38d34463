"""The removal of a workcell: of everything that workcast wrote for it, and of nothing else.

It happens at one point: when the log is unlinked. Before that, the log's epochs are retired and a mark is written, both
on disk; from that point on, a directory with a mark and without a log is no workcell. What is left is removed next, by
the same call or, should that be killed, by :func:`finish_removals`. Mark and retired epochs stay for a while: viewers
and links may still have positions in the removed log, and a later log of the same name must not be taken for it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from workcast.broker import names
from workcast.broker.below import make_directory, open_below, remove_below, stat_below
from workcast.broker.errors import RootError, WorkcellRunningError
from workcast.broker.files import LockedError, lock_descriptor, lock_file, sync_directory
from workcast.broker.log import LogReader
from workcast.broker.log_facts import gather_facts
from workcast.broker.records import Place, Records, open_place
from workcast.broker.root import Root
from workcast.broker.run_lock import CHECK_S
from workcast.events.errors import WorkcastError

REMEMBERED_S: Final = 90 * 86400.0
"""For so long after a removal, mark and retired epochs are kept."""
_REMOVAL_WAIT_S: Final = 10.0
"""How long to wait for another removal, which takes milliseconds."""
_LOG_WAIT_S: Final = 2.0
_SCAN_BYTES: Final = 32 << 20
"""How much of a log is searched for its first line."""
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LOCK: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Spare = Callable[[Path], Collection[str]]
"""Returns the names in a workcell's directory that are not workcast's, although it uses them."""


def spare_nothing(_: Path) -> Collection[str]:
    """Spare no name: for directories that no other program writes to."""
    return ()


def remove_records(root: Root, workcell: str, spare: Spare = spare_nothing) -> Records:
    """Remove a workcell's records, and its directory if nothing else is in it; return what was removed and what stays.

    Safe beside runs, relays, gateways and other removals.

    Raises:
        WorkcellRunningError: a run, or a process that records a session, holds a lock of the workcell.
        RootError: the directory is a link, or another removal takes too long.
        OSError: a file cannot be removed; call again when it can.
    """
    if root.workcell(workcell).is_symlink():
        raise RootError(f"expected {root.workcell(workcell)} to be a directory, got a link; remove the link yourself")
    make_directory(root.removed)
    with (
        _hold_removal(root),
        open_place(root, workcell, spare(root.workcell(workcell))) as place,
        _keep_writers_out(root, workcell, place) as made,
    ):
        if place.has_log():
            _retire_epochs(root, workcell)
        _write_mark(root, workcell)
        with _hold_log(root, workcell, place):
            return _remove_all(place, made)


def finish_removals(root: Root, spare: Spare = spare_nothing) -> int:
    """Finish the removals that were interrupted, and forget those of long ago; return how many were finished."""
    finished = 0
    for local in sorted(root.removed_names()):
        with suppress(OSError, WorkcastError):  # a run begins there, or the name is no id: tried again next time
            finished += _finish(root, root.id_of(local), spare)
    return finished


def _finish(root: Root, workcell: str, spare: Spare) -> bool:
    """Finish one removal; True if anything was left of it."""
    mark = root.removed / root.local(workcell)
    marked = stat_below(mark)
    with open_place(root, workcell) as place:
        is_left = place.is_left()
        age = time.time() - marked.st_mtime if marked is not None else 0.0
        is_over = not is_left and not place.has_directory() and age > REMEMBERED_S
    if not is_left and not is_over:
        return False
    with _hold_removal(root), open_place(root, workcell, spare(root.workcell(workcell))) as place:
        if place.has_log():  # made again; or the removal was interrupted before anything of it was removed
            remove_below(mark)
        elif is_over:
            root.remove_state(names.state_file(place.local, names.RETIRED_SUFFIX))
            remove_below(mark)
        else:
            with _keep_writers_out(root, workcell, place) as made:
                return not place.has_log() and bool(_remove_all(place, made).files)
    return False


# ── before the log is unlinked ───────────────────────────────────────────────────────────────────────────────────────
@contextmanager
def _hold_removal(root: Root) -> Generator[None]:
    """Keep other removals out."""
    try:
        with lock_file(root.state / names.REMOVAL_LOCK_FILE, wait=_REMOVAL_WAIT_S, mode=0o600):
            yield
    except LockedError:
        raise RootError(
            f"expected {root.state / names.REMOVAL_LOCK_FILE} to be free within {_REMOVAL_WAIT_S:g} s, but another "
            "process holds it; end that process, or try again"
        ) from None


@contextmanager
def _keep_writers_out(root: Root, workcell: str, place: Place) -> Generator[set[str]]:
    """Hold the locks of runs and sessions; yields the names of those that had to be made for that.

    They are removed in any case.
    """
    session = names.state_file(place.local, names.SESSION_LOCK_SUFFIX)
    with ExitStack() as stack:
        locks = [(place.directories["cell"], names.RUN_LOCK_FILE), (place.directories["state"], session)]
        yield {name for directory, name in locks if _hold(directory, name, root.id_of(workcell), stack)}


def _hold(directory: int | None, name: str, workcell: str, stack: ExitStack) -> bool:
    """Hold a lock if its directory is there; return whether its file had to be made."""
    if directory is None:
        return False
    is_new = False
    try:
        descriptor = os.open(name, _LOCK, dir_fd=directory)
    except FileNotFoundError:
        descriptor = os.open(name, _LOCK | os.O_CREAT, 0o600, dir_fd=directory)
        is_new = True
    except OSError:
        return False  # a link, or not a file: no run holds it
    stack.callback(os.close, descriptor)
    try:
        lock_descriptor(descriptor, wait=CHECK_S)
        is_held = _has_name(descriptor, directory, name)
    except LockedError:
        is_held = False
    if not is_held:
        raise WorkcellRunningError(
            f"expected {workcell} to be at rest, but a process is writing its log; end the run, or wait for its end, "
            "and try again"
        )
    if is_new:
        stack.callback(_unlink_own, descriptor, directory, name)
    return is_new


def _unlink_own(descriptor: int, directory: int, name: str) -> None:
    with suppress(OSError):
        if _has_name(descriptor, directory, name):
            os.unlink(name, dir_fd=directory)


def _has_name(descriptor: int, directory: int, name: str) -> bool:
    """Whether a name in a directory is that of an open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(name, dir_fd=directory, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _retire_epochs(root: Root, workcell: str) -> None:
    """Keep, durably, the epochs that the log was shown under, so that no later log gets one of them."""
    state = root.log_state(workcell)
    noted, checkpoint = state.watermark(), state.checkpoint()
    reader = LogReader(root.log(workcell))
    reader.refresh(_SCAN_BYTES)
    facts = gather_facts(reader, state)
    known = {facts.epoch, facts.natural_epoch or 0, *facts.written[:1]}
    known |= {noted.epoch} if noted else set()
    known |= {checkpoint.watermark.epoch} if checkpoint else set()
    if new := frozenset(known - facts.retired - {0}):
        state.retire_epochs(new)


def _write_mark(root: Root, workcell: str) -> None:
    """Write the mark, or renew its time, and make it durable."""
    path = root.removed / root.local(workcell)
    descriptor = open_below(path, os.O_WRONLY | os.O_CREAT)
    try:
        os.utime(descriptor)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_directory(root.removed)


@contextmanager
def _hold_log(root: Root, workcell: str, place: Place) -> Generator[None]:
    """Keep appends out: a writer that goes on begins a log of its own."""
    cell = place.directories["cell"]
    if cell is None or not place.has_log():
        yield
        return
    descriptor = os.open(names.LOG_FILE, _READ, dir_fd=cell)
    try:
        lock_descriptor(descriptor, wait=_LOG_WAIT_S)
        yield
    except LockedError:
        raise WorkcellRunningError(
            f"expected the log of {root.id_of(workcell)} to be at rest, but a writer has held its lock for "
            f"{_LOG_WAIT_S:g} s; end it, and try again"
        ) from None
    finally:
        os.close(descriptor)


# ── the removal ──────────────────────────────────────────────────────────────────────────────────────────────────────
def _remove_all(place: Place, made: Collection[str]) -> Records:
    """Remove all records, the log first; those that the removal itself has made are not among the returned ones."""
    found = place.find()
    removed = [record for record in place.remove(found.files) if record.name not in made]
    place.remove_directories()
    return Records(tuple(removed), found.others, place.has_directory())
