"""Channels of a hub, for tests: wait for a head, read all events."""

from __future__ import annotations

import asyncio

from support.waiting import DEADLINE
from workcast.consumer.channel import Channel
from workcast.consumer.frame import Frame
from workcast.consumer.hub import Hub


def _ignore() -> None:
    """A viewer that reads by itself."""


async def open_at(hub: Hub, workcell: str, head: int) -> Channel:
    """Return the workcell's channel once it has reached this head; watched, so that the hub keeps it."""
    async with asyncio.timeout(DEADLINE):
        while True:
            channel = await hub.channels.open(workcell)
            if channel is not None and channel.head >= head:
                channel.listen(_ignore)
                return channel
            await asyncio.sleep(0)


async def read_all(hub: Hub, channel: Channel, offset: int = 0) -> list[bytes]:
    """Return all events from ``offset`` up to the head."""
    lines: list[bytes] = []
    while offset < channel.head:
        found = await hub.refill.fetch(channel, offset)
        assert isinstance(found, Frame)
        assert found.offset == offset
        lines += found.lines
        offset = found.end
    return lines
