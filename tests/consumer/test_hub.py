from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from support.history_checker import Log, problems
from support.log_edits import prune
from support.logs import event_line, write_log
from support.viewers import Viewer, events_of, head_of, running_hub, running_relay
from support.waiting import DEADLINE, wait_until_async
from workcast.broker.embedded import EmbeddedBroker
from workcast.broker.log import natural_epoch
from workcast.broker.relay import Relay
from workcast.broker.root import Root
from workcast.broker.stream import Budgets, feed_key, stream_key, summary_key
from workcast.consumer.channel import Channel
from workcast.consumer.frame import Frame
from workcast.consumer.hub import Hub
from workcast.consumer.refill import Missing
from workcast.consumer.source import Source

LINES = [event_line(n) for n in range(50)]
EPOCH = natural_epoch(LINES[0])


def _watch() -> None:
    """A viewer that looks for itself."""


async def open_at(hub: Hub, workcell: str, head: int) -> Channel:
    """The workcell's channel, once it has come to this head; watched, so that the hub keeps it."""
    async with asyncio.timeout(DEADLINE):
        while True:
            channel = await hub.channels.open(workcell)
            if channel is not None and channel.head >= head:
                channel.listen(_watch)
                return channel
            await asyncio.sleep(0)


async def read_all(hub: Hub, channel: Channel, offset: int = 0) -> list[bytes]:
    lines: list[bytes] = []
    while offset < channel.head:
        found = await hub.refill.fetch(channel, offset)
        assert isinstance(found, Frame)
        assert found.offset == offset
        lines += found.lines
        offset = found.end
    return lines


def status_of(hub: Hub, workcell: str) -> str | None:
    summary = hub.fleet.get(workcell)
    return None if summary is None else summary.status


