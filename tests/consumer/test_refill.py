"""Where old events come from: ring, stream, log, or a window that a relay publishes on request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from zlib import crc32

import pytest

from support.channels import open_at, read_all
from support.log_edits import prune
from support.logs import event_line, write_log
from support.viewers import Viewer, events_of, head_of, running_hub, running_relay
from support.waiting import wait_until, wait_until_async
from workcast.broker.batch import Budgets
from workcast.broker.keys import feed_key, stream_key, summary_key
from workcast.broker.log import natural_epoch
from workcast.broker.relay import Relay
from workcast.broker.root import Root
from workcast.consumer.channel import Channel
from workcast.consumer.frame import Frame
from workcast.consumer.hub import Hub
from workcast.consumer.refill import Missing
from workcast.consumer.source import Source

LINES = [event_line(n) for n in range(50)]
EPOCH = natural_epoch(LINES[0])


class Counting:
    """The broker as a hub reads it, with a record of the methods called."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.called: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.called.append(name)
        return getattr(self._source, name)


async def test_the_newest_events_come_from_memory(hub: Hub, root: Root, redis_url: str, redis_client: Any) -> None:
    with running_relay(root, redis_url):
        write_log(root, "wc", LINES[:1])
        channel = await open_at(hub, "wc", 1)
        channel.listen(lambda: None)  # else a sweep drops it
        write_log(root, "wc", LINES[1:])
        # The head may be known before the feed has brought the events.
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


async def test_events_older_than_the_stream_come_from_the_log(root: Root, redis_url: str, redis_client: Any) -> None:
    write_log(root, "wc", LINES)
    with running_relay(root, redis_url, Budgets(stream_entries=10)):
        async with running_hub(root, redis_url) as hub:
            channel = await open_at(hub, "wc", 50)
            assert await read_all(hub, channel) == LINES
            redis_client.xtrim(stream_key("wc"), maxlen=0)
            assert await read_all(hub, channel) == LINES


