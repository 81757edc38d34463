from __future__ import annotations

import asyncio
from typing import Any

import pytest

from support.history_checker import Log, problems
from support.logs import event_line, write_log
from support.viewers import LIMITS, MemoryTransport, Viewer, events_of
from support.waiting import DEADLINE, wait_until_async
from workcast.broker.log import natural_epoch
from workcast.broker.root import Root
from workcast.consumer.hub import Hub
from workcast.consumer.session import Session

pytestmark = pytest.mark.usefixtures("relay")

LINES = [event_line(n) for n in range(20)]
EPOCH = natural_epoch(LINES[0])


async def published(hub: Hub, workcell: str, count: int) -> None:
    """Wait until the hub has so many events."""
    head = 0
    async with asyncio.timeout(DEADLINE):
        while head < count:
            channel = await hub.channels.open(workcell)
            head = channel.head if channel else 0
            await asyncio.sleep(0)


@pytest.fixture
async def wc(root: Root, hub: Hub) -> str:
    """A workcell with twenty events, all of them published."""
    write_log(root, "wc", LINES)
    await published(hub, "wc", len(LINES))
    return "wc"


class BrokenTransport(MemoryTransport):
    """A transport whose connection is lost while a message is being sent."""

    async def send(self, text: str) -> None:
        self.sent.append(text)
        await self.draining.wait()
        raise ConnectionResetError


async def test_a_viewer_whose_connection_is_lost_by_reader_and_writer_at_once_ends_quietly(hub: Hub) -> None:
    transport = BrokenTransport()
    transport.draining.clear()
    session = asyncio.create_task(Session(transport, hub, LIMITS).run())
    await wait_until_async(lambda: transport.sent)
    transport.draining.set()  # the writer runs first, then the reader, then what the writer's end calls
    transport.inbox.put_nowait(None)
    await session
    assert len(hub.metrics.viewers) == 0


async def test_hello_comes_first_and_once_and_has_the_limits(hub: Hub) -> None:
    async with Viewer(hub) as viewer:
        viewer.say({"op": "ping"})
        await viewer.until_op("pong")
        assert viewer.got == [{"op": "hello", "version": 1, "limits": LIMITS.model_dump()}, {"op": "pong"}]


@pytest.mark.parametrize(
    ("place", "offset"),
    [
        ("start", 0),
        ("tail", 20),
        ({"last": 5}, 15),
        ({"last": 0}, 20),
        ({"last": 500}, 0),
        ({"epoch": EPOCH, "offset": 13}, 13),
        ({"epoch": EPOCH, "offset": 20}, 20),
    ],
)
async def test_a_subscription_starts_where_it_was_requested_to(hub: Hub, wc: str, place: Any, offset: int) -> None:
    async with Viewer(hub) as viewer:
        viewer.subscribe(wc, place)
        live = await viewer.until_op("live")
        assert viewer.got[1] == {"op": "subscribed", "workcell": wc, "epoch": EPOCH, "offset": offset, "head": 20}
        assert live == {"op": "live", "workcell": wc, "epoch": EPOCH, "offset": 20}
        viewer.record()
    assert problems(wc, viewer.history, {EPOCH: Log(LINES)}, complete=EPOCH) == []


@pytest.mark.parametrize("epoch", [0, 1, EPOCH + 1])
async def test_a_cursor_of_another_epoch_gets_reset_to_the_base(hub: Hub, wc: str, epoch: int) -> None:
    async with Viewer(hub) as viewer:
        viewer.subscribe(wc, {"epoch": epoch, "offset": 7})
        await viewer.until_op("live")
        assert viewer.got[1] == {"op": "reset", "workcell": wc, "epoch": EPOCH, "offset": 0, "head": 20}
        viewer.record()
    assert problems(wc, viewer.history, {EPOCH: Log(LINES)}, complete=EPOCH) == []


async def test_a_cursor_past_the_head_is_live_at_once_and_continues_when_the_log_reaches_it(
    hub: Hub, root: Root, wc: str
) -> None:
    more = [event_line(n) for n in range(20, 26)]
    async with Viewer(hub) as viewer:
        viewer.subscribe(wc, {"epoch": EPOCH, "offset": 23})
        assert (await viewer.until_op("live"))["offset"] == 23
        assert viewer.got[1] == {"op": "subscribed", "workcell": wc, "epoch": EPOCH, "offset": 23, "head": 20}
        write_log(root, wc, more)
        await wait_until_async(lambda: len(events_of(viewer.got, wc)) == 3)
        assert viewer.ops().count("live") == 1
        viewer.record()
    assert problems(wc, viewer.history, {EPOCH: Log([*LINES, *more])}, complete=EPOCH) == []


