"""The memory of a gateway's process: pauses of the collector kept short, and what viewers have freed given back."""

from __future__ import annotations

import ctypes
import gc
import threading
from collections.abc import Callable
from typing import Final

_SETTLING_SECONDS: Final = 1.0
_FEW: Final = 256
"""Connections whose memory is not worth a pass."""
_RARELY: Final = 1000
"""Collections of the middle generation for one of all objects."""


def keep_collections_short() -> None:
    """Exempt what the start has made from the collector, and let it look at all other objects rarely.

    Otherwise every viewer waits some 40 ms for each pass over the program's own 90,000 objects, and over those of 2,000
    viewers for 150 ms. What a connection leaves behind has no cycles.
    """
    gc.collect()
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, _RARELY)


class Releaser:
    """Gives memory back when most of many connections have gone; the C library keeps freed pieces otherwise."""

    def __init__(self, later: Callable[[float, Callable[[], None]], object]) -> None:
        self._later = later
        self._peak = 0
        self._scheduled = False

    def count(self, connections: int) -> None:
        """Note how many connections there are now."""
        self._peak = max(self._peak, connections)
        if self._peak >= _FEW and connections <= self._peak // 2 and not self._scheduled:
            self._scheduled = True
            self._later(_SETTLING_SECONDS, self._release)

    def _release(self) -> None:
        self._scheduled = False
        self._peak = 0
        threading.Thread(target=_trim, name="workcast-trim", daemon=True).start()


def _trim() -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc only
    if trim is not None:
        trim(0)
