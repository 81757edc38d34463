"""Which epoch and head a channel has, and how long it is kept."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from support.channels import open_at
from support.logs import event_line, write_log
from support.viewers import running_hub
from support.waiting import wait_until_async
from workcast.broker.keys import feed_key
from workcast.broker.log import natural_epoch
from workcast.broker.relay import Relay
from workcast.broker.root import Root
from workcast.consumer.channel import Channel
from workcast.consumer.hub import Hub

LINES = [event_line(n) for n in range(50)]
EPOCH = natural_epoch(LINES[0])


async def test_after_another_epoch_in_the_feed_the_broker_is_asked_for_the_current_one(
    hub: Hub, root: Root, relay: Relay, redis_client: Any
) -> None:
    write_log(root, "wc", LINES)
    channel = await open_at(hub, "wc", 50)
    redis_client.xadd(feed_key(0), {"w": "wc", "e": 1, "o": 700, "d": "{}"})  # a straggler of an old epoch
    await wait_until_async(lambda: not channel.loaded)
    again = await hub.channels.open("wc")
    assert again is channel
    assert (channel.epoch, channel.head, channel.loaded) == (EPOCH, 50, True)


async def test_without_a_broker_a_replaced_log_does_not_get_the_head_of_the_old_one(tmp_path: Path, root: Root) -> None:
    write_log(root, "wc", LINES)
    async with running_hub(root, f"unix://{tmp_path}/none.sock", connected=False) as hub:
        channel = await hub.channels.open("wc")
        assert channel is not None
        channel.set_position(EPOCH, 0, 50)
        fresh = [event_line(0, "fresh")]
        write_log(root, "wc", fresh, "wb")
        await hub.channels.load(channel)
        # Nor any line of the new one, until a relay has published its epoch.
        assert (channel.epoch, channel.head) == (natural_epoch(fresh[0]), 0)


async def test_concurrent_opens_of_a_new_workcell_get_one_channel(hub: Hub, root: Root) -> None:
    root.workcell("wc").mkdir()
    channels = await asyncio.gather(*(hub.channels.open("wc") for _ in range(10)))
    assert channels[0] is not None
    assert all(channel is channels[0] for channel in channels)
    assert set(await asyncio.gather(hub.channels.open("unknown"), hub.channels.open("unknown"))) == {None}
    assert "unknown" not in hub.channels._channels


async def test_a_channel_that_is_dropped_while_it_is_opened_is_opened_again(hub: Hub, root: Root) -> None:
    root.workcell("wc").mkdir()

    async def opened() -> tuple[Channel | None, Channel | None]:
        return await hub.channels.open("wc"), hub.channels._channels.get("wc")

    opening = asyncio.create_task(opened())
    await asyncio.sleep(0)
    del hub.channels._channels["wc"]
    channel, kept = await opening
    assert channel is not None
    assert kept is channel


async def test_channels_without_viewers_are_dropped(hub: Hub, root: Root) -> None:
    for number in range(20):
        root.workcell(f"wc-{number}").mkdir()
        assert await hub.channels.open(f"wc-{number}") is not None
    await wait_until_async(lambda: not hub.channels._channels)