@pytest.mark.parametrize("workcell", ["unknown", "..", "a/b", "", "x" * 200, ".workcast", "\u0000", "NAME:wc"])
async def test_an_unknown_workcell_gets_an_error_and_no_subscription(hub: Hub, root: Root, workcell: str) -> None:
    async with Viewer(hub) as viewer:
        viewer.subscribe(workcell)
        error = await viewer.until_op("error")
        assert (error["code"], error["workcell"]) == ("unknown_workcell", workcell)
        assert "ask again when the fleet shows it" in error["message"]
        write_log(root, "wc", LINES)
        viewer.subscribe("wc")
        await viewer.until_op("live")
        assert {m.get("workcell") for m in viewer.got[2:]} == {"wc"}


async def test_an_empty_log_is_live_at_zero_and_its_first_line_brings_reset(hub: Hub, root: Root) -> None:
    root.workcell("new").mkdir()
    async with Viewer(hub) as viewer:
        viewer.subscribe("new")
        await viewer.until_op("live")
        assert viewer.got[1:] == [
            {"op": "subscribed", "workcell": "new", "epoch": 0, "offset": 0, "head": 0},
            {"op": "live", "workcell": "new", "epoch": 0, "offset": 0},
        ]
        write_log(root, "new", LINES)
        assert (await viewer.until_op("reset"))["epoch"] == EPOCH
        await wait_until_async(lambda: len(events_of(viewer.got, "new")) == 20)
        await viewer.until_op("live", 2)
        viewer.record()
    assert problems("new", viewer.history, {EPOCH: Log(LINES)}, complete=EPOCH) == []


async def test_a_second_subscribe_replaces_the_first_from_its_answer_on(hub: Hub, wc: str) -> None:
    async with Viewer(hub) as viewer:
        viewer.transport.draining.clear()
        for place in ("start", {"last": 3}, "tail", {"epoch": 7, "offset": 0}, {"epoch": EPOCH, "offset": 19}):
            viewer.subscribe(wc, place)
        viewer.transport.draining.set()
        answers = ("subscribed", "reset")
        await wait_until_async(lambda: sum(op in answers for op in viewer.ops()) == 5)
        await wait_until_async(lambda: viewer.ops()[-1] == "live")
        viewer.record()
    assert problems(wc, viewer.history, {EPOCH: Log(LINES)}, complete=EPOCH) == []


async def test_an_answer_precedes_its_events_even_while_another_workcell_is_sent(hub: Hub, root: Root, wc: str) -> None:
    write_log(root, "other", LINES)
    await published(hub, "other", 20)
    async with Viewer(hub) as viewer:
        viewer.subscribe("other")
        viewer.subscribe(wc)
        await viewer.until_op("live", 2)
        viewer.transport.draining.clear()
        viewer.subscribe("other", {"epoch": EPOCH, "offset": 0})  # its events are stuck in the socket …
        await wait_until_async(viewer.transport.inbox.empty)
        viewer.subscribe(wc, {"epoch": EPOCH, "offset": 5})  # … when this comes
        await wait_until_async(viewer.transport.inbox.empty)
        viewer.transport.draining.set()
        await viewer.until_op("live", 4)
        viewer.record()
    for workcell in (wc, "other"):
        assert problems(workcell, viewer.history, {EPOCH: Log(LINES)}, complete=EPOCH) == []


async def test_a_refused_subscribe_leaves_the_old_subscription_unchanged(hub: Hub, root: Root, wc: str) -> None:
    async with Viewer(hub) as viewer:
        viewer.subscribe(wc, "tail")
        await viewer.until_op("live")
        viewer.say({"op": "subscribe", "workcell": wc, "from": {"epoch": -1, "offset": 0}})
        assert (await viewer.until_op("error"))["code"] == "bad_cursor"
        write_log(root, wc, [event_line(20)])
        await wait_until_async(lambda: len(events_of(viewer.got, wc)) == 1)


