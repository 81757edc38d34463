"""The hub: reads the feeds once for all viewers, keeps a channel for each watched workcell, and refills from history.

The feed is a hint: heads are the truth. A jump in it, or silence, is put right by comparing heads with the broker
every few seconds and at each discontinuity; what is missing comes from the ring, then the stream, then the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from pydantic_core import from_json

from workcast.broker.errors import BrokerError, EpochError, WorkcellIdError
from workcast.broker.history import Extent
from workcast.broker.root import check_workcell_id
from workcast.broker.stream import FeedEntry, Position
from workcast.broker.summary import Summary
from workcast.consumer.channel import Channel
from workcast.consumer.fleet import Fleet
from workcast.consumer.frame import Frame, build_frame, split

_FEED_COUNT: Final = 2000
_BLOCK_MS: Final = 2000
_SWEEP_SECONDS: Final = 5.0
_FLEET_SECONDS: Final = 0.25
_READ_COUNT: Final = 512
_MAX_BACKOFF_SECONDS: Final = 1.0

logger = logging.getLogger("workcast.hub")


class Source(Protocol):
    """What the hub reads from the broker."""

    async def check(self) -> None: ...

    async def feed_end(self, number: int, /) -> str: ...

    async def read_feed(self, number: int, after: str, count: int, block_ms: int, /) -> tuple[str, list[FeedEntry]]: ...

    async def read_stream(self, workcell: str, epoch: int, offset: int, count: int, /) -> tuple[int, list[bytes]]: ...

    async def positions(self, workcells: list[str], /) -> list[Position]: ...

    async def workcells(self) -> list[str]: ...

    async def summaries(self, workcells: list[str], /) -> dict[str, bytes]: ...


class Archive(Protocol):
    """What the hub reads when the broker no longer has it."""

    def ids(self) -> list[str]: ...

    def extent(self, workcell: str, /) -> Extent | None: ...

    def read(self, workcell: str, epoch: int, offset: int, limit: int, /) -> list[bytes]: ...


@dataclass(frozen=True, slots=True)
class Missing:
    """Events that cannot be had: they go on at ``until``."""

    offset: int
    until: int
    reason: Literal["pruned", "unavailable"]


class Hub:
    """Everything viewers read from. Runs in one event loop; :meth:`run` is its only task."""

    def __init__(self, source: Source, archive: Archive, ring_bytes: int, frame_bytes: int) -> None:
        self.fleet = Fleet()
        self.broker_error: str | None = "not connected yet"
        """Why nothing comes from the broker now; None while it does."""
        self._source = source
        self._archive = archive
        self._ring_bytes = ring_bytes
        self._frame_bytes = frame_bytes
        self._channels: dict[str, Channel] = {}
        self._dirty: set[str] = set()
        self._reads: dict[tuple[str, int, int], asyncio.Task[Frame | Missing | None]] = {}

    # ── living ───────────────────────────────────────────────────────────────────────────────────────────────────────
    async def run(self) -> None:
        """Read the feed, compare heads, and keep the fleet, until cancelled. Whatever fails is tried again."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._forever(self._follow_feed))
            tasks.create_task(self._forever(self._sweep))
            tasks.create_task(self._forever(self._refresh_fleet))

    async def _forever(self, work: Callable[[], Awaitable[None]]) -> None:
        backoff = 0.0
        while True:
            try:
                await work()
                backoff = 0.0
            except BrokerError as error:
                if self.broker_error is None:
                    logger.warning("%s", error)
                self.broker_error = str(error)
                backoff = min(max(2 * backoff, 0.05), _MAX_BACKOFF_SECONDS)
                await asyncio.sleep(backoff)

    async def _follow_feed(self) -> None:
        """Read one feed for as long as the connection holds."""
        await self._source.check()
        after = await self._source.feed_end(0)
        await self._compare_heads()  # whatever came while nobody was reading the feed
        if self.broker_error is not None:
            logger.info("connected to the broker")
        self.broker_error = None
        while True:
            after, entries = await self._source.read_feed(0, after, _FEED_COUNT, _BLOCK_MS)
            if not entries and after > await self._source.feed_end(0):
                return  # the feed began anew (flushed, failed over): a cursor past its end would wait for ever
            self._distribute(entries)
            await asyncio.sleep(0)  # the viewers' turn, before the next batch

    def _distribute(self, entries: Iterable[FeedEntry]) -> None:
        """Give each watched workcell's consecutive events to its channel as one run."""
        runs: dict[str, tuple[int, int, list[bytes]]] = {}
        for entry in entries:
            self._dirty.add(entry.workcell)
            if entry.workcell not in self._channels:
                continue
            run = runs.get(entry.workcell)
            if run is not None and run[0] == entry.epoch and run[1] + len(run[2]) == entry.offset:
                run[2].append(entry.data)
                continue
            if run is not None:
                self._take(entry.workcell, *run)
            runs[entry.workcell] = (entry.epoch, entry.offset, [entry.data])
        for workcell, run in runs.items():
            self._take(workcell, *run)

    def _take(self, workcell: str, epoch: int, offset: int, lines: list[bytes]) -> None:
        channel = self._channels[workcell]
        if channel.epoch == epoch:
            channel.push(offset, lines)
        elif channel.loaded:
            channel.loaded = False  # another epoch: ask the broker which one is in force
            channel.notify()

    async def _sweep(self) -> None:
        await asyncio.sleep(_SWEEP_SECONDS)
        for workcell in [name for name, channel in self._channels.items() if not channel.watched]:
            del self._channels[workcell]
        await self._compare_heads()
        self._dirty.update(await self._ids())

    async def _compare_heads(self) -> None:
        names = list(self._channels)
        for name, position in zip(names, await self._source.positions(names) if names else [], strict=True):
            channel = self._channels.get(name)
            if channel is not None and position.epoch is not None:
                channel.set_position(position.epoch, position.base, position.head)

    async def _refresh_fleet(self) -> None:
        """Fetch the summaries of workcells that something happened to, at most four times a second."""
        if not self.fleet.ids():
            self._dirty.update(await self._ids())
        dirty, self._dirty = self._dirty, set()
        if dirty:
            try:
                found = await self._source.summaries(sorted(dirty))
            except BrokerError:
                self._dirty |= dirty
                raise
            self.fleet.update({name: self._summary(name, found.get(name)) for name in dirty})
        await asyncio.sleep(_FLEET_SECONDS)

    def _summary(self, workcell: str, data: bytes | None) -> dict[str, Any]:
        if data is not None:
            summary: dict[str, Any] = from_json(data)
            return summary
        known = self.fleet.get(workcell)  # the broker has forgotten; the relay will tell it again
        return dict(known) if known is not None else Summary(id=workcell).model_dump(mode="json")

    async def _ids(self) -> set[str]:
        here = await asyncio.to_thread(self._archive.ids)
        return {*here, *await self._source.workcells()}

    # ── what sessions ask ────────────────────────────────────────────────────────────────────────────────────────────
    async def open(self, workcell: str) -> Channel | None:
        """The channel of a workcell, up to date with the broker; None if neither broker nor log knows it."""
        try:
            check_workcell_id(workcell)
        except WorkcellIdError:
            return None
        channel = self._channels.get(workcell)
        if channel is None:
            # In place before the broker is asked, so that what the feed brings meanwhile is not missed.
            channel = self._channels[workcell] = Channel(workcell, self._ring_bytes, self._frame_bytes)
        if not channel.loaded and not await self.load(channel):
            if not channel.watched and self._channels.get(workcell) is channel:
                del self._channels[workcell]
            return None
        return channel

    async def load(self, channel: Channel) -> bool:
        """Ask the broker, or else the log, which epoch and head are in force; False if neither knows the workcell."""
        try:
            position = (await self._source.positions([channel.workcell]))[0]
        except BrokerError:
            position = Position(None, 0, None)
        if position.epoch is not None:
            channel.set_position(position.epoch, position.base, position.head)
            return True
        extent = await asyncio.to_thread(self._archive.extent, channel.workcell)
        if extent is None:
            return False
        # Nothing is published, so nothing may be shown yet: the relay will tell the head.
        channel.set_position(extent.epoch, extent.base, max(channel.head, extent.base))
        return True

    async def fetch(self, channel: Channel, offset: int) -> Frame | Missing | None:
        """The frame that begins at ``offset`` (below the head): from the ring, else the stream, else the log.

        One read serves every viewer that asks for the same place meanwhile. None: the epoch changed under the read.
        """
        frame = channel.frame_at(offset)
        if frame is not None:
            return frame
        key = (channel.workcell, channel.epoch, offset)
        task = self._reads.get(key)
        if task is None:
            task = self._reads[key] = asyncio.create_task(self._read(channel, offset))
            task.add_done_callback(lambda _: self._reads.pop(key, None))
        return await asyncio.shield(task)

    async def _read(self, channel: Channel, offset: int) -> Frame | Missing | None:
        workcell, epoch, head = channel.workcell, channel.epoch, channel.head
        if offset < channel.base:
            return Missing(offset, channel.base, "pruned")
        first, lines = offset, list[bytes]()
        with contextlib.suppress(BrokerError):
            first, lines = await self._source.read_stream(workcell, epoch, offset, min(head - offset, _READ_COUNT))
        if not lines or first > offset:
            limit = min((first if lines else head) - offset, _READ_COUNT)
            try:
                older = await asyncio.to_thread(self._archive.read, workcell, epoch, offset, limit)
            except EpochError:
                await self.load(channel)
                older = []
                if channel.epoch != epoch:
                    return None
            if not older:
                return Missing(offset, first if lines else head, "unavailable")
            lines = older
        if channel.epoch != epoch:
            return None
        run = next(iter(split(lines, self._frame_bytes)))
        return build_frame(workcell, epoch, offset, max(channel.head, offset + len(run)), run)
