"""What a hub reads: the broker, and an archive for what the broker no longer has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from workcast.broker.history import Extent
from workcast.broker.stream import FeedEntry
from workcast.broker.watermark import Watermark


class Source(Protocol):
    """What the hub reads from the broker."""

    async def check(self) -> None: ...

    async def feed_end(self, number: int, /) -> str: ...

    async def read_feed(self, number: int, after: str, count: int, block_ms: int, /) -> tuple[str, list[FeedEntry]]: ...

    async def read_stream(self, workcell: str, epoch: int, offset: int, count: int, /) -> tuple[int, list[bytes]]: ...

    async def watermarks(self, workcells: list[str], /) -> list[Watermark]: ...

    async def workcells(self) -> list[str]: ...

    async def summaries(self, workcells: list[str], /) -> dict[str, bytes]: ...


class Archive(Protocol):
    """What the hub reads when the broker no longer has it."""

    def ids(self) -> list[str]: ...

    def origin(self, workcell: str, /) -> str | None:
        """That of the root which the workcell is in, as its relay gives it to the broker; None if it is in none."""
        ...

    def extent(self, workcell: str, /) -> Extent | None: ...

    def synced_extent(self, workcell: str, /) -> Extent | None:
        """Like ``extent``, of what may be shown without a broker: it is on disk, and marked as shown."""
        ...

    def read(self, workcell: str, epoch: int, offset: int, limit: int, /) -> list[bytes]: ...


@dataclass(frozen=True, slots=True)
class Missing:
    """Events that cannot be had: they go on at ``until``."""

    offset: int
    until: int
    reason: Literal["pruned", "unavailable"]
