"""The reading side of the broker: the feed, streams and summaries, for a gateway."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from workcast.broker.connection import broker_errors, connect_async
from workcast.broker.keys import (
    LAYOUT_KEY,
    PARTITION,
    check_layout,
    edited_key,
    feed_key,
    partition,
    stream_key,
    summary_key,
    wanted_key,
    windows_key,
    workcells_key,
)
from workcast.broker.stored_watermark import parse_watermarks, queue_watermarks
from workcast.broker.watermark import Watermark

_WANTED_SECONDS: Final = 60
"""A request that no relay serves expires after so long."""


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """An entry of the feed: an event; without a workcell, a relay's heartbeat, with its name in ``data``; without an
    epoch, a notice that the workcell's summary changed or is gone.
    """

    workcell: str
    epoch: int
    offset: int
    data: bytes


class Subscriber:
    """The reading side of the broker, for a gateway; asyncio."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client: Any = connect_async(url)

    async def check(self) -> None:
        """Check that the server answers and has this layout.

        Raises:
            BrokerError: not reachable, or another layout.
        """
        with broker_errors(self.url):
            check_layout(self.url, await self._client.get(LAYOUT_KEY))

    async def feed_end(self) -> str:
        """Return the ID of the feed's newest entry: unlike ``$``, a fixed position to read on from."""
        with broker_errors(self.url):
            last = await self._client.xrevrange(feed_key(PARTITION), count=1)
        return last[0][0].decode() if last else "0-0"

    async def read_feed(self, after: str, count: int, block_ms: int) -> tuple[str, list[FeedEntry]]:
        """Read entries after an ID, waiting for the first; return the ID to read on from, and the entries."""
        with broker_errors(self.url):
            reply = await self._client.xread({feed_key(PARTITION): after}, count=count, block=block_ms)
        if not reply:
            return after, []
        entries = reply[0][1]
        return entries[-1][0].decode(), [
            FeedEntry(fields[b"w"].decode(), int(fields[b"e"]), int(fields[b"o"]), fields[b"d"])
            for _, fields in entries
        ]

    async def read_stream(self, workcell: str, epoch: int, offset: int, count: int) -> tuple[int, list[bytes]]:
        """Read consecutive events at or after ``offset``; return the first one's offset, and their wire bytes.

        The first may lie past ``offset``, since the stream keeps only the tail. Empty if the stream has no such event.
        """
        with broker_errors(self.url):
            entries = await self._client.xrange(
                stream_key(workcell), min=f"{epoch}-{offset + 1}", max=f"{epoch}-{2**63 - 1}", count=count
            )
        if not entries:
            return offset, []
        first = int(entries[0][0].partition(b"-")[2]) - 1
        return first, [fields[b"d"] for _, fields in entries]

    async def watermarks(self, workcells: Sequence[str]) -> list[Watermark]:
        """Return how far each workcell is published, in one round trip."""
        with broker_errors(self.url):
            async with self._client.pipeline(transaction=False) as pipe:
                queue_watermarks(pipe, workcells)
                return parse_watermarks(await pipe.execute())

    async def workcells(self) -> dict[str, float]:
        """Return all workcells in the broker and the time (ms) of their last event, the most recent one first."""
        with broker_errors(self.url):
            found: list[tuple[bytes, float]] = await self._client.zrange(
                workcells_key(PARTITION), 0, -1, desc=True, withscores=True
            )
        return {name.decode(): at for name, at in found}

    async def summaries(self, workcells: Sequence[str]) -> dict[str, bytes]:
        """Return the JSON of the summaries that exist, in one round trip."""
        with broker_errors(self.url):
            async with self._client.pipeline(transaction=False) as pipe:
                for workcell in workcells:
                    pipe.hget(summary_key(workcell), "json")
                replies = await pipe.execute()
        return {workcell: reply for workcell, reply in zip(workcells, replies, strict=True) if reply is not None}

    async def request_window(self, workcell: str) -> None:
        """Ask the relay that carries a workcell to publish its window: an ended log may have no stream."""
        with broker_errors(self.url):
            async with self._client.pipeline(transaction=False) as pipe:
                pipe.sadd(wanted_key(partition(workcell)), workcell)
                pipe.expire(wanted_key(partition(workcell)), _WANTED_SECONDS)
                await pipe.execute()

    async def mark_watched(self, workcells: Sequence[str]) -> None:
        """Keep the windows of workcells from counting as idle for the next seconds; those without one get none."""
        if not workcells:
            return
        with broker_errors(self.url):
            seconds, microseconds = await self._client.time()  # the server's clock, as its scripts use
            now = 1000 * seconds + microseconds // 1000
            await self._client.zadd(windows_key(PARTITION), dict.fromkeys(workcells, now), xx=True)

    async def report_edit(self, workcell: str, epoch: int, offset: int) -> None:
        """Ask the relay that carries a workcell to look at a line that is not the one that was shown."""
        with broker_errors(self.url):
            async with self._client.pipeline(transaction=False) as pipe:
                pipe.hset(edited_key(partition(workcell)), workcell, f"{epoch} {offset}")
                pipe.expire(edited_key(partition(workcell)), _WANTED_SECONDS)
                await pipe.execute()

    async def aclose(self) -> None:
        await self._client.aclose()