async def test_events_in_neither_stream_nor_log_are_missing_up_to_the_next_available_one(
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


async def test_pruned_events_are_reported_as_pruned_before_a_relay_has_seen_the_prune(
    root: Root, redis_url: str
) -> None:
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


async def test_a_log_that_cannot_be_read_has_missing_events(
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


@asynccontextmanager
async def hub_without_ring(root: Root, redis_url: str) -> AsyncGenerator[tuple[Hub, Channel]]:
    """A hub of a log with 50 lines, and the log's channel, which has to read them again."""
    write_log(root, "wc", LINES)
    async with running_hub(root, redis_url) as hub:
        channel = await open_at(hub, "wc", 50)
        channel._clear()
        yield hub, channel


async def test_concurrent_readers_at_one_place_share_one_read_and_one_frame(
    root: Root, redis_url: str, relay: Relay
) -> None:
    async with hub_without_ring(root, redis_url) as (hub, channel):
        counting: Any = Counting(hub.refill._source)
        hub.refill._source = counting
        frames = await asyncio.gather(*(hub.refill.fetch(channel, 0) for _ in range(20)))
        assert counting.called.count("read_stream") == 1
        assert all(frame is frames[0] for frame in frames)


async def test_a_reader_that_leaves_does_not_cancel_the_read_of_the_others(
    root: Root, redis_url: str, relay: Relay
) -> None:
    async with hub_without_ring(root, redis_url) as (hub, channel):
        first, second = (asyncio.create_task(hub.refill.fetch(channel, 0)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert isinstance(await second, Frame)
        assert first.cancelled()
        assert hub.refill._reads == {}


async def test_large_events_are_not_read_repeatedly(root: Root, redis_url: str, relay: Relay) -> None:
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


async def test_a_frame_is_discarded_if_the_epoch_changed_during_the_read(hub: Hub, root: Root, relay: Relay) -> None:
    write_log(root, "wc", LINES)
    channel = await open_at(hub, "wc", 50)
    channel._clear()
    reading = asyncio.create_task(hub.refill.fetch(channel, 0))
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # now the read has begun
    channel.set_position(EPOCH + 1, 0, 3)
    assert await reading is None


# ── the log first ────────────────────────────────────────────────────────────────────────────────────────────────────
def reads_of_streams(redis_client: Any) -> int:
    stats = redis_client.info("commandstats")
    return int(stats.get("cmdstat_xrange", {}).get("calls", 0))


async def test_a_replay_of_what_the_stream_cannot_hold_does_not_ask_the_broker(
    root: Root, redis_url: str, redis_client: Any, relay: Relay
) -> None:
    lines = [event_line(n) for n in range(Budgets().stream_entries + 2000)]
    write_log(root, "wc", lines)
    async with running_hub(root, redis_url, ring_bytes=0) as hub:
        channel = await open_at(hub, "wc", len(lines))
        before = reads_of_streams(redis_client)
        offset, read = 0, list[bytes]()
        while offset < 1500:
            frame = await hub.refill.fetch(channel, offset)
            assert isinstance(frame, Frame)
            read += frame.lines
            offset = frame.end
        assert read == lines[:offset]
        assert reads_of_streams(redis_client) == before


async def test_a_replay_asks_the_broker_once_where_a_smaller_stream_begins(
    root: Root, redis_url: str, redis_client: Any
) -> None:
    lines = [event_line(n, "x" * 100) for n in range(4000)]
    write_log(root, "wc", lines)
    with running_relay(root, redis_url, Budgets(stream_entries=100)):
        async with running_hub(root, redis_url, ring_bytes=0) as hub:
            channel = await open_at(hub, "wc", 4000)
            start = int(redis_client.xrange(stream_key("wc"), count=1)[0][0].partition(b"-")[2]) - 1
            before = reads_of_streams(redis_client)
            offset = 0
            while offset < start - 512:
                frame = await hub.refill.fetch(channel, offset)
                assert isinstance(frame, Frame)
                offset = frame.end
            assert offset > 2000
            assert reads_of_streams(redis_client) - before <= 1
            assert await read_all(hub, channel) == lines


# ── windows on request ───────────────────────────────────────────────────────────────────────────────────────────────
WANTED = "workcast:{0}:wanted"


@pytest.fixture
def ended(tmp_path_factory: pytest.TempPathFactory, redis_url: str, redis_client: Any) -> Root:
    """Another host's root: an ended log, published, whose stream has expired; the gateway does not see it."""
    far = Root(tmp_path_factory.mktemp("far"))
    far.prepare()
    write_log(far, "wc", LINES)
    with running_relay(far, redis_url):
        wait_until(lambda: redis_client.xlen(stream_key("wc")) == 50)
    redis_client.delete(stream_key("wc"))
    redis_client.delete(feed_key(0))
    return far


def publish_window(redis_client: Any) -> None:
    """Do what a relay does for a wanted workcell."""
    for offset, line in enumerate(LINES):
        redis_client.xadd(stream_key("wc"), {"c": crc32(line), "d": line}, id=f"{EPOCH}-{offset + 1}")
    redis_client.srem(WANTED, "wc")


async def test_the_window_of_an_ended_log_elsewhere_is_requested_and_read(
    root: Root, redis_url: str, redis_client: Any, ended: Root
) -> None:
    async with running_hub(root, redis_url) as hub:
        channel = await open_at(hub, "wc", 50)
        reads = [asyncio.create_task(hub.refill.fetch(channel, offset)) for offset in (0, 0, 30)]
        page = asyncio.create_task(hub.refill.page(channel, 10, 3))
        await wait_until_async(lambda: redis_client.smembers(WANTED) == {b"wc"})
        publish_window(redis_client)
        frames = await asyncio.gather(*reads)
        assert [frame.offset for frame in frames if isinstance(frame, Frame)] == [0, 0, 30]
        assert await page == (10, LINES[10:13])
        assert await read_all(hub, channel) == LINES


async def test_a_window_that_no_relay_publishes_is_unavailable_and_not_waited_for_again(
    root: Root, redis_url: str, redis_client: Any, ended: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workcast.consumer.refill._WINDOW_SECONDS", 0.2)
    async with running_hub(root, redis_url) as hub:
        channel = await open_at(hub, "wc", 50)
        assert await hub.refill.fetch(channel, 0) == Missing(0, 50, "unavailable")
        assert redis_client.smembers(WANTED) == {b"wc"}
        redis_client.delete(WANTED)
        assert await hub.refill.fetch(channel, 0) == Missing(0, 50, "unavailable")
        assert await hub.refill.page(channel, 0, 10) == (0, [])
        assert redis_client.smembers(WANTED) == set()


async def test_other_workcells_of_a_viewer_do_not_wait_for_a_requested_window(
    root: Root, redis_url: str, redis_client: Any, ended: Root, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workcast.consumer.refill._WINDOW_SECONDS", 600)
    write_log(root, "here", LINES)
    async with running_hub(root, redis_url) as hub, Viewer(hub) as viewer:
        await open_at(hub, "here", 50)
        viewer.subscribe("wc")
        await wait_until_async(lambda: redis_client.smembers(WANTED) == {b"wc"})
        viewer.subscribe("here")
        await viewer.until(lambda message: message["op"] == "live" and message["workcell"] == "here")
        assert events_of(viewer.got, "wc") == []
        publish_window(redis_client)
        await viewer.until(lambda message: message["op"] == "live" and message["workcell"] == "wc")
        assert len(events_of(viewer.got, "wc")) == 50
        assert "gap" not in viewer.ops()


async def test_no_window_is_requested_for_a_log_that_is_here(
    root: Root, redis_url: str, redis_client: Any, relay: Relay
) -> None:
    write_log(root, "wc", LINES)
    async with running_hub(root, redis_url, ring_bytes=0) as hub:
        channel = await open_at(hub, "wc", 50)
        redis_client.delete(stream_key("wc"))
        assert await read_all(hub, channel) == LINES
        assert await hub.refill.page(channel, 0, 100) == (0, LINES)
        assert redis_client.exists(WANTED) == 0


async def test_a_relay_publishes_the_window_that_a_gateway_elsewhere_requests(
    root: Root, redis_url: str, redis_client: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    far = Root(tmp_path_factory.mktemp("far"))
    far.prepare()
    completed = b'{"type":"completed","status":"success","exit_code":0,"duration_ms":1}'
    lines = [b'{"type":"started","toolchain":"claude"}', *LINES, completed]
    write_log(far, "wc", lines)
    with running_relay(far, redis_url):
        wait_until(lambda: redis_client.hget(summary_key("wc"), "head") == b"52")
    redis_client.flushall()
    with running_relay(far, redis_url):
        async with running_hub(root, redis_url) as hub:
            await wait_until_async(lambda: head_of(hub, "wc") == 52)
            channel = await open_at(hub, "wc", 52)
            assert redis_client.exists(stream_key("wc")) == 0
            assert await read_all(hub, channel) == lines
        assert redis_client.exists(WANTED) == 0
