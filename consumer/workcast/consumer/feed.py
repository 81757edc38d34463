"""The feed: follows it from its end on, and hands what it brings to channels, fleet and heartbeats."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from workcast.broker.subscriber import FeedEntry
from workcast.consumer.channels import Channels
from workcast.consumer.fleet_keeper import FleetKeeper
from workcast.consumer.heartbeats import Heartbeats
from workcast.consumer.metrics import Metrics
from workcast.consumer.source import Source

_COUNT: Final = 2000
_BLOCK_MS: Final = 2000
_COALESCE_SECONDS: Final = 0.02


class FeedReader:
    """Reads the feed once for all viewers.

    The feed is only a hint. Heads are compared with the broker when reading begins and after each break.
    """

    def __init__(
        self, source: Source, channels: Channels, fleet: FleetKeeper, heartbeats: Heartbeats, metrics: Metrics
    ) -> None:
        self.position: str | None = None
        """The ID of the last entry read; None: not connected."""
        self._source = source
        self._channels = channels
        self._fleet = fleet
        self._heartbeats = heartbeats
        self._metrics = metrics

    async def turn(self) -> None:
        """Find the feed's end, or read the entries after the last turn.

        Raises:
            BrokerError: the broker does not answer; the next turn starts over.
        """
        try:
            await self._turn()
        except Exception:
            self.position = None
            raise

    async def _turn(self) -> None:
        if self.position is None:
            await self._source.check()
            end = await self._source.feed_end()
            await self._channels.compare_heads()  # for what was published while the feed was not read
            self.position = end
            return
        position, entries = await self._source.read_feed(self.position, _COUNT, _BLOCK_MS)
        if not entries and _order(position) > _order(await self._source.feed_end()):
            self.position = None  # the feed was recreated (flush, failover): nothing would ever come after this ID
            return
        self.position = position
        self._distribute(entries)
        # Let the viewers be served, and wait as long again: what is published meanwhile makes the next batch. When
        # idle, an event does not wait; the more viewers there are, the more events share a frame.
        loop = asyncio.get_running_loop()
        start = loop.time()
        await asyncio.sleep(0)
        await asyncio.sleep(min(loop.time() - start, _COALESCE_SECONDS))

    def _distribute(self, entries: Iterable[FeedEntry]) -> None:
        """Push each watched workcell's consecutive events to its channel in one piece."""
        runs: dict[str, tuple[int, int, list[bytes]]] = {}
        for entry in entries:
            workcell = entry.workcell
            if not workcell:
                self._heartbeats.record(entry.data, asyncio.get_running_loop().time())
                continue
            if not entry.epoch and not entry.data:
                self._fleet.notice(workcell)
                self._channels.recheck(workcell)
                continue
            self._fleet.mark(workcell)
            self._metrics.events_in.inc()
            if workcell not in self._channels:
                continue
            run = runs.get(workcell)
            if run is not None and run[0] == entry.epoch and run[1] + len(run[2]) == entry.offset:
                run[2].append(entry.data)
                continue
            if run is not None:
                self._channels.push(workcell, *run)
            runs[workcell] = (entry.epoch, entry.offset, [entry.data])
        for workcell, run in runs.items():
            self._channels.push(workcell, *run)


def _order(name: str) -> tuple[int, int]:
    """Return a stream ID as Redis orders it."""
    milliseconds, _, sequence = name.partition("-")
    return int(milliseconds), int(sequence)