async def test_after_unsubscribe_nothing_more_comes(hub: Hub, root: Root, wc: str) -> None:
    async with Viewer(hub) as viewer, Viewer(hub) as witness:
        viewer.subscribe(wc, "tail")
        await viewer.until_op("live")
        witness.subscribe(wc, "tail")
        viewer.say({"op": "unsubscribe", "workcell": wc})
        viewer.say({"op": "unsubscribe", "workcell": "never-had"})
        viewer.say({"op": "ping"})
        await viewer.until_op("pong")
        write_log(root, wc, [event_line(20)])
        await witness.until_op("events")
        viewer.say({"op": "ping"})
        await viewer.until_op("pong", 2)
        assert "events" not in viewer.ops()
        assert "error" not in viewer.ops()


async def test_a_viewer_that_does_not_follow_gets_heads_and_continues_from_its_cursor(
    hub: Hub, root: Root, wc: str
) -> None:
    more = [event_line(n) for n in range(20, 60)]
    async with Viewer(hub) as viewer:
        viewer.subscribe(wc, "tail")
        await viewer.until_op("live")
        viewer.say({"op": "follow", "workcell": wc, "follow": False})
        assert await viewer.until_op("head") == {"op": "head", "workcell": wc, "epoch": EPOCH, "head": 20}
        for line in more:
            write_log(root, wc, [line])
        await viewer.until(lambda m: m["op"] == "head" and m["head"] == 60)
        assert "events" not in viewer.ops()
        viewer.say({"op": "follow", "workcell": wc, "follow": True, "epoch": EPOCH, "offset": 10})
        subscribed = await viewer.until_op("subscribed", 2)
        assert (subscribed["offset"], subscribed["head"]) == (10, 60)
        await viewer.until_op("live", 2)
        assert len(events_of(viewer.got, wc)) == 50


async def test_heads_come_at_most_four_times_a_second(hub: Hub, root: Root, wc: str) -> None:
    loop = asyncio.get_running_loop()
    async with Viewer(hub) as viewer:
        viewer.subscribe(wc, "tail")
        await viewer.until_op("live")
        began = loop.time()
        viewer.say({"op": "follow", "workcell": wc, "follow": False})
        for number in range(20, 50):
            write_log(root, wc, [event_line(number)])
            await published(hub, wc, number + 1)
        await viewer.until(lambda m: m["op"] == "head" and m["head"] == 50)
        assert viewer.ops().count("head") <= 1 + (loop.time() - began) / 0.25


async def test_after_a_reset_a_viewer_that_does_not_follow_gets_the_head_even_if_it_equals_the_old_one(
    hub: Hub, root: Root, wc: str
) -> None:
    async with Viewer(hub) as viewer:
        viewer.subscribe(wc, "tail")
        viewer.say({"op": "follow", "workcell": wc, "follow": False})
        await viewer.until(lambda m: m["op"] == "head" and m["head"] == 20)
        fresh = [event_line(n, f"other {n}") for n in range(20)]
        path = write_log(root, "replacement", fresh[:3])
        path.rename(root.log(wc))
        await viewer.until(lambda m: m["op"] == "reset" and m["head"] == 3)
        write_log(root, wc, fresh[3:])
        epoch = natural_epoch(fresh[0])
        await viewer.until(lambda m: m["op"] == "head" and (m["epoch"], m["head"]) == (epoch, 20))


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"op": "follow", "workcell": "wc", "follow": True}, "bad_cursor"),
        ({"op": "follow", "workcell": "wc", "follow": True, "epoch": EPOCH}, "bad_cursor"),
        ({"op": "follow", "workcell": "unknown", "follow": False}, "bad_message"),
        ({"op": "follow", "workcell": "wc", "follow": "no"}, "bad_message"),
        ({"op": "subscribe"}, "bad_message"),
        ({"op": "subscribe", "workcell": 5}, "bad_message"),
        ({"op": "subscribe", "workcell": "wc", "from": "end"}, "bad_message"),
        ({"op": "subscribe", "workcell": "wc", "from": {"epoch": EPOCH, "offset": -1}}, "bad_cursor"),
        ({"op": "subscribe", "workcell": "wc", "from": {"epoch": EPOCH, "offset": 2**53}}, "bad_cursor"),
        ({"op": "subscribe", "workcell": "wc", "from": {"last": 1.5}}, "bad_cursor"),
        ({"op": "subscribe", "workcell": "wc", "from": {"last": 3, "epoch": EPOCH}}, "bad_cursor"),
        ({"op": "subscribe", "workcell": "wc", "from": {"last": 3, "epoch": EPOCH, "offset": 1}}, "bad_cursor"),
        ({"op": "subscribe", "fleet": "all"}, "bad_message"),
        ({"op": "unsubscribe"}, "bad_message"),
        ({}, "unknown_op"),
        ({"op": None}, "unknown_op"),
        ({"op": "dance", "workcell": "wc"}, "unknown_op"),
        ({"op": ["ping"]}, "unknown_op"),
        ({"op": {"ping": 1}}, "unknown_op"),
        ({"op": "subscribe_fleet", "fleet": True}, "unknown_op"),
        ({"op": "events", "workcell": "wc"}, "unknown_op"),
        ('{"op":"subscribe","workcell":"wc","from":{"last":%s}}' % ("9" * 400), "bad_cursor"),
    ],
)
async def test_an_object_that_fits_no_op_gets_an_error_and_the_socket_stays_open(
    hub: Hub, wc: str, message: object, code: str
) -> None:
    async with Viewer(hub) as viewer:
        viewer.subscribe(wc, "tail")
        await viewer.until_op("live")
        viewer.say(message)
        assert (await viewer.until_op("error"))["code"] == code
        viewer.say({"op": "ping"})
        await viewer.until_op("pong")
        assert viewer.transport.closed is None


