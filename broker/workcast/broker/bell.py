"""A bell: wakes a thread, also from a signal handler that interrupted a ring, where ``threading.Event`` deadlocks."""

from __future__ import annotations

from queue import Empty, SimpleQueue


class Bell:
    """Wakes the one thread that waits for it."""

    def __init__(self) -> None:
        self._rings: SimpleQueue[None] = SimpleQueue()  # its put is the library's only one that is reentrant

    def ring(self) -> None:
        """End the current wait, or the next one."""
        if self._rings.empty():
            self._rings.put(None)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for a ring, which counts once; False if none came in time."""
        try:
            self._rings.get(timeout=None if seconds is None else max(seconds, 0.0))
        except Empty:
            return False
        return True

    def is_set(self) -> bool:
        """Whether there was a ring that was not waited for; named as that of an Event, which watchfiles expects."""
        return not self._rings.empty()

    def clear(self) -> None:
        """Forget rings that were not waited for."""
        while not self._rings.empty():
            self._rings.get()
