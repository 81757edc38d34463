"""The hub: reads the feeds once for all viewers, keeps a channel for each watched workcell, and refills from history.

The feed is a hint: heads are the truth. A jump in it, or silence, is put right by comparing heads with the broker
every few seconds and at each discontinuity; what is missing comes from the ring, then the stream, then the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from workcast.broker.errors import BrokerError, EpochError, WorkcellIdError
from workcast.broker.root import check_workcell_id
from workcast.broker.stream import FeedEntry
from workcast.broker.watermark import Watermark
from workcast.consumer.archive import Archive
from workcast.consumer.channel import Channel
from workcast.consumer.fleet import Fleet
from workcast.consumer.frame import Frame, build_frame, split
from workcast.consumer.heartbeats import Heartbeats
from workcast.consumer.metrics import Metrics
from workcast.consumer.source import Missing, Source
from workcast.ledger.summary import Summary

_FEED_COUNT: Final = 2000
_BLOCK_MS: Final = 2000
_SWEEP_SECONDS: Final = 5.0
_FLEET_SECONDS: Final = 0.25
_COALESCE_SECONDS: Final = 0.02
_READ_COUNT: Final = 512
_LIST_SECONDS: Final = 1.0
"""How long a list of all workcells waits for what the fleet lacks."""
_ANSWER_SECONDS: Final = 10.0
"""A broker that does not answer for so long, or after a block for so long, is away: TCP alone may never say so."""
_MAX_BACKOFF_SECONDS: Final = 1.0

T = TypeVar("T")

logger = logging.getLogger("workcast.hub")


class Hub:
    """Everything viewers read from. Runs in one event loop; :meth:`run` is its only task."""

    def __init__(
        self,
        source: Source,
        archive: Archive,
        ring_bytes: int,
        frame_bytes: int,
        *,
        sweep_seconds: float = _SWEEP_SECONDS,
        answer_seconds: float = _ANSWER_SECONDS,
    ) -> None:
        self.fleet = Fleet()
        self.metrics = Metrics()
        self.heartbeats = Heartbeats()
        self._source = source
        self._archive = archive
        self._ring_bytes = ring_bytes
        self._frame_bytes = frame_bytes
        self._sweep_seconds = sweep_seconds
        self._answer_seconds = answer_seconds
        self._channels: dict[str, Channel] = {}
        self._dirty: set[str] = set()
        self._present: frozenset[str] = frozenset()
        """Workcells that have a directory, or stand in the broker's list, as the last look found them."""
        self._look: asyncio.Task[frozenset[str]] | None = None
        """The look that goes on now."""
        self._missed: set[str] = set()
        """Workcells of the fleet that the last sweep found nowhere."""
        self._after: str | None = None
        """Where to go on in the feed; None: not connected."""
        self._troubles: dict[str, str] = {"feed": "not connected yet"}
        """What fails now, by the task that it fails in."""
        self._reads: dict[tuple[str, int, int], asyncio.Task[Frame | Missing | None]] = {}
        self._loads: dict[Channel, asyncio.Task[bool]] = {}

    @property
    def broker_error(self) -> str | None:
        """Why events do not reach us now; None while they do."""
        return next(iter(self._troubles.values()), None)

    # ── living ───────────────────────────────────────────────────────────────────────────────────────────────────────
    async def run(self) -> None:
        """Read the feed, compare heads, and keep the fleet, until cancelled. Whatever fails is tried again."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._forever("feed", self._follow_feed))
                tasks.create_task(self._forever("heads", self._sweep))
                tasks.create_task(self._forever("fleet", self._refresh_fleet))
        finally:
            # Whoever asked may have gone before.
            looks = [self._look] if self._look is not None else []
            questions: list[asyncio.Task[Any]] = [*self._reads.values(), *self._loads.values(), *looks]
            for question in questions:
                question.cancel()
            await asyncio.gather(*questions, return_exceptions=True)

    async def _forever(self, name: str, turn: Callable[[], Awaitable[None]]) -> None:
        """Repeat ``turn``. No error ends it: a gateway that looks alive and hears nothing is worse than any of them."""
        backoff = 0.0
        while True:
            try:
                await turn()
            except Exception as error:
                known = isinstance(error, BrokerError)
                reason = str(error) if known else f"{type(error).__name__}: {error}"
                if reason not in self._troubles.values():
                    logger.warning("%s", reason, exc_info=None if known else error)
                self._troubles[name] = reason
                if name == "feed":
                    self._after = None
                backoff = min(max(2 * backoff, 0.05), _MAX_BACKOFF_SECONDS)
                await asyncio.sleep(backoff)
            else:
                backoff = 0.0
                self._troubles.pop(name, None)

    async def _ask(self, question: Awaitable[T]) -> T:
        """The broker's answer to ``question``.

        Raises:
            BrokerError: it cannot be reached, or does not answer.
        """
        try:
            async with asyncio.timeout(self._answer_seconds):
                return await question
        except TimeoutError as error:
            raise BrokerError(f"no answer from Redis for {self._answer_seconds:g} s; is it stopped?") from error

    async def _follow_feed(self) -> None:
        """Find the feed's end, or read what came after the last turn."""
        if self._after is None:
            await self._ask(self._source.check())
            after = await self._ask(self._source.feed_end(0))
            await self._compare_heads()  # whatever came while nobody was reading the feed
            self._after = after
            return
        after, entries = await self._ask(self._source.read_feed(0, self._after, _FEED_COUNT, _BLOCK_MS))
        if not entries and _id(after) > _id(await self._ask(self._source.feed_end(0))):
            self._after = None  # the feed began anew (flushed, failed over): a cursor past its end would wait for ever
            return
        self._after = after
        self._distribute(entries)
        # The viewers' turn. What comes while they are served, and for as long again, makes the next batch: idle, an
        # event waits for nothing; the more viewers there are, the more events share a frame.
        loop = asyncio.get_running_loop()
        start = loop.time()
        await asyncio.sleep(0)
        await asyncio.sleep(min(loop.time() - start, _COALESCE_SECONDS))

    def _distribute(self, entries: Iterable[FeedEntry]) -> None:
        """Give each watched workcell's consecutive events to its channel as one run."""
        runs: dict[str, tuple[int, int, list[bytes]]] = {}
        for entry in entries:
            if not entry.workcell:
                self.heartbeats.record(entry.data, asyncio.get_running_loop().time())
                continue
            self._dirty.add(entry.workcell)
            self.metrics.events_in.inc()
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
        if channel.loaded and channel.epoch == epoch:
            channel.push(offset, lines)
            return
        channel.heard = (epoch, offset + len(lines))
        if channel.loaded:
            channel.loaded = False  # another epoch: ask the broker which one is in force
            channel.notify()

    async def _sweep(self) -> None:
        if "heads" not in self._troubles:  # else the time between two tries is over
            await asyncio.sleep(self._sweep_seconds)
        for workcell in [name for name, channel in self._channels.items() if not channel.watched]:
            del self._channels[workcell]
        await self._compare_heads()
        ids = await self._ids()
        self._dirty.update(ids)
        # Gone at two sweeps in a row: after a flush the relay tells of its workcells again within a few seconds.
        gone = set(self.fleet.ids()) - ids
        self.fleet.update({}, removed=gone & self._missed)
        self._missed = gone

    async def _compare_heads(self) -> None:
        names = list(self._channels)
        if not names:
            return
        for name, watermark in zip(names, await self._ask(self._source.watermarks(names)), strict=True):
            channel = self._channels.get(name)
            if channel is None or not watermark.epoch:
                continue
            if channel.loaded and channel.epoch != watermark.epoch:
                channel.loaded = False  # perhaps an answer that the feed has overtaken: ask anew
                channel.notify()
            elif channel.loaded:
                channel.set_position(watermark.epoch, watermark.base, watermark.head)

    async def _refresh_fleet(self) -> None:
        """Fetch the summaries of workcells that something happened to, at most four times a second."""
        if not self.fleet.ids():
            self._dirty.update(await self._ids())
        dirty, self._dirty = self._dirty, set()
        if dirty:
            try:
                await self._fetch_summaries(dirty)
            except BrokerError:
                self._dirty |= dirty
                raise
        await asyncio.sleep(_FLEET_SECONDS)

    async def _fetch_summaries(self, workcells: set[str]) -> None:
        found = await self._ask(self._source.summaries(sorted(workcells)))
        # One without a summary must have been there at the last look: what is gone by now is not to come back.
        there = {name for name in workcells if name in found or name in self._present}
        self.fleet.update({name: self._summary(name, found.get(name)) for name in there})

    def _summary(self, workcell: str, data: bytes | None) -> dict[str, Any]:
        if data is not None:
            try:
                return Summary.model_validate_json(data).model_dump(mode="json")
            except ValidationError as error:
                logger.warning("the summary of %s in the broker is malformed: %s", workcell, error.errors()[0]["msg"])
        known = self.fleet.get(workcell)  # the broker has forgotten; the relay will tell it again
        return dict(known) if known is not None else Summary(id=workcell).model_dump(mode="json")

    async def _ids(self) -> frozenset[str]:
        """Look at all directories and at the broker's list: at what there is now, so not by a look that began before.

        All who ask while one goes on share the next.
        """
        if self._look is not None:
            await asyncio.wait({self._look})
        if self._look is None:
            self._look = asyncio.create_task(self._look_at_all())
            self._look.add_done_callback(self._end_look)
        return await asyncio.shield(self._look)

    async def _look_at_all(self) -> frozenset[str]:
        here = await asyncio.to_thread(self._archive.ids)
        self._present = frozenset((*here, *await self._ask(self._source.workcells())))
        return self._present

    def _end_look(self, look: asyncio.Task[frozenset[str]]) -> None:
        self._look = None
        if not look.cancelled():
            look.exception()  # whoever waited has it; nobody may have

    # ── what sessions ask ────────────────────────────────────────────────────────────────────────────────────────────
    async def complete_fleet(self, workcell: str | None = None) -> None:
        """Take workcells into the fleet, or one of them, that it would have at its next turns.

        So whoever was shown events of a workcell finds it in the fleet. A broker that does not answer is left alone.
        """
        if self.broker_error is None:
            with contextlib.suppress(BrokerError, TimeoutError, WorkcellIdError):
                async with asyncio.timeout(_LIST_SECONDS):
                    asked = await self._ids() if workcell is None else {check_workcell_id(workcell)}
                    if new := set(asked) - set(self.fleet.ids()):
                        await self._fetch_summaries(new)
                        self._dirty |= new  # the answer may have been overtaken

    async def open(self, workcell: str) -> Channel | None:
        """The channel of a workcell, up to date with the broker; None if neither broker nor log knows it."""
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
                continue  # swept away meanwhile: nobody would feed it
            if known:
                return channel
            if not channel.watched:
                del self._channels[workcell]
            return None

    async def load(self, channel: Channel) -> bool:
        """Ask the broker, or else the log, which epoch and head are in force; False if neither knows the workcell.

        One question serves all who ask meanwhile.
        """
        task = self._loads.get(channel)
        if task is None:
            task = self._loads[channel] = asyncio.create_task(self._load(channel))
            task.add_done_callback(lambda _: self._loads.pop(channel, None))
        return await asyncio.shield(task)

    async def _load(self, channel: Channel) -> bool:
        channel.heard = None
        away = False
        try:
            watermark = (await self._ask(self._source.watermarks([channel.workcell])))[0]
        except BrokerError:
            watermark, away = Watermark(), True
        if watermark.epoch:
            channel.foreign = await asyncio.to_thread(self._is_foreign, channel.workcell, watermark.origin)
            channel.set_position(watermark.epoch, watermark.base, watermark.head)
            return True
        try:
            ask = self._archive.synced_extent if away else self._archive.extent
            extent = await asyncio.to_thread(ask, channel.workcell)
        except OSError as error:
            logger.warning("the log of %s cannot be read: %s", channel.workcell, error)
            extent = None
        if extent is None:
            channel.loaded = channel.watched  # its viewers keep what they have, until the feed tells of it again
            return channel.loaded
        # While the broker is there, nothing may be shown yet: the relay will tell the head. While it is not, everything
        # that a crash cannot take back, and that no other log can take the place of unseen.
        shown = channel.head if extent.epoch == channel.epoch else 0
        channel.set_position(extent.epoch, extent.base, max(shown, extent.end if away else extent.base))
        return True

    def _is_foreign(self, workcell: str, origin: str) -> bool:
        return bool(origin) and self._archive.origin(workcell) not in (None, origin)

    async def fetch(self, channel: Channel, offset: int) -> Frame | Missing | None:
        """The frame that begins at ``offset`` (below the head): from the ring, else the stream, else the log.

        One read serves every viewer that asks for the same place meanwhile. None: the epoch changed under the read.
        """
        frame = channel.frame_at(offset)
        if frame is not None:
            self.metrics.ring.inc()
            return frame
        key = (channel.workcell, channel.epoch, offset)
        task = self._reads.get(key)
        if task is None or task.done():  # one that is done tells the head of then
            task = self._reads[key] = asyncio.create_task(self._read(channel, offset))
            task.add_done_callback(partial(self._end_read, key))
        return await asyncio.shield(task)

    def _end_read(self, key: tuple[str, int, int], task: asyncio.Task[Frame | Missing | None]) -> None:
        if self._reads.get(key) is task:
            del self._reads[key]

    async def page(self, channel: Channel, offset: int, limit: int) -> tuple[int, list[bytes]]:
        """At most ``limit`` events for who asks once, from log or else stream, and the offset of the first one.

        They begin at ``offset``, or at the first one after it that can be had.

        Raises:
            BrokerError: the log does not have them, and the broker cannot be asked.
        """
        epoch, head = channel.epoch, channel.head
        offset = max(offset, channel.base)
        if offset >= head:
            return offset, []
        lines = await self._read_archive(channel, epoch, offset, min(limit, head - offset))
        if not lines and offset < (base := await self._archived_base(channel, epoch)) < head:
            offset = base
            lines = await self._read_archive(channel, epoch, offset, min(limit, head - offset))
        if lines:
            return offset, lines
        first, found = await self._ask(self._source.read_stream(channel.workcell, epoch, offset, limit))
        return first, found[: max(0, head - first)]

    async def _read(self, channel: Channel, offset: int) -> Frame | Missing | None:
        workcell, epoch, head = channel.workcell, channel.epoch, channel.head
        if offset < channel.base:
            return Missing(offset, channel.base, "pruned")
        first, lines = offset, list[bytes]()
        count = min(head - offset, channel.lines_for(self._frame_bytes, _READ_COUNT))
        with contextlib.suppress(BrokerError):
            first, lines = await self._ask(self._source.read_stream(workcell, epoch, offset, count))
        tier = self.metrics.stream
        if not lines or first > offset:
            limit = min((first if lines else head) - offset, count)
            older = await self._read_archive(channel, epoch, offset, limit)
            if channel.epoch != epoch:
                return None
            if not older and offset < (base := await self._archived_base(channel, epoch)):
                return Missing(offset, min(base, head), "pruned")  # since the broker was told of its base
            if not older:
                return Missing(offset, min(first, head) if lines else head, "unavailable")
            lines, tier = older, self.metrics.log
        if channel.epoch != epoch:
            return None
        run = next(iter(split(lines, self._frame_bytes)))
        channel.saw(run)
        tier.inc()
        return build_frame(workcell, epoch, offset, max(channel.head, offset + len(run)), run)

    async def _read_archive(self, channel: Channel, epoch: int, offset: int, limit: int) -> list[bytes]:
        """Lines of the log; none if it has another epoch, or cannot be read."""
        try:
            return await asyncio.to_thread(self._archive.read, channel.workcell, epoch, offset, limit)
        except EpochError:
            await self.load(channel)
        except OSError as error:
            logger.warning("the log of %s cannot be read: %s", channel.workcell, error)
        return []

    async def _archived_base(self, channel: Channel, epoch: int) -> int:
        """The base of the log as it is now, which the channel takes over; 0 if it is not here, or of another epoch."""
        try:
            extent = await asyncio.to_thread(self._archive.extent, channel.workcell)
        except OSError:
            extent = None  # told when it was read
        if extent is None or not epoch == extent.epoch == channel.epoch:
            return 0
        channel.base = max(channel.base, extent.base)
        return extent.base


def origin_conflict(workcell: str) -> str:
    """Why nothing of a workcell is shown that two roots have."""
    return f"{workcell!r} of another root is published here; rename one of the two"


def _id(text: str) -> tuple[int, int]:
    """A stream ID as Redis orders it."""
    milliseconds, _, sequence = text.partition("-")
    return int(milliseconds), int(sequence)