@pytest.mark.parametrize(
    "message",
    [b'{"op":"ping"}', b"", "", "ping", "[]", '"ping"', "null", "17", '{"op":"ping"', '{"op":"ping","x":NaN}',
     '{"op":"\\ud800"}', "[" * 10_000,
     '{"op":"ping","n":%s}' % ("9" * 5000)],
)  # fmt: skip
async def test_messages_that_are_not_json_objects_close_with_4400(hub: Hub, message: str | bytes) -> None:
    viewer = Viewer(hub)
    await viewer.until_op("hello")
    viewer.say(message)
    await viewer.task
    assert viewer.transport.closed is not None
    assert viewer.transport.closed[0] == 4400


async def test_more_subscriptions_than_allowed_are_refused_until_one_is_cancelled(hub: Hub, root: Root) -> None:
    names = [f"wc-{number}" for number in range(LIMITS.max_subscriptions + 1)]
    for name in names:
        write_log(root, name, LINES[:1])
    async with Viewer(hub) as viewer:
        for name in names:
            viewer.subscribe(name)
        error = await viewer.until_op("error")
        assert (error["code"], error["workcell"]) == ("too_many_subscriptions", names[-1])
        viewer.subscribe(names[0])  # again: does not count twice
        viewer.say({"op": "unsubscribe", "workcell": names[0]})
        viewer.subscribe(names[-1])
        await viewer.until(lambda m: m["op"] == "live" and m["workcell"] == names[-1])
        assert viewer.ops().count("error") == 1


async def test_a_cursor_below_the_base_gets_a_gap_up_to_it(hub: Hub, root: Root) -> None:
    header = b'{"type":"log","epoch":77,"base":100}'
    write_log(root, "pruned", [header, *LINES])
    await published(hub, "pruned", 120)
    async with Viewer(hub) as viewer, Viewer(hub) as beginner:
        viewer.subscribe("pruned", {"epoch": 77, "offset": 40})
        beginner.subscribe("pruned", "start")
        await viewer.until_op("live")
        await beginner.until_op("live")
        assert viewer.got[2] == {
            "op": "gap", "workcell": "pruned", "epoch": 77, "offset": 40, "until": 100, "reason": "pruned",
        }  # fmt: skip
        assert beginner.got[1]["offset"] == 100
        for one in (viewer, beginner):
            one.record()
            assert problems("pruned", one.history, {77: Log(LINES, 100)}, complete=77) == []


async def test_a_replaced_log_brings_reset_and_the_new_log_whole(hub: Hub, root: Root, wc: str) -> None:
    fresh = [event_line(n, f"fresh {n}") for n in range(7)]
    async with Viewer(hub) as viewer:
        viewer.subscribe(wc)
        await viewer.until_op("live")
        path = write_log(root, "replacement", fresh)
        path.rename(root.log(wc))
        epoch = natural_epoch(fresh[0])
        await viewer.until(lambda m: m["op"] == "live" and m["epoch"] == epoch and m["offset"] == 7)
        viewer.record()
    assert problems(wc, viewer.history, {EPOCH: Log(LINES), epoch: Log(fresh)}, complete=epoch) == []


