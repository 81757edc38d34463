"""The source: what a gateway reads from the broker, each question with a time limit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Protocol, TypeVar

from workcast.broker.errors import BrokerError
from workcast.broker.subscriber import FeedEntry
from workcast.broker.watermark import Watermark

T = TypeVar("T")


class Source(Protocol):
    """What a gateway reads from the broker; each method raises BrokerError if it cannot be reached."""

    async def check(self) -> None: ...

    async def feed_end(self) -> str: ...

    async def read_feed(self, after: str, count: int, block_ms: int, /) -> tuple[str, list[FeedEntry]]: ...

    async def read_stream(self, workcell: str, epoch: int, offset: int, count: int, /) -> tuple[int, list[bytes]]: ...

    async def watermarks(self, workcells: list[str], /) -> list[Watermark]: ...

    async def workcells(self) -> dict[str, float]: ...

    async def summaries(self, workcells: list[str], /) -> dict[str, bytes]: ...

    async def request_window(self, workcell: str, /) -> None: ...

    async def mark_watched(self, workcells: list[str], /) -> None: ...

    async def report_edit(self, workcell: str, epoch: int, offset: int, /) -> None: ...


class TimedSource:
    """A source whose questions fail after ``seconds``: TCP alone may never report that a server has stopped."""

    def __init__(self, source: Source, seconds: float) -> None:
        self._source = source
        self._seconds = seconds

    async def check(self) -> None:
        await self._within(self._source.check())

    async def feed_end(self) -> str:
        return await self._within(self._source.feed_end())

    async def read_feed(self, after: str, count: int, block_ms: int) -> tuple[str, list[FeedEntry]]:
        return await self._within(self._source.read_feed(after, count, block_ms))

    async def read_stream(self, workcell: str, epoch: int, offset: int, count: int) -> tuple[int, list[bytes]]:
        return await self._within(self._source.read_stream(workcell, epoch, offset, count))

    async def watermarks(self, workcells: list[str]) -> list[Watermark]:
        return await self._within(self._source.watermarks(workcells))

    async def workcells(self) -> dict[str, float]:
        return await self._within(self._source.workcells())

    async def summaries(self, workcells: list[str]) -> dict[str, bytes]:
        return await self._within(self._source.summaries(workcells))

    async def request_window(self, workcell: str) -> None:
        await self._within(self._source.request_window(workcell))

    async def mark_watched(self, workcells: list[str]) -> None:
        await self._within(self._source.mark_watched(workcells))

    async def report_edit(self, workcell: str, epoch: int, offset: int) -> None:
        await self._within(self._source.report_edit(workcell, epoch, offset))

    async def _within(self, question: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._seconds):
                return await question
        except TimeoutError as error:
            raise BrokerError(f"no answer from Redis for {self._seconds:g} s; is it stopped?") from error
