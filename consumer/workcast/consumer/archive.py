"""The archive: the logs behind a gateway, for the events that the broker no longer has."""

from __future__ import annotations

from typing import Protocol

from workcast.broker.errors import WorkcellIdError
from workcast.broker.history import Extent, History
from workcast.broker.roots import Roots


class Archive(Protocol):
    """What the gateway reads besides the broker."""

    def ids(self) -> list[str]:
        """Return the ids of all workcells that have a directory here."""
        ...

    def has(self, workcell: str, /) -> bool:
        """Whether the workcell has a directory here."""
        ...

    def oddity(self, workcell: str, /) -> str:
        """Say why the workcell's log is not shown though something is in its place; empty if nothing is odd."""
        ...

    def origin(self, workcell: str, /) -> str | None:
        """Return the origin of the root that holds the workcell, None if no root here does."""
        ...

    def extent(self, workcell: str, /) -> Extent | None: ...

    def synced_extent(self, workcell: str, /) -> Extent | None:
        """Like ``extent``, but what may be shown without a broker: on disk, and below the watermark."""
        ...

    def read(self, workcell: str, epoch: int, offset: int, limit: int, /) -> list[bytes]: ...


class RootArchive:
    """The logs of some roots."""

    def __init__(self, roots: Roots, history: History) -> None:
        self._roots = roots
        self.ids = roots.ids
        self.extent = history.extent
        self.synced_extent = history.synced_extent
        self.read = history.read

    def has(self, workcell: str) -> bool:
        """Whether the workcell has a directory in one of the roots."""
        try:
            return self._roots.holding(workcell) is not None
        except WorkcellIdError:
            return False

    def oddity(self, workcell: str) -> str:
        """Say what is in place of the workcell's log; empty if nothing is odd."""
        try:
            root = self._roots.holding(workcell)
        except WorkcellIdError:
            return ""
        return root.oddity(workcell) if root is not None else ""

    def origin(self, workcell: str) -> str | None:
        """Return the origin of the root that holds the workcell, None if none does."""
        root = self._roots.holding(workcell)
        return root.origin() if root is not None else None