class Counting:
    """The broker, as a hub reads it, and how often each question was put."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.asked.append(name)
        return getattr(self._source, name)


# ── where events come from ───────────────────────────────────────────────────────────────────────────────────────────
async def test_the_newest_events_come_from_memory(hub: Hub, root: Root, redis_url: str, redis_client: Any) -> None:
    with running_relay(root, redis_url):
        write_log(root, "wc", LINES[:1])
        channel = await open_at(hub, "wc", 1)
        channel.listen(lambda: None)  # else a sweep forgets it
        write_log(root, "wc", LINES[1:])
        # The head may be heard of before the feed has brought the events.
        await wait_until_async(lambda: channel.frame_at(49) is not None)
    redis_client.flushall()
    root.log("wc").unlink()
    assert await read_all(hub, channel, 1) == LINES[1:]


async def test_older_events_come_from_the_stream(hub: Hub, root: Root, relay: Relay, redis_client: Any) -> None:
    write_log(root, "wc", LINES)
    await wait_until_async(lambda: redis_client.xlen(stream_key("wc")) == 50)
    root.log("wc").unlink()
    channel = await open_at(hub, "wc", 50)
    assert channel.frame_at(0) is None
    assert await read_all(hub, channel) == LINES


async def test_events_older_than_the_stream_come_from_the_log_up_to_where_it_begins(
    root: Root, redis_url: str, redis_client: Any
) -> None:
    write_log(root, "wc", LINES)
    with running_relay(root, redis_url, Budgets(stream_entries=10)):
        async with running_hub(root, redis_url) as hub:
            channel = await open_at(hub, "wc", 50)
            assert await read_all(hub, channel) == LINES
            redis_client.xtrim(stream_key("wc"), maxlen=0)
            assert await read_all(hub, channel) == LINES


async def test_what_neither_stream_nor_log_has_is_missing_up_to_what_there_is(
    hub: Hub, root: Root, redis_url: str, redis_client: Any
) -> None:
    write_log(root, "wc", LINES)
    with running_relay(root, redis_url):
        await wait_until_async(lambda: redis_client.xlen(stream_key("wc")) == 50)
    root.log("wc").unlink()
    redis_client.xtrim(stream_key("wc"), maxlen=10, approximate=False)
    channel = await open_at(hub, "wc", 50)
    assert await hub.refill.fetch(channel, 0) == Missing(0, 40, "unavailable")
    assert await read_all(hub, channel, 40) == LINES[40:]
    redis_client.delete(stream_key("wc"))
    assert await hub.refill.fetch(channel, 0) == Missing(0, 50, "unavailable")


async def test_what_was_pruned_is_said_to_be_so_even_before_a_relay_has_seen_it(root: Root, redis_url: str) -> None:
    path = write_log(root, "wc", LINES)
    with running_relay(root, redis_url, Budgets(stream_entries=10)):
        async with running_hub(root, redis_url) as hub:
            await open_at(hub, "wc", 50)
    prune(path, EPOCH, 20)
    async with running_hub(root, redis_url) as hub:
        channel = await open_at(hub, "wc", 50)
        assert channel.base == 0
        assert await hub.refill.fetch(channel, 5) == Missing(5, 20, "pruned")
        assert channel.base == 20
        assert await read_all(hub, channel, 20) == LINES[20:]
    async with running_hub(root, redis_url) as hub:
        assert await hub.refill.page(await open_at(hub, "wc", 50), 5, 3) == (20, LINES[20:23])


async def test_a_log_that_cannot_be_read_is_missing_events_and_no_crash(
    hub: Hub, root: Root, redis_url: str, redis_client: Any
) -> None:
    write_log(root, "wc", LINES)
    with running_relay(root, redis_url):
        channel = await open_at(hub, "wc", 50)
    channel._clear()
    redis_client.delete(stream_key("wc"))
    root.log("wc").unlink()
    root.log("wc").mkdir()
    assert await hub.refill.fetch(channel, 0) == Missing(0, 50, "unavailable")
    redis_client.delete(summary_key("wc"))
    async with running_hub(root, redis_url) as other:
        channel = await open_at(other, "wc", 0)
        assert (channel.epoch, channel.head) == (0, 0)


async def test_viewers_at_one_place_share_one_read_and_one_frame(root: Root, redis_url: str, relay: Relay) -> None:
    write_log(root, "wc", LINES)
    async with running_hub(root, redis_url) as hub:
        channel = await open_at(hub, "wc", 50)
        channel._clear()
        counting: Any = Counting(hub.refill._source)
        hub.refill._source = counting
        frames = await asyncio.gather(*(hub.refill.fetch(channel, 0) for _ in range(20)))
        assert counting.asked.count("read_stream") == 1
        assert all(frame is frames[0] for frame in frames)


async def test_a_reader_that_leaves_takes_nothing_from_the_others(root: Root, redis_url: str, relay: Relay) -> None:
    write_log(root, "wc", LINES)
    async with running_hub(root, redis_url) as hub:
        channel = await open_at(hub, "wc", 50)
        channel._clear()
        first, second = (asyncio.create_task(hub.refill.fetch(channel, 0)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert isinstance(await second, Frame)
        assert first.cancelled()
        assert hub.refill._reads == {}


async def test_large_events_are_not_read_many_times_over(root: Root, redis_url: str, relay: Relay) -> None:
    lines = [event_line(n, "x" * 40_000) for n in range(200)]
    write_log(root, "wc", lines)
    read: list[int] = []
    async with running_hub(root, redis_url, frame_bytes=65536) as hub:
        channel = await open_at(hub, "wc", 200)
        channel._clear()
        source: Any = hub.refill._source
        ask = source.read_stream

        async def read_stream(*arguments: Any) -> Any:
            first, found = await ask(*arguments)
            read.append(len(found))
            return first, found

        source.read_stream = read_stream
        assert await read_all(hub, channel) == lines
        assert sum(read) < 3 * len(lines)


# ── the broker forgets, jumps, goes away ─────────────────────────────────────────────────────────────────────────────
async def test_after_a_flush_viewers_go_on_without_reset_gap_or_repetition(
    hub: Hub, root: Root, relay: Relay, redis_client: Any
) -> None:
    write_log(root, "wc", LINES[:30])
    async with Viewer(hub) as viewer:
        viewer.subscribe("wc")
        await wait_until_async(lambda: len(events_of(viewer.got, "wc")) == 30)
        redis_client.flushall()
        write_log(root, "wc", LINES[30:])
        await wait_until_async(lambda: len(events_of(viewer.got, "wc")) == 50)
        viewer.record()
    assert problems("wc", viewer.history, {EPOCH: Log(LINES)}, complete=EPOCH) == []


async def test_a_feed_that_lost_events_is_no_loss(hub: Hub, root: Root, relay: Relay, redis_client: Any) -> None:
    write_log(root, "wc", LINES[:1])
    async with Viewer(hub) as viewer:
        viewer.subscribe("wc")
        await viewer.until_op("live")
        # Trimmed at once, again and again: nobody can rely on what is in it.
        for line in LINES[1:]:
            write_log(root, "wc", [line])
            redis_client.xtrim(feed_key(0), maxlen=0)
        await wait_until_async(lambda: len(events_of(viewer.got, "wc")) == 50)
        viewer.record()
    assert problems("wc", viewer.history, {EPOCH: Log(LINES)}, complete=EPOCH) == []


async def test_a_feed_that_began_anew_with_smaller_ids_is_followed_again(hub: Hub, redis_client: Any) -> None:
    key = feed_key(0)
    redis_client.xadd(key, {"w": "wc", "e": 1, "o": 0, "d": "{}"}, id="99999999999999-0")
    await wait_until_async(lambda: hub._feed.position == "99999999999999-0")
    redis_client.delete(key)
    redis_client.xadd(key, {"w": "other", "e": 1, "o": 0, "d": "{}"}, id="5-0")
    await wait_until_async(lambda: hub._feed.position == "5-0")
    redis_client.xadd(key, {"w": "third", "e": 1, "o": 0, "d": "{}"}, id="5-1")
    await wait_until_async(lambda: hub._feed.position == "5-1")


async def test_junk_in_the_broker_stops_nothing(
    hub: Hub, root: Root, relay: Relay, redis_client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    redis_client.xadd(feed_key(0), {"junk": "x"})
    await wait_until_async(lambda: "KeyError" in caplog.text)
    redis_client.hset(summary_key("junk"), mapping={"json": "no json"})
    redis_client.zadd("workcast:{0}:workcells", {"junk": 1})
    write_log(root, "wc", LINES)
    await wait_until_async(lambda: head_of(hub, "wc") == 50)
    await wait_until_async(lambda: hub.broker_error is None)
    assert status_of(hub, "junk") == "new"
    await open_at(hub, "wc", 50)


async def test_a_workcell_that_the_feed_names_and_nobody_has_is_none(hub: Hub, root: Root, redis_client: Any) -> None:
    told = redis_client.xadd(feed_key(0), {"w": "ghost", "e": 1, "o": 0, "d": "{}"})
    await wait_until_async(lambda: hub._feed.position == told.decode())
    root.workcell("here").mkdir()
    await wait_until_async(lambda: "here" in hub.fleet.ids())
    assert hub.fleet.ids() == ["here"]


async def test_who_asks_for_all_workcells_at_once_shares_a_look_that_began_after_the_question(
    hub: Hub, root: Root
) -> None:
    hub._sweep_seconds = 3600
    root.workcell("first").mkdir()
    await wait_until_async(lambda: hub.fleet.ids() == ["first"])
    ids, looks = hub._keeper._archive.ids, list[list[str]]()

    def counted() -> list[str]:
        looks.append(ids())
        return looks[-1]

    hub._keeper._archive.ids = counted  # type: ignore[method-assign]
    early = asyncio.create_task(hub.complete_fleet())
    await wait_until_async(lambda: len(looks) == 1)
    root.workcell("second").mkdir()
    await asyncio.gather(*(hub.complete_fleet() for _ in range(20)))
    await early
    assert looks[0] == ["first"]
    assert looks[1:] in ([["first", "second"]] * count for count in (1, 2))
    assert hub.fleet.ids() == ["first", "second"]


async def test_an_error_in_one_task_is_told_until_it_has_passed(
    root: Root, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_hub(root, redis_url) as hub:
        root.workcells.chmod(0)
        ids, archive = hub._keeper._archive.ids, hub._keeper._archive

        def broken() -> list[str]:
            raise PermissionError("no entry")

        archive.ids = broken  # type: ignore[method-assign]
        await wait_until_async(lambda: "no entry" in (hub.broker_error or ""))
        assert caplog.text.count("Traceback") == 1
        archive.ids = ids  # type: ignore[method-assign]
        root.workcells.chmod(0o755)
        await wait_until_async(lambda: hub.broker_error is None)


async def test_a_broker_that_comes_late_and_goes_away_in_between_is_waited_for(tmp_path: Path, root: Root) -> None:
    write_log(root, "wc", LINES)
    link = tmp_path / "redis.sock"
    async with running_hub(root, f"unix://{link}", connected=False) as hub:
        await wait_until_async(lambda: "cannot reach Redis" in (hub.broker_error or ""))
        channel = await hub.channels.open("wc")
        assert channel is not None
        assert (channel.epoch, channel.head) == (EPOCH, 50)
        for _ in range(2):
            with EmbeddedBroker(root) as broker:
                link.symlink_to(broker.url.removeprefix("unix://"))
                with running_relay(root, broker.url):
                    await wait_until_async(lambda: hub.broker_error is None)
                    assert await read_all(hub, await open_at(hub, "wc", 50)) == LINES
            link.unlink()
            await wait_until_async(lambda: hub.broker_error is not None)
            assert await read_all(hub, await open_at(hub, "wc", 50)) == LINES


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs job control")
async def test_a_broker_that_is_stopped_is_noticed_and_waited_for(root: Root) -> None:
    write_log(root, "wc", LINES)
    with EmbeddedBroker(root) as broker:
        async with running_hub(root, broker.url, answer_seconds=3) as hub:
            os.kill(broker.pid, signal.SIGSTOP)
            try:
                await wait_until_async(lambda: psutil.Process(broker.pid).status() == psutil.STATUS_STOPPED)
                await wait_until_async(lambda: "no answer from Redis" in (hub.broker_error or ""))
            finally:
                os.kill(broker.pid, signal.SIGCONT)
            await wait_until_async(lambda: hub.broker_error is None)


async def test_a_broker_that_is_back_is_said_to_be_so_without_waiting_for_the_next_sweep(root: Root) -> None:
    with EmbeddedBroker(root) as broker:
        async with running_hub(root, broker.url) as hub:
            directory = Path(broker.url.removeprefix("unix://")).parent
            aside = directory.rename(directory.with_name(f"{directory.name}-aside"))
            directory.touch()  # as long as this file is there, the server cannot be started again
            os.kill(broker.pid, signal.SIGKILL)
            await wait_until_async(lambda: "heads" in hub._troubles)
            hub._sweep_seconds = 3600
            directory.unlink()
            shutil.rmtree(aside)
            await wait_until_async(lambda: hub.broker_error is None)


# ── which epoch is in force ──────────────────────────────────────────────────────────────────────────────────────────
async def test_another_epoch_in_the_feed_makes_the_hub_ask_which_one_is_in_force(
    hub: Hub, root: Root, relay: Relay, redis_client: Any
) -> None:
    write_log(root, "wc", LINES)
    channel = await open_at(hub, "wc", 50)
    redis_client.xadd(feed_key(0), {"w": "wc", "e": 1, "o": 700, "d": "{}"})  # a straggler of an old epoch
    await wait_until_async(lambda: not channel.loaded)
    again = await hub.channels.open("wc")
    assert again is channel
    assert (channel.epoch, channel.head, channel.loaded) == (EPOCH, 50, True)


async def test_without_a_broker_a_replaced_log_shows_nothing_of_the_old_ones_head(tmp_path: Path, root: Root) -> None:
    write_log(root, "wc", LINES)
    async with running_hub(root, f"unix://{tmp_path}/none.sock", connected=False) as hub:
        channel = await hub.channels.open("wc")
        assert channel is not None
        channel.set_position(EPOCH, 0, 50)
        fresh = [event_line(0, "fresh")]
        write_log(root, "wc", fresh, "wb")
        await hub.channels.load(channel)
        # Nor anything of the new one, until a relay has said that this is its epoch.
        assert (channel.epoch, channel.head) == (natural_epoch(fresh[0]), 0)


async def test_a_frame_of_an_epoch_that_went_under_the_read_is_not_shown(hub: Hub, root: Root, relay: Relay) -> None:
    write_log(root, "wc", LINES)
    channel = await open_at(hub, "wc", 50)
    channel._clear()
    reading = asyncio.create_task(hub.refill.fetch(channel, 0))
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # now the read itself is under way
    channel.set_position(EPOCH + 1, 0, 3)
    assert await reading is None


# ── channels and fleet ───────────────────────────────────────────────────────────────────────────────────────────────
async def test_two_who_open_a_new_workcell_at_once_get_one_channel(hub: Hub, root: Root) -> None:
    root.workcell("wc").mkdir()
    channels = await asyncio.gather(*(hub.channels.open("wc") for _ in range(10)))
    assert channels[0] is not None
    assert all(channel is channels[0] for channel in channels)
    assert set(await asyncio.gather(hub.channels.open("nobody"), hub.channels.open("nobody"))) == {None}
    assert "nobody" not in hub.channels._channels


async def test_a_channel_that_is_swept_away_while_it_is_opened_is_opened_again(hub: Hub, root: Root) -> None:
    root.workcell("wc").mkdir()

    async def opened() -> tuple[Channel | None, Channel | None]:
        return await hub.channels.open("wc"), hub.channels._channels.get("wc")

    opening = asyncio.create_task(opened())
    await asyncio.sleep(0)
    del hub.channels._channels["wc"]
    channel, kept = await opening
    assert channel is not None
    assert kept is channel


async def test_channels_that_nobody_watches_are_given_up(hub: Hub, root: Root) -> None:
    for number in range(20):
        root.workcell(f"wc-{number}").mkdir()
        assert await hub.channels.open(f"wc-{number}") is not None
    await wait_until_async(lambda: not hub.channels._channels)


async def test_the_fleet_is_the_union_of_directories_and_broker_and_forgets_what_is_in_neither(
    root: Root, redis_url: str, redis_client: Any
) -> None:
    write_log(root, "here", LINES)
    root.workcell("empty").mkdir()
    elsewhere = Root(root.directory / "elsewhere")
    elsewhere.directory.mkdir()
    elsewhere.prepare()
    write_log(elsewhere, "far", LINES)
    async with running_hub(root, redis_url) as hub, Viewer(hub) as viewer:
        with running_relay(root, redis_url), running_relay(elsewhere, redis_url):
            viewer.say({"op": "subscribe", "fleet": True})
            await wait_until_async(lambda: set(hub.fleet.ids()) == {"here", "empty", "far"})
            await wait_until_async(lambda: head_of(hub, "far") == 50)
        root.workcell("empty").rmdir()
        await viewer.until(lambda m: m["op"] == "fleet" and m["removed"] == ["empty"])
        assert head_of(hub, "far") == 50
        redis_client.delete("workcast:{0}:workcells", summary_key("far"))
        await viewer.until(lambda m: m["op"] == "fleet" and m["removed"] == ["far"])
        assert hub.fleet.ids() == ["here"]
