"""The channels of the watched workcells: opened on demand, kept at the broker's heads, dropped when unwatched."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

from workcast.broker.errors import BrokerError, WorkcellIdError
from workcast.broker.history import Extent
from workcast.broker.root import check_workcell_id
from workcast.broker.watermark import Watermark
from workcast.consumer.archive import Archive
from workcast.consumer.channel import Channel
from workcast.consumer.source import Source

logger = logging.getLogger("workcast.hub")


class Channels:
    """One channel for each workcell that is watched, or was since the last sweep."""

    def __init__(self, source: Source, archive: Archive, ring_bytes: int, frame_bytes: int) -> None:
        self._source = source
        self._archive = archive
        self._ring_bytes = ring_bytes
        self._frame_bytes = frame_bytes
        self._channels: dict[str, Channel] = {}
        self._loads: dict[Channel, asyncio.Task[bool]] = {}

    def __contains__(self, workcell: str) -> bool:
        return workcell in self._channels

    async def open(self, workcell: str) -> Channel | None:
        """Return the channel of a workcell, loaded; None if neither broker nor log has the workcell."""
        try:
            check_workcell_id(workcell)
        except WorkcellIdError:
            return None
        while True:
            channel = self._channels.get(workcell)
            if channel is None:
                # In place before the broker is asked, so that what the feed brings meanwhile is not missed.
                channel = self._channels[workcell] = Channel(workcell, self._ring_bytes, self._frame_bytes)
            known = channel.loaded or await self.load(channel)
            if self._channels.get(workcell) is not channel:
                continue  # swept away meanwhile: the feed would not reach it
            if known:
                return channel
            if not channel.watched:
                del self._channels[workcell]
            return None

    async def load(self, channel: Channel) -> bool:
        """Ask the broker, or else the log, for epoch and head; False if neither has the workcell.

        Concurrent callers share one answer.
        """
        task = self._loads.get(channel)
        if task is None:
            task = self._loads[channel] = asyncio.create_task(self._load(channel))
            task.add_done_callback(lambda _: self._loads.pop(channel, None))
        return await asyncio.shield(task)

    async def _load(self, channel: Channel) -> bool:
        channel.announced = None
        away = False
        try:
            watermark = (await self._source.watermarks([channel.workcell]))[0]
        except BrokerError:
            watermark, away = Watermark(), True
        if watermark.epoch:
            channel.foreign = await asyncio.to_thread(self._is_foreign, channel.workcell, watermark.origin)
            channel.set_position(watermark.epoch, watermark.base, watermark.head)
            return True
        try:
            read_extent = self._archive.synced_extent if away else self._archive.extent
            extent = await asyncio.to_thread(read_extent, channel.workcell)
        except OSError as error:
            logger.warning("the log of %s cannot be read: %s", channel.workcell, error)
            extent = None
        if extent is None:
            channel.loaded = channel.watched  # its viewers keep what they have, until it is published again
            return channel.loaded
        # With a broker, nothing may be shown yet: the relay will publish the head. Without one, everything that a
        # crash cannot take back, and that no other log can replace unnoticed.
        shown = channel.head if extent.epoch == channel.epoch else 0
        channel.set_position(extent.epoch, extent.base, max(shown, extent.end if away else extent.base))
        return True

    async def shown(
        self, workcells: Sequence[str], synced_extent: Callable[[str], Extent | None]
    ) -> tuple[dict[str, Extent], int]:
        """Return how far the logs of some workcells may be shown now, without opening their channels.

        Args:
            workcells: their ids.
            synced_extent: returns what may be shown of a log while the broker is away.

        Returns:
            The ranges, and the number of logs that are left out: another root has published them, or they fail.
        """
        try:
            watermarks = await self._source.watermarks(list(workcells))
        except BrokerError:
            return await asyncio.to_thread(_synced, workcells, synced_extent)
        return await asyncio.to_thread(self._shown, workcells, watermarks)

    def _shown(self, workcells: Sequence[str], watermarks: Sequence[Watermark]) -> tuple[dict[str, Extent], int]:
        published = [pair for pair in zip(workcells, watermarks, strict=True) if pair[1].epoch]
        shown = {
            workcell: Extent(watermark.epoch, watermark.base, watermark.head)
            for workcell, watermark in published
            if not self._is_foreign(workcell, watermark.origin)
        }
        return shown, len(published) - len(shown)

    def _is_foreign(self, workcell: str, origin: str) -> bool:
        return bool(origin) and self._archive.origin(workcell) not in (None, origin)

    def push(self, workcell: str, epoch: int, offset: int, lines: list[bytes]) -> None:
        """Hand consecutive events from the feed to the channel of their workcell."""
        channel = self._channels[workcell]
        if channel.loaded and channel.epoch == epoch:
            channel.push(offset, lines)
            return
        channel.announced = (epoch, offset + len(lines))
        if channel.loaded:
            channel.loaded = False  # another epoch: the broker must be asked which one is in force
            channel.notify()

    def recheck(self, workcell: str) -> None:
        """Ask the broker again for epoch and head of a workcell, if a viewer watches it."""
        channel = self._channels.get(workcell)
        if channel is not None and channel.loaded:
            channel.loaded = False
            channel.notify()

    def end(self, workcell: str) -> None:
        """End the channel of a workcell that is gone, and with it the subscriptions of its viewers."""
        channel = self._channels.pop(workcell, None)
        if channel is not None:
            channel.end()

    async def compare_heads(self) -> None:
        """Compare every channel with what the broker has, and keep the windows of those that are watched.

        Raises:
            BrokerError: the broker does not answer.
        """
        names = list(self._channels)
        if not names:
            return
        for name, watermark in zip(names, await self._source.watermarks(names), strict=True):
            channel = self._channels.get(name)
            if channel is None or not watermark.epoch or not channel.loaded:
                continue
            if channel.epoch == watermark.epoch:
                channel.set_position(watermark.epoch, watermark.base, watermark.head)
            else:
                channel.loaded = False  # the feed may have overtaken this answer: ask again
                channel.notify()
        with contextlib.suppress(BrokerError):  # refused by a full server, or a replica
            await self._source.mark_watched(
                [name for name in names if (one := self._channels.get(name)) and one.watched]
            )

    def sweep(self) -> None:
        """Drop the channels that no viewer watches."""
        for workcell in [name for name, channel in self._channels.items() if not channel.watched]:
            del self._channels[workcell]

    async def close(self) -> None:
        """Cancel the questions whose callers have left."""
        for task in self._loads.values():
            task.cancel()
        await asyncio.gather(*self._loads.values(), return_exceptions=True)


def _synced(workcells: Sequence[str], synced_extent: Callable[[str], Extent | None]) -> tuple[dict[str, Extent], int]:
    """Return what may be shown of some logs while the broker is away, and the number of those that fail."""
    shown: dict[str, Extent] = {}
    failed = 0
    for workcell in workcells:
        try:
            extent = synced_extent(workcell)
        except OSError:
            failed += 1
            continue
        if extent is not None:
            shown[workcell] = extent
    return shown, failed
