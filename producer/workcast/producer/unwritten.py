"""Events that could not be written: counted, and reported in the log as soon as it can be written again."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from typing import Final

from workcast.events.models import BaseEvent, ErrorEvent

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def is_full(error: OSError) -> bool:
    """Whether a write failed for lack of room, which may come back."""
    return error.errno in _FULL


class Unwritten:
    """Writes events and counts those that cannot be written.

    The first event that can be written again follows an ``error`` of kind ``unwritten`` that states their number.

    Args:
        write: writes an event.
        counts: whether an error of ``write`` is counted; others are raised.
    """

    def __init__(self, write: Callable[[BaseEvent], None], counts: Callable[[OSError], bool]) -> None:
        self._write = write
        self._counts = counts
        self._lock = threading.RLock()
        self._unreported = 0
        self._why = ""
        self.total = 0
        """How many events are missing from the log."""

    def write(self, event: BaseEvent) -> None:
        """Write an event, or count it."""
        if not self.try_write(event):
            with self._lock:
                self.total += 1
                self._unreported += 1

    def try_write(self, event: BaseEvent) -> bool:
        """Write an event; False, and not counted, if that is not possible now."""
        try:
            if self._unreported:
                self._report(event)
            self._write(event)
        except OSError as error:
            if not self._counts(error):
                raise
            self._why = error.strerror or str(error)
            return False
        return True

    def _report(self, event: BaseEvent) -> None:
        with self._lock:
            if count := self._unreported:
                text = f"events that could not be written here: {count} ({self._why})"
                self._write(ErrorEvent(timestamp=event.timestamp, error=text, kind="unwritten"))
                self._unreported -= count
