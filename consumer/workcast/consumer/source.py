"""What the hub reads from the broker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

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


@dataclass(frozen=True, slots=True)
class Missing:
    """Events that cannot be had: they go on at ``until``."""

    offset: int
    until: int
    reason: Literal["pruned", "unavailable"]
