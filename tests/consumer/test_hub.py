"""A hub whose broker loses data, breaks or goes away."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from support.channels import open_at, read_all
from support.history_checker import Log, problems
from support.logs import event_line, write_log
from support.viewers import Viewer, events_of, head_of, running_hub, running_relay, status_of
from support.waiting import wait_until_async
from workcast.broker.embedded import EmbeddedBroker
from workcast.broker.keys import feed_key, summary_key
from workcast.broker.log import natural_epoch
from workcast.broker.relay import Relay
from workcast.broker.root import Root
from workcast.consumer.hub import Hub

LINES = [event_line(n) for n in range(50)]
EPOCH = natural_epoch(LINES[0])


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


async def test_events_that_the_feed_lost_still_reach_viewers(
    hub: Hub, root: Root, relay: Relay, redis_client: Any
) -> None:
    write_log(root, "wc", LINES[:1])
    async with Viewer(hub) as viewer:
        viewer.subscribe("wc")
        await viewer.until_op("live")
        # Trimmed after each line, so that the feed cannot be relied on.
        for line in LINES[1:]:
            write_log(root, "wc", [line])
            redis_client.xtrim(feed_key(0), maxlen=0)
        await wait_until_async(lambda: len(events_of(viewer.got, "wc")) == 50)
        viewer.record()
    assert problems("wc", viewer.history, {EPOCH: Log(LINES)}, complete=EPOCH) == []


async def test_a_recreated_feed_with_smaller_ids_is_followed_again(hub: Hub, redis_client: Any) -> None:
    key = feed_key(0)
    redis_client.xadd(key, {"w": "wc", "e": 1, "o": 0, "d": "{}"}, id="99999999999999-0")
    await wait_until_async(lambda: hub._feed.position == "99999999999999-0")
    redis_client.delete(key)
    redis_client.xadd(key, {"w": "other", "e": 1, "o": 0, "d": "{}"}, id="5-0")
    await wait_until_async(lambda: hub._feed.position == "5-0")
    redis_client.xadd(key, {"w": "third", "e": 1, "o": 0, "d": "{}"}, id="5-1")
    await wait_until_async(lambda: hub._feed.position == "5-1")


async def test_malformed_data_in_the_broker_stops_nothing(
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


async def test_an_error_in_one_task_is_reported_until_it_has_passed(
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


async def test_a_broker_that_starts_late_and_goes_away_in_between_is_waited_for(tmp_path: Path, root: Root) -> None:
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


async def test_a_broker_that_is_back_is_noticed_before_the_next_sweep(root: Root) -> None:
    with EmbeddedBroker(root) as broker:
        async with running_hub(root, broker.url) as hub:
            directory = Path(broker.url.removeprefix("unix://")).parent
            aside = directory.rename(directory.with_name(f"{directory.name}-aside"))
            directory.touch()  # while this exists, the server cannot be started again
            os.kill(broker.pid, signal.SIGKILL)
            await wait_until_async(lambda: "heads" in hub._troubles)
            hub._sweep_seconds = 3600
            directory.unlink()
            shutil.rmtree(aside)
            await wait_until_async(lambda: hub.broker_error is None)
