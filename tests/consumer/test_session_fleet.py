"""A session's messages about the fleet; the others are in test_session.py."""

from __future__ import annotations

import asyncio

import pytest

from support.logs import event_line, write_log
from support.viewers import Viewer
from support.waiting import wait_until_async
from workcast.broker.root import Root
from workcast.consumer.hub import Hub
from workcast.ledger.summary import Summary

pytestmark = pytest.mark.usefixtures("relay")

LINES = [event_line(n) for n in range(20)]


async def test_the_fleet_comes_in_pages_and_then_as_changes(hub: Hub, root: Root) -> None:
    names = [f"wc-{number:04d}" for number in range(502)]
    for name in names:
        root.workcell(name).mkdir()
    await wait_until_async(lambda: len(hub.fleet.ids()) == 502)
    async with Viewer(hub) as viewer:
        viewer.say({"op": "subscribe", "fleet": True})
        await viewer.until_op("fleet", 2)
        first, second = viewer.got[1:3]
        assert [len(first["workcells"]), first["more"]] == [500, True]
        assert [len(second["workcells"]), second["more"]] == [2, False]
        assert {w["id"] for w in first["workcells"] + second["workcells"]} == set(names)
        assert all({"status", "head", "counts", "usage"} <= w.keys() for w in first["workcells"])
        write_log(root, names[3], LINES)
        change = await viewer.until(lambda m: m["op"] == "fleet" and m["workcells"][0].get("head") == 20)
        assert change["workcells"][0]["id"] == names[3]
        assert "cost_usd" not in change["workcells"][0]
        viewer.say({"op": "unsubscribe", "fleet": True})
        viewer.say({"op": "ping"})
        await viewer.until_op("pong")
        assert not hub.fleet.watched


async def test_an_empty_fleet_is_one_empty_page(hub: Hub) -> None:
    async with Viewer(hub) as viewer:
        viewer.say({"op": "subscribe", "fleet": True})
        assert await viewer.until_op("fleet") == {"op": "fleet", "workcells": [], "removed": [], "more": False}


async def test_fleet_changes_come_at_most_four_times_a_second(hub: Hub, root: Root) -> None:
    loop = asyncio.get_running_loop()
    root.workcell("wc").mkdir()
    async with Viewer(hub) as viewer:
        began = loop.time()
        viewer.say({"op": "subscribe", "fleet": True})
        await viewer.until_op("fleet")
        for head in range(200):
            hub.fleet.update({"wc": Summary(id="wc", head=head)})
            await asyncio.sleep(0.002)
        await viewer.until(lambda m: m["op"] == "fleet" and any(w.get("head") == 199 for w in m["workcells"]))
        assert viewer.ops().count("fleet") <= 2 + (loop.time() - began) / 0.25


async def test_a_change_of_more_workcells_than_a_page_holds_is_throttled_too(hub: Hub, root: Root) -> None:
    loop = asyncio.get_running_loop()
    names = [f"wc-{number:04d}" for number in range(1100)]
    for name in names:
        root.workcell(name).mkdir()
    await wait_until_async(lambda: len(hub.fleet.ids()) == len(names))
    async with Viewer(hub) as viewer:
        viewer.say({"op": "subscribe", "fleet": True})
        await viewer.until_op("fleet", 3)
        began = loop.time()
        hub.fleet.update({name: Summary(id=name, head=1) for name in names})
        await viewer.until_op("fleet", 6)
        messages = [m for m in viewer.got if m["op"] == "fleet"][3:]
        assert [len(m["workcells"]) for m in messages] == [500, 500, 100]
        assert [m["more"] for m in messages] == [True, True, False]
        assert sorted(w["id"] for m in messages for w in m["workcells"]) == names
        assert loop.time() - began >= 2 * 0.25
