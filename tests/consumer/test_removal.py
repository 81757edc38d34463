"""A workcell that is removed leaves broker, fleet and API, and its viewers come to a clean end."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
from collections.abc import AsyncGenerator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect as connect_viewer

from support.gateway import Gateway
from support.history_checker import Connected, Entry, Log, Requested, problems
from support.logs import event_line, write_log
from support.viewers import Viewer, head_of, running_hub, running_relay
from support.waiting import DEADLINE, wait_until, wait_until_async
from workcast.broker.keys import stream_key, summary_key, window_sizes_key, windows_key, workcells_key
from workcast.broker.log import natural_epoch
from workcast.broker.removal import remove_records
from workcast.broker.root import Root
from workcast.consumer.hub import Hub
from workcast.producer.cleanup import Cleanup

LINES = [event_line(n) for n in range(50)]
EPOCH = natural_epoch(LINES[0])


@pytest.fixture(params=["sees the root", "is elsewhere"])
async def gateway_hub(
    root: Root, redis_url: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> AsyncGenerator[Hub]:
    """A hub that sees the logs, or one that knows only the broker."""
    seen = root if request.param == "sees the root" else Root(tmp_path_factory.mktemp("elsewhere"))
    async with running_hub(seen, redis_url) as hub:
        yield hub


def in_broker(client: Any, workcell: str) -> list[str]:
    """What the broker has of a workcell."""
    found = [key for key in (stream_key(workcell), summary_key(workcell)) if client.exists(key)]
    found += ["list"] * (client.zscore(workcells_key(0), workcell) is not None)
    found += ["windows"] * (client.zscore(windows_key(0), workcell) is not None)
    return found + ["sizes"] * client.hexists(window_sizes_key(0), workcell)


@pytest.mark.parametrize(
    ("by", "stays"),
    [("relay", False), ("relay", True), ("removal", False), ("removal", True), ("both", True), ("hand", False)],
)
async def test_a_removed_workcell_leaves_broker_and_fleet_and_its_viewers_end(
    gateway_hub: Hub, root: Root, redis_url: str, redis_client: Any, by: str, *, stays: bool
) -> None:
    hub = gateway_hub
    for name in ("gone", "here"):
        write_log(root, name, LINES)
    if stays:
        (root.workcell("gone") / "src").mkdir()
    with ExitStack() as relays:
        relays.enter_context(running_relay(root, redis_url))
        await wait_until_async(lambda: [head_of(hub, name) for name in ("gone", "here")] == [50, 50])
        async with Viewer(hub) as viewer, Viewer(hub) as paused, Viewer(hub) as other:
            for one, name in ((viewer, "gone"), (paused, "gone"), (other, "here")):
                one.subscribe(name)
                await one.until_op("live")
            paused.say({"op": "follow", "workcell": "gone", "follow": False})
            paused.say({"op": "ping"})
            await paused.until_op("pong")
            if by == "removal":
                await asyncio.to_thread(relays.close)
            if by == "hand":
                shutil.rmtree(root.workcell("gone"))
            elif by == "relay":
                remove_records(root, "gone")
            else:
                with Cleanup(root, redis_url) as cleanup:
                    assert (await asyncio.to_thread(cleanup.remove, "gone")).removed
                    assert cleanup.broker_problem == ""
                    if by == "removal":
                        assert in_broker(redis_client, "gone") == []
            await wait_until_async(lambda: hub.fleet.ids() == ["here"])
            await wait_until_async(lambda: in_broker(redis_client, "gone") == [])
            sizes = redis_client.hgetall(window_sizes_key(0))
            assert int(sizes[b"*total"]) == int(sizes[b"here"].split()[0])  # the budget is free again
            for one in (viewer, paused):
                error = await one.until_op("error")
                assert (error["code"], error["workcell"]) == ("unknown_workcell", "gone")
                assert one.got[-1] == error
            write_log(root, "here", [event_line(50)])
            if by != "removal":
                await other.until(lambda m: m["op"] == "events" and m["offset"] == 50)
            viewer.subscribe("gone", {"epoch": EPOCH, "offset": 50})
            await viewer.until_op("error", 2)
            assert "error" not in other.ops()
        assert root.workcell("gone").exists() == stays
        assert root.ids() == ["here"]


async def test_a_log_that_begins_like_a_removed_one_is_shown_from_its_start(
    hub: Hub, root: Root, relay: object
) -> None:
    write_log(root, "wc", LINES)
    await wait_until_async(lambda: head_of(hub, "wc") == 50)
    async with Viewer(hub) as viewer:
        viewer.subscribe("wc")
        await viewer.until_op("live")
        await asyncio.to_thread(remove_records, root, "wc")
        await viewer.until_op("error")
        write_log(root, "wc", [LINES[0], *[event_line(n) for n in range(100, 160)]])
        await wait_until_async(lambda: head_of(hub, "wc") == 61)
        viewer.subscribe("wc", {"epoch": EPOCH, "offset": 50})
        reset = await viewer.until_op("reset")
        assert reset["offset"] == 0
        assert reset["epoch"] != EPOCH
        await viewer.until(lambda m: m["op"] == "live" and m["offset"] == 61)


async def test_a_removal_during_replays_harms_no_viewer(
    root: Root, redis_url: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Thirty viewers are in the middle of a log when it is removed, and ten of another one."""
    lines = [event_line(n, f"{n} " + "x" * 1000) for n in range(20_000)]
    for name in ("gone", "here"):
        write_log(root, name, lines)
    epoch = natural_epoch(lines[0])
    removed = asyncio.Event()

    async def replay(name: str) -> list[Entry]:
        history: list[Entry] = [Connected()]
        async with connect_viewer(gateway.stream, max_size=None, max_queue=1, compression=None) as socket:
            history.append(Requested(name, "start"))
            await socket.send(json.dumps({"op": "subscribe", "workcell": name, "from": "start"}))
            async with asyncio.timeout(2 * DEADLINE):
                while True:
                    text = str(await socket.recv())
                    history.append(text)
                    message = json.loads(text)
                    if message["op"] == "events" and not removed.is_set():
                        reading.release()
                        await removed.wait()
                    if message["op"] in ("error", "live"):
                        return history

    with running_relay(root, redis_url), Gateway(root, redis_url).running() as gateway:
        url = f"{gateway.url}/api/workcells"
        await asyncio.to_thread(wait_until, lambda: _heads(url) == {"gone": 20_000, "here": 20_000})
        reading = asyncio.Semaphore(0)
        viewers = [asyncio.create_task(replay(name)) for name in ["gone"] * 30 + ["here"] * 10]
        for _ in viewers:
            await asyncio.wait_for(reading.acquire(), DEADLINE)
        await asyncio.to_thread(remove_records, root, "gone")
        removed.set()
        histories = await asyncio.gather(*viewers)
        for path in ("gone", "gone/events?offset=0"):
            assert (await asyncio.to_thread(httpx.get, f"{url}/{path}")).status_code == 404
        assert await asyncio.to_thread(_heads, url) == {"here": 20_000}
    for history in histories[:30]:
        last = json.loads(str(history.pop()))
        assert (last["op"], last["code"], last["workcell"]) == ("error", "unknown_workcell", "gone")
        assert problems("gone", history, {epoch: Log(lines)}, unavailable={epoch}) == []
    for history in histories[30:]:
        assert problems("here", history, {epoch: Log(lines)}, complete=epoch) == []
    assert "Traceback" not in caplog.text
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def _heads(url: str) -> dict[str, int]:
    return {item["id"]: item["summary"]["head"] for item in httpx.get(url).json()["workcells"]}