async def read_slowly(hub: Hub, wc: str) -> asyncio.Event:
    """Empty a workcell's channel, and hold each read of its stream until the returned event is set."""
    answering = asyncio.Event()
    source: Any = hub.refill._source
    read_stream = source.read_stream

    async def slow(*arguments: Any) -> Any:
        await answering.wait()
        return await read_stream(*arguments)

    source.read_stream = slow
    channel = await hub.channels.open(wc)
    assert channel is not None
    channel._clear()
    return answering


async def test_a_pong_does_not_wait_for_a_slow_read_of_old_events(hub: Hub, wc: str) -> None:
    answering = await read_slowly(hub, wc)
    async with Viewer(hub) as viewer:
        viewer.subscribe(wc)
        await viewer.until_op("subscribed")
        await wait_until_async(lambda: bool(hub.refill._reads))
        for count in (1, 2, 3):
            viewer.say({"op": "ping"})
            await viewer.until_op("pong", count)
        assert "events" not in viewer.ops()
        answering.set()
        await viewer.until_op("live")
        viewer.record()
    assert problems(wc, viewer.history, {EPOCH: Log(LINES)}, complete=EPOCH) == []


async def test_a_subscription_that_is_replaced_during_a_slow_read_gets_none_of_its_events(hub: Hub, wc: str) -> None:
    answering = await read_slowly(hub, wc)
    async with Viewer(hub) as viewer:
        viewer.subscribe(wc)
        await wait_until_async(lambda: bool(hub.refill._reads))
        viewer.subscribe(wc, {"epoch": EPOCH, "offset": 15})
        await viewer.until_op("subscribed", 2)
        answering.set()
        await viewer.until_op("live")
        assert len(events_of(viewer.got, wc)) == 5
        viewer.record()
    assert problems(wc, viewer.history, {EPOCH: Log(LINES)}, complete=EPOCH) == []


async def test_a_viewer_that_never_drains_takes_bounded_memory_and_delays_no_other(
    hub: Hub, root: Root, wc: str
) -> None:
    async with Viewer(hub) as stuck, Viewer(hub) as quick:
        await stuck.until_op("hello")
        stuck.transport.draining.clear()
        stuck.subscribe(wc)
        stuck.say({"op": "subscribe", "fleet": True})
        for _ in range(300):
            stuck.say({"op": "ping"})
        quick.subscribe(wc)
        for number in range(20, 200):
            write_log(root, wc, [event_line(number)])
        await wait_until_async(lambda: len(events_of(quick.got, wc)) == 200)
        # Reading has stopped, so its requests wait in its own socket.
        assert stuck.transport.inbox.qsize() > 200
        session: Any = stuck.task.get_coro()
        assert len(session.cr_frame.f_locals["self"]._replies) < 100
        stuck.transport.draining.set()
        await stuck.until_op("pong", 300)
        await wait_until_async(lambda: len(events_of(stuck.got, wc)) == 200)


async def test_a_broken_socket_ends_the_session_and_its_subscriptions(hub: Hub, wc: str) -> None:
    viewer = Viewer(hub)
    viewer.subscribe(wc)
    viewer.say({"op": "subscribe", "fleet": True})
    await viewer.until_op("fleet")
    channel = await hub.channels.open(wc)
    assert [channel and channel.watched, hub.fleet.watched] == [True, True]

    async def broken(text: str) -> None:
        raise ConnectionError("the viewer is gone")

    viewer.transport.send = broken  # type: ignore[method-assign]
    viewer.say({"op": "ping"})
    await viewer.task
    assert [channel and channel.watched, hub.fleet.watched] == [False, False]


async def test_an_unexpected_error_in_the_writer_is_raised(hub: Hub) -> None:
    viewer = Viewer(hub)
    await viewer.until_op("hello")

    async def broken(text: str) -> None:
        raise ArithmeticError("a bug")

    viewer.transport.send = broken  # type: ignore[method-assign]
    viewer.say({"op": "ping"})
    with pytest.raises(ArithmeticError, match="a bug"):
        await viewer.task
