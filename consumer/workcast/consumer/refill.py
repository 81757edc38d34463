"""Refills: events below a channel's head, from its ring, else the stream, else the log."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

from workcast.broker.errors import BrokerError, EditedLogError, EpochError
from workcast.consumer.archive import Archive
from workcast.consumer.channel import Channel
from workcast.consumer.channels import Channels
from workcast.consumer.frame import Frame, build_frame, split
from workcast.consumer.metrics import Metrics
from workcast.consumer.source import Source

_READ_COUNT: Final = 512
_READS_AT_ONCE: Final = 2
"""Of logs, by threads that compete with the event loop."""
_WINDOW_SECONDS: Final = 3.0
"""How long a reader waits for a relay to publish a window that was requested."""
_WINDOW_POLL_SECONDS: Final = 0.1
_WINDOW_PAUSE_SECONDS: Final = 10.0
"""After a request that no relay answered, until the next one for the same workcell."""

logger = logging.getLogger("workcast.hub")


@dataclass(frozen=True, slots=True)
class Missing:
    """Events that are not available; the ones after them start at ``until``."""

    offset: int
    until: int
    reason: Literal["pruned", "unavailable"]


@dataclass(frozen=True, slots=True)
class Pending:
    """Events that may be available once a window that was requested is published, or ``window`` is over."""

    window: asyncio.Task[None]


class Refill:
    """Reads old events once for all viewers that need them."""

    def __init__(
        self, source: Source, archive: Archive, channels: Channels, metrics: Metrics, frame_bytes: int
    ) -> None:
        self._source = source
        self._archive = archive
        self._channels = channels
        self._metrics = metrics
        self._frame_bytes = frame_bytes
        self._reads: dict[tuple[str, int, int], asyncio.Task[Frame | Missing | Pending | None]] = {}
        self._windows: dict[Channel, asyncio.Task[None]] = {}
        self._reading = asyncio.Semaphore(_READS_AT_ONCE)

    def in_memory(self, channel: Channel, offset: int) -> Frame | None:
        """Return the frame that begins at ``offset`` if the ring has it."""
        frame = channel.frame_at(offset)
        if frame is not None:
            self._metrics.ring.inc()
        return frame

    async def fetch(self, channel: Channel, offset: int) -> Frame | Missing | None:
        """Like :meth:`try_fetch`, but wait for a window that has to be requested."""
        while isinstance(found := await self.try_fetch(channel, offset), Pending):
            await asyncio.shield(found.window)
        return found

    async def try_fetch(self, channel: Channel, offset: int) -> Frame | Missing | Pending | None:
        """Return the frame that begins at ``offset``, which is below the head; None if the epoch changed meanwhile.

        Concurrent callers at the same place share one read.
        """
        frame = self.in_memory(channel, offset)
        if frame is not None:
            return frame
        key = (channel.workcell, channel.epoch, offset)
        task = self._reads.get(key)
        if task is None or task.done():  # the head in a finished one is outdated
            task = self._reads[key] = asyncio.create_task(self._read(channel, offset))
            task.add_done_callback(partial(self._end_read, key))
        return await asyncio.shield(task)

    def _end_read(self, key: tuple[str, int, int], task: asyncio.Task[Frame | Missing | Pending | None]) -> None:
        if self._reads.get(key) is task:
            del self._reads[key]

    async def page(self, channel: Channel, offset: int, limit: int) -> tuple[int, list[bytes]]:
        """Return at most ``limit`` events, from the log or else the stream, and the offset of the first one.

        They start at ``offset``, or at the first one after it that is available.

        Raises:
            BrokerError: the log does not have them, and the broker does not answer.
        """
        epoch, head = channel.epoch, channel.head
        offset = max(offset, channel.base)
        if offset >= head:
            return offset, []
        lines = await self._read_log(channel, epoch, offset, min(limit, head - offset))
        if not lines and offset < (base := await self._log_base(channel, epoch)) < head:
            offset = base
            lines = await self._read_log(channel, epoch, offset, min(limit, head - offset))
        if lines:
            return offset, lines
        first, found = await self._source.read_stream(channel.workcell, epoch, offset, limit)
        if not found and (window := self._request_window(channel)) is not None:
            await asyncio.shield(window)
            first, found = await self._source.read_stream(channel.workcell, epoch, offset, limit)
        return first, found[: max(0, head - first)]

    async def report_edit(self, error: EditedLogError) -> None:
        """Ask a relay to give an edited log another epoch; without a broker, the next reader asks again."""
        with contextlib.suppress(BrokerError):
            await self._source.report_edit(error.workcell, error.epoch, error.offset)

    async def close(self) -> None:
        """Cancel the reads whose callers have left."""
        tasks: tuple[asyncio.Task[Any], ...] = (*self._reads.values(), *self._windows.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, channel: Channel, offset: int) -> Frame | Missing | Pending | None:
        epoch, head = channel.epoch, channel.head
        if offset < channel.base:
            return Missing(offset, channel.base, "pruned")
        count = min(head - offset, channel.lines_for(self._frame_bytes, _READ_COUNT))
        lines, found, until = list[bytes](), list[bytes](), head
        tier = self._metrics.log
        log_first = not channel.stream_may_hold(offset)
        if log_first:
            lines = await self._read_log(channel, epoch, offset, count)
        if not lines:
            first, found = await self._read_stream(channel, epoch, offset, count)
            if found and first == offset:
                lines, tier = found, self._metrics.stream
            else:
                until = min(first, head) if found else head
                if not log_first:
                    lines = await self._read_log(channel, epoch, offset, min(until - offset, count))
        if channel.epoch != epoch:
            return None
        if not lines:
            base = await self._log_base(channel, epoch)
            if offset < base:
                return Missing(offset, min(base, head), "pruned")  # after the broker was last given its base
            if not found and (window := self._request_window(channel)) is not None:
                return Pending(window)
            return Missing(offset, until, "unavailable")
        run = next(iter(split(lines, self._frame_bytes)))
        channel.note_size(run)
        tier.inc()
        return build_frame(channel.workcell, epoch, offset, max(channel.head, offset + len(run)), run)

    async def _read_stream(self, channel: Channel, epoch: int, offset: int, count: int) -> tuple[int, list[bytes]]:
        """Read events at or after ``offset``; none if the broker does not answer."""
        try:
            first, found = await self._source.read_stream(channel.workcell, epoch, offset, count)
        except BrokerError:
            return offset, []
        if channel.epoch == epoch:
            channel.note_stream(offset, first if found else channel.head)
        return first, found

    def _request_window(self, channel: Channel) -> asyncio.Task[None] | None:
        """Ask the relays for the window of a workcell without a stream; None if they were asked a moment ago.

        Concurrent callers share one request.
        """
        now = asyncio.get_running_loop().time()
        task = self._windows.get(channel)
        if task is None and now >= channel.window_due:
            channel.window_due = now + _WINDOW_PAUSE_SECONDS
            task = self._windows[channel] = asyncio.create_task(self._await_window(channel, channel.epoch))
            task.add_done_callback(lambda _: self._windows.pop(channel, None))
        return task

    async def _await_window(self, channel: Channel, epoch: int) -> None:
        """Request a window, and wait until the stream has come up to the head, or no longer."""
        with contextlib.suppress(BrokerError, TimeoutError):
            async with asyncio.timeout(_WINDOW_SECONDS):
                await self._source.request_window(channel.workcell)
                while channel.epoch == epoch:
                    (watermark,) = await self._source.watermarks([channel.workcell])
                    if watermark.epoch == epoch and watermark.crc is not None:
                        return
                    await asyncio.sleep(_WINDOW_POLL_SECONDS)

    async def _read_log(self, channel: Channel, epoch: int, offset: int, limit: int) -> list[bytes]:
        """Read lines of the log; none if it is of another epoch, is not here, or cannot be read."""
        try:
            async with self._reading:
                return await asyncio.to_thread(self._archive.read, channel.workcell, epoch, offset, limit)
        except EditedLogError as error:
            await self.report_edit(error)
        except EpochError:
            await self._channels.load(channel)
        except OSError as error:
            logger.warning("the log of %s cannot be read: %s", channel.workcell, error)
        return []

    async def _log_base(self, channel: Channel, epoch: int) -> int:
        """Return the base of the log now, and raise the channel's to it; 0 if it is not here or of another epoch."""
        try:
            extent = await asyncio.to_thread(self._archive.extent, channel.workcell)
        except OSError:
            return 0  # reported when it was read
        if extent is None or not epoch == extent.epoch == channel.epoch:
            return 0
        channel.base = max(channel.base, extent.base)
        return extent.base
