"""What enters the fleet, and what leaves it."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest

from support.logs import event_line, write_log
from support.viewers import Viewer, events_of, head_of, running_hub, running_relay, status_of
from support.waiting import DEADLINE, wait_until_async
from workcast.broker.keys import feed_key, summary_key, workcells_key
from workcast.broker.log import natural_epoch
from workcast.broker.relay import Relay
from workcast.broker.root import Root
from workcast.consumer import fleet_keeper
from workcast.consumer.hub import Hub
from workcast.ledger.summary import Summary

LINES = [event_line(n) for n in range(50)]
EPOCH = natural_epoch(LINES[0])


async def test_a_workcell_in_the_feed_alone_does_not_enter_the_fleet(hub: Hub, root: Root, redis_client: Any) -> None:
    entry = redis_client.xadd(feed_key(0), {"w": "ghost", "e": 1, "o": 0, "d": "{}"})
    await wait_until_async(lambda: hub._feed.position == entry.decode())
    root.workcell("here").mkdir()
    await wait_until_async(lambda: "here" in hub.fleet.ids())
    assert hub.fleet.ids() == ["here"]


async def test_concurrent_lists_share_a_listing_that_began_after_they_were_requested(hub: Hub, root: Root) -> None:
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


@pytest.mark.parametrize("event", [True, False])
async def test_what_the_feed_did_not_bring_is_fetched_by_a_sweep(
    hub: Hub, redis_client: Any, monkeypatch: pytest.MonkeyPatch, *, event: bool
) -> None:
    """A new event at the next sweep, a change without one when it is the workcell's turn."""
    monkeypatch.setattr(fleet_keeper, "_IN_TURN", 2)
    names = [f"wc-{number}" for number in range(9)]
    for name in names:
        redis_client.hset(summary_key(name), "json", Summary(id=name).model_dump_json())
        redis_client.zadd(workcells_key(0), {name: 1})
    await wait_until_async(lambda: len(hub.fleet.ids()) == 9)
    await wait_until_async(lambda: len(hub._keeper._swept) == 9)
    for name in names:
        redis_client.hset(summary_key(name), "json", Summary(id=name, head=7).model_dump_json())
        if event:
            redis_client.zadd(workcells_key(0), {name: 2})
    await wait_until_async(lambda: {head_of(hub, name) for name in names} == {7})


async def test_the_fleet_is_the_union_of_directories_and_broker(root: Root, redis_url: str, redis_client: Any) -> None:
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


async def test_other_tasks_have_their_turn_while_many_workcells_enter_the_fleet(hub: Hub, redis_client: Any) -> None:
    turns, seen, asked = 0, list[int](), list[int]()
    update, summaries = hub.fleet.update, hub._keeper._source.summaries

    def record(summaries: dict[str, Summary], removed: Iterable[str] = ()) -> None:
        seen.extend([turns] * len(summaries))
        update(summaries, removed)

    async def ask(workcells: list[str]) -> dict[str, bytes]:
        asked.append(len(workcells))
        return await summaries(workcells)

    hub.fleet.update = record  # type: ignore[method-assign,assignment]
    hub._keeper._source.summaries = ask  # type: ignore[method-assign]
    names = [f"wc-{number}" for number in range(1000)]
    for name in names:
        redis_client.hset(summary_key(name), "json", Summary(id=name, epoch=EPOCH, head=1).model_dump_json())
    redis_client.zadd(workcells_key(0), dict.fromkeys(names, 1))
    async with asyncio.timeout(DEADLINE):
        while len(hub.fleet.ids()) < len(names):
            turns += 1
            await asyncio.sleep(0)
    assert max(Counter(seen).values()) <= 500
    assert max(asked) <= 500


def notify(redis_client: Any, workcell: str) -> None:
    redis_client.xadd(feed_key(0), {"w": workcell, "e": 0, "o": 0, "d": ""})


async def test_a_notice_makes_a_changed_summary_appear_before_the_next_sweep(
    hub: Hub, root: Root, relay: Relay, redis_client: Any
) -> None:
    hub._sweep_seconds = 3600
    write_log(root, "wc", LINES)
    async with Viewer(hub) as viewer:
        viewer.subscribe("wc")
        await viewer.until_op("live")
        await wait_until_async(lambda: head_of(hub, "wc") == 50)
        changed = Summary(id="wc", head=50, status="lost").model_dump_json()
        redis_client.hset(summary_key("wc"), "json", changed)
        notify(redis_client, "wc")
        await wait_until_async(lambda: status_of(hub, "wc") == "lost")
        write_log(root, "wc", [event_line(50)])
        await wait_until_async(lambda: len(events_of(viewer.got, "wc")) == 51)
        assert "reset" not in viewer.ops()
        assert hub.metrics.registry.get_sample_value("workcast_events_in_total") == 51  # a notice is not an event


async def test_a_notice_of_a_workcell_that_is_gone_removes_it_at_once(
    hub: Hub, root: Root, redis_url: str, redis_client: Any
) -> None:
    for name in ("gone", "here"):
        write_log(root, name, LINES)
    with running_relay(root, redis_url):
        await wait_until_async(lambda: [head_of(hub, name) for name in ("gone", "here")] == [50, 50])
    hub._sweep_seconds = 3600
    async with Viewer(hub) as viewer:
        viewer.say({"op": "subscribe", "fleet": True})
        await viewer.until_op("fleet")
        shutil.rmtree(root.workcell("gone"))
        redis_client.delete(summary_key("gone"), summary_key("here"))
        redis_client.delete("workcast:{0}:workcells")
        notify(redis_client, "gone")
        notify(redis_client, "here")
        notify(redis_client, "never-there")
        await viewer.until(lambda m: m["op"] == "fleet" and m["removed"] == ["gone"])
        assert hub.fleet.ids() == ["here"]
        redis_client.xadd(feed_key(0), {"w": "gone", "e": EPOCH, "o": 49, "d": "{}"})  # a straggler
        notify(redis_client, "here")
        await wait_until_async(lambda: not hub._keeper._dirty)
        assert hub.fleet.ids() == ["here"]


async def test_a_summary_that_did_not_change_is_not_decoded_again(
    hub: Hub, root: Root, redis_client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    redis_client.hset(summary_key("odd"), mapping={"json": "no json"})
    redis_client.zadd("workcast:{0}:workcells", {"odd": 1})
    await wait_until_async(lambda: status_of(hub, "odd") == "new")
    for _ in range(3):  # sweeps, each of which fetches all summaries
        hub._keeper._missed = {"waiting"}
        await wait_until_async(lambda: not hub._keeper._missed and not hub._keeper._dirty)
    assert caplog.text.count("the summary of odd in the broker is malformed") == 1


async def test_a_workcell_whose_directory_is_removed_leaves_broker_and_fleet(
    hub: Hub, root: Root, relay: Relay, redis_client: Any
) -> None:
    for name in ("gone", "here"):
        write_log(root, name, LINES)
    await wait_until_async(lambda: [head_of(hub, name) for name in ("gone", "here")] == [50, 50])
    shutil.rmtree(root.workcell("gone"))
    await wait_until_async(lambda: hub.fleet.ids() == ["here"])
    assert not redis_client.exists(summary_key("gone"))
