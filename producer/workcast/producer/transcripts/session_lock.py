"""The lock of a session's log, held by the one process that writes it: a follower, an import or a hook.

It is not the lock of a run: once that is released its holder counts as dead, and a session has no process of ours.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from workcast.broker.below import make_directory
from workcast.broker.files import LockedError, lock_file
from workcast.broker.names import SESSION_LOCK_SUFFIX, state_file
from workcast.broker.root import Root
from workcast.producer.errors import WorkcellBusyError


@contextmanager
def hold_session(root: Root, workcell: str) -> Generator[None]:
    """Keep other processes from writing a session's log; creates its workcell if missing.

    Raises:
        WorkcellBusyError: another process holds it. Nothing was written.
        OSError: it cannot be created or written.
    """
    make_directory(root.state)
    root.hide_from_git()
    try:
        with lock_file(root.state / state_file(root.local(workcell), SESSION_LOCK_SUFFIX)):
            make_directory(root.workcell(workcell))
            yield
    except LockedError:
        raise WorkcellBusyError(
            f"expected no other process to write the log of {workcell}, but one does; try again in a moment"
        ) from None
