"""Taking a session's workcell: one that tells of it at a time, be it a follower, an import or a hook.

Not the lock of a run: that one's holder is taken for dead when it is let go, and sessions have no process of ours.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from workcast.broker.root import Root
from workcast.producer.errors import WorkcellBusyError

KIND: Final = "telling"


def lock_path(root: Root, workcell: str) -> Path:
    """The file that is locked; it stays, as one that is unlinked could be locked twice."""
    return root.state / f"{root.local(workcell)}.{KIND}"


@contextmanager
def hold_session(root: Root, workcell: str) -> Generator[None]:
    """Keep others from telling of a session; its workcell is made if need be.

    Raises:
        WorkcellBusyError: somebody else holds it. Nothing was written.
        OSError: it cannot be made or written.
    """
    root.state.mkdir(parents=True, exist_ok=True)
    root.workcell(workcell).mkdir(mode=0o700, exist_ok=True)  # as private as the transcript is
    root.hide_from_git()
    descriptor = os.open(lock_path(root, workcell), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WorkcellBusyError(
                f"expected nobody else to write the log of {workcell}, but somebody does; try again in a moment"
            ) from None
        yield
    finally:
        os.close(descriptor)
