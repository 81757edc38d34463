"""Lines that are edited in place after they were shown: no viewer sees two events under one epoch and offset."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect as connect_viewer

from support.gateway import Gateway, get
from support.log_edits import edit_in_place, prune, read_log
from support.logs import event_line, write_log
from support.viewers import Message, Viewer, running_hub, running_relay
from support.waiting import wait_until, wait_until_async
from workcast.broker.batch import Budgets
from workcast.broker.keys import edited_key, stream_key, wanted_key
from workcast.broker.log import LogReader
from workcast.broker.log_facts import epoch_of
from workcast.broker.log_relay import LogRelay
from workcast.broker.publisher import Publisher
from workcast.broker.root import Root
from workcast.broker.verify import verify

COUNT = 400
LINES = [event_line(number, f"chunk {number:04}") for number in range(COUNT)]
SMALL = Budgets(stream_entries=5, feed_entries=8)
"""The stream holds some dozens of the last lines, because it is trimmed by nodes; the others are in the log alone."""
LARGE = Budgets()


# ── edits ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def other(index: int, *, longer: int = 0) -> bytes:
    return event_line(index, f"CHUNK {index:04}" + "x" * longer)


def edit_a_middle_line(path: Path) -> int:
    edit_in_place(path, 100, other(100))
    return 100


def edit_the_first_line(path: Path) -> int:
    edit_in_place(path, 0, other(0))
    return 0


def edit_the_last_line(path: Path) -> int:
    edit_in_place(path, COUNT - 1, other(COUNT - 1))
    return COUNT - 1


def lengthen_one_and_shorten_another(path: Path) -> int:
    """The size and the end of the file stay what they were."""
    edit_in_place(path, 100, other(100, longer=3))
    edit_in_place(path, 150, event_line(150, "chunk 0"))
    return 100


def exchange_two_lines(path: Path) -> int:
    edit_in_place(path, 100, LINES[101])
    edit_in_place(path, 101, LINES[100])
    return 100


EDITS = [
    edit_a_middle_line,
    edit_the_first_line,
    edit_the_last_line,
    lengthen_one_and_shorten_another,
    exchange_two_lines,
]
WHENS = ["nothing runs", "a relay was killed", "the broker lost its memory", "a relay runs"]


def disk_epoch(root: Root) -> int:
    reader = LogReader(root.log("wc"))
    reader.refresh()
    return epoch_of(root, "wc", reader)


def lines_of(root: Root) -> list[bytes]:
    return read_log(root.log("wc"))[1]


class Shown:
    """Everything that any viewer was shown; fails at the second event under one epoch and offset."""

    def __init__(self) -> None:
        self._events: dict[tuple[int, int], object] = {}

    def add(self, epoch: int, offset: int, event: object) -> None:
        assert self._events.setdefault((epoch, offset), event) == event, (epoch, offset)

    def add_messages(self, messages: list[Message]) -> None:
        for message in messages:
            if message["op"] == "events":
                for offset, event in enumerate(message["events"], message["offset"]):
                    self.add(message["epoch"], offset, event)

    def add_stream(self, client: Any) -> None:
        for name, fields in client.xrange(stream_key("wc")):
            epoch, _, sequence = name.partition(b"-")
            self.add(int(epoch), int(sequence) - 1, json.loads(fields[b"d"]))

    def of(self, epoch: int) -> list[object]:
        return [event for (one, _), event in sorted(self._events.items()) if one == epoch]


@asynccontextmanager
async def viewing(root: Root, url: str, shown: Shown) -> AsyncGenerator[Viewer]:
    """A viewer of a new gateway, from the start of the log."""
    async with running_hub(root, url, ring_bytes=600) as hub, Viewer(hub) as viewer:
        viewer.subscribe("wc", "start")
        try:
            yield viewer
        finally:
            shown.add_messages(viewer.got)


def has_all(viewer: Viewer, root: Root) -> bool:
    """Whether the viewer has been shown the log as it is on disk, in its epoch, since its last reset."""
    got = viewer.got
    begins = [at for at, message in enumerate(got) if message["op"] in ("subscribed", "reset")]
    if not begins or got[begins[-1]]["epoch"] != disk_epoch(root):
        return False
    events = [event for message in got[begins[-1] :] if message["op"] == "events" for event in message["events"]]
    return events == [json.loads(line) for line in lines_of(root)]


async def show_all(root: Root, url: str, shown: Shown) -> None:
    """Let a new viewer of a new gateway read until it has the whole log as it is on disk."""
    async with viewing(root, url, shown) as viewer:
        await wait_until_async(lambda: has_all(viewer, root))


async def edit_when(
    when: str, root: Root, url: str, client: Any, stack: ExitStack, budgets: Budgets, edit: Callable[[Path], int]
) -> tuple[Shown, int]:
    """Show a log to a viewer, edit it, and leave a relay running; return what was shown, and the edited offset."""
    shown = Shown()
    write_log(root, "wc", LINES)
    if when == "a relay was killed":  # it had no time to keep a checkpoint
        publisher = Publisher(url, budgets)
        relay = LogRelay(root, "wc", publisher)
        while relay.pump():
            pass
        publisher.close()
        await show_all(root, url, shown)
        at = edit(root.log("wc"))
        stack.enter_context(running_relay(root, url, budgets))
        return shown, at
    with ExitStack() as before:
        relay_of_all = stack if when == "a relay runs" else before
        relay_of_all.enter_context(running_relay(root, url, budgets))
        await show_all(root, url, shown)
    at = edit(root.log("wc"))
    if when == "the broker lost its memory":
        client.flushall()
    if when != "a relay runs":
        stack.enter_context(running_relay(root, url, budgets))
    return shown, at


@pytest.mark.parametrize("when", WHENS)
@pytest.mark.parametrize("edit", EDITS)
async def test_a_viewer_that_reads_history_is_shown_the_edited_log_in_an_epoch_of_its_own(
    root: Root, redis_url: str, redis_client: Any, edit: Callable[[Path], int], when: str
) -> None:
    with ExitStack() as stack:
        shown, _ = await edit_when(when, root, redis_url, redis_client, stack, SMALL, edit)
        for _ in range(2):
            await show_all(root, redis_url, shown)
        assert len(shown.of(disk_epoch(root))) == COUNT


@pytest.mark.parametrize("when", WHENS)
@pytest.mark.parametrize("edit", EDITS)
async def test_a_window_that_is_published_again_is_published_in_an_epoch_of_its_own(
    root: Root, redis_url: str, redis_client: Any, edit: Callable[[Path], int], when: str
) -> None:
    with ExitStack() as stack:
        shown, _ = await edit_when(when, root, redis_url, redis_client, stack, LARGE, edit)
        redis_client.sadd(wanted_key(0), "wc")
        wait_until(lambda: redis_client.xlen(stream_key("wc")) == COUNT and not redis_client.exists(wanted_key(0)))
        if edit is not edit_the_first_line:  # which changes the epoch that the files give at once
            wait_until(lambda: root.log_state("wc").retired_epochs())
        wait_until(lambda: _stream(redis_client, disk_epoch(root)) == lines_of(root))
        shown.add_stream(redis_client)
        await show_all(root, redis_url, shown)


def _stream(client: Any, epoch: int) -> list[bytes]:
    return [f[b"d"] for name, f in client.xrange(stream_key("wc")) if name.startswith(b"%d-" % epoch)]


@pytest.mark.parametrize("when", [when for when in WHENS if when != "a relay runs"])
@pytest.mark.parametrize("edit", EDITS)
def test_verify_names_the_first_line_that_was_edited(
    root: Root, redis_url: str, redis_client: Any, edit: Callable[[Path], int], when: str
) -> None:
    publisher = Publisher(redis_url, SMALL)
    write_log(root, "wc", LINES)
    relay = LogRelay(root, "wc", publisher)
    while relay.pump():
        pass
    if when == "nothing runs":
        relay.checkpoint()
    verdict = verify(root, "wc", publisher)
    assert (verdict.problems, verdict.proven) == ([], COUNT)
    at = edit(root.log("wc"))
    if when == "the broker lost its memory":
        redis_client.flushall()
    verdict = verify(root, "wc", publisher)
    publisher.close()
    named = f"the line at {at} was edited after it was shown"
    if edit is edit_the_first_line:  # of another epoch, about which the sums say nothing
        assert verdict.proven == 0
        assert "needs a relay" in verdict.problems[0]
    else:
        assert named in verdict.problems
        assert verdict.proven == at


@pytest.mark.parametrize("when", WHENS)
async def test_a_line_that_was_edited_and_then_pruned_harms_nothing(
    root: Root, redis_url: str, redis_client: Any, when: str
) -> None:
    """What is left of the log is what was shown: it keeps its epoch."""

    def edit_and_prune(path: Path) -> int:
        epoch = disk_epoch(root)
        edit_in_place(path, 100, other(100))
        prune(path, epoch, 150)
        return 100

    with ExitStack() as stack:
        shown, _ = await edit_when(when, root, redis_url, redis_client, stack, SMALL, edit_and_prune)
        epoch = disk_epoch(root)
        await show_all(root, redis_url, shown)
        assert disk_epoch(root) == epoch
        assert len(shown.of(epoch)) == COUNT


async def test_a_line_that_was_edited_and_is_left_by_a_prune_is_found(
    root: Root, redis_url: str, redis_client: Any
) -> None:
    """The header says that the lines are those of before, and is wrong."""
    old: list[int] = []

    def edit_and_prune(path: Path) -> int:
        old.append(disk_epoch(root))
        edit_in_place(path, 200, other(200))
        prune(path, old[0], 150)
        return 200

    with ExitStack() as stack:
        shown, _ = await edit_when("nothing runs", root, redis_url, redis_client, stack, SMALL, edit_and_prune)
        await show_all(root, redis_url, shown)
        assert disk_epoch(root) not in (0, *old)


# ── without a relay, without a broker ────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("broker", ["with a broker", "without a broker"])
async def test_without_a_relay_the_edited_lines_are_not_shown_and_the_others_are(
    root: Root, redis_url: str, tmp_path: Path, broker: str
) -> None:
    """The gateway writes nothing; the next relay gives the log its epoch, and viewers the log."""
    shown = Shown()
    write_log(root, "wc", LINES)
    with running_relay(root, redis_url, SMALL):
        await show_all(root, redis_url, shown)
    epoch = disk_epoch(root)
    edit_a_middle_line(root.log("wc"))
    url = redis_url if broker == "with a broker" else f"unix://{tmp_path}/nothing.sock"
    before = {path: path.read_bytes() for path in root.state.iterdir()}
    async with running_hub(root, url, connected=broker == "with a broker") as hub, Viewer(hub) as viewer:
        viewer.subscribe("wc", "start")
        await viewer.until_op("live")
        gap = await viewer.until_op("gap")
        assert (gap["offset"] <= 100 < gap["until"], gap["reason"], gap["epoch"]) == (True, "unavailable", epoch)
        shown.add_messages(viewer.got)
    assert {path: path.read_bytes() for path in root.state.iterdir()} == before
    with running_relay(root, redis_url, SMALL):
        await show_all(root, redis_url, shown)
    assert disk_epoch(root) != epoch


async def test_an_edit_that_no_relay_ever_saw_the_log_before_is_not_noticed(root: Root, tmp_path: Path) -> None:
    """Without a broker and without a relay nothing is written that could prove it: the documents say so."""
    write_log(root, "wc", LINES)
    async with running_hub(root, f"unix://{tmp_path}/nothing.sock", connected=False) as hub:
        for _ in range(2):
            async with Viewer(hub) as viewer:
                viewer.subscribe("wc", "start")
                await wait_until_async(partial(has_all, viewer, root))
            edit_a_middle_line(root.log("wc"))
    assert not list(root.state.iterdir())


# ── HTTP ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("path", ["events?offset=90&limit=20", "events/100", "account"])
def test_a_request_never_gets_an_edited_line_in_the_epoch_of_the_line_that_was_shown(
    root: Root, redis_url: str, redis_client: Any, path: str
) -> None:
    write_log(root, "wc", LINES)
    url = f"/api/workcells/wc/{path}"
    with running_relay(root, redis_url, SMALL):
        wait_until(lambda: root.log_state("wc").watermark() is not None)
        with Gateway(root, redis_url).running() as gateway:
            wait_until(lambda: get(gateway, url).status_code == 200)
    epoch = disk_epoch(root)
    lengthen_one_and_shorten_another(root.log("wc"))
    with Gateway(root, redis_url).running() as gateway:
        answer = get(gateway, url)
        if path.startswith("events?"):
            page: dict[str, Any] = answer.json()
            events: list[object] = page["events"]
            assert page["epoch"] == epoch
            assert events == [json.loads(line) for line in LINES[page["offset"] :][: len(events)]]
        else:
            assert answer.status_code == 409
            assert "(its line 100 was edited)" in answer.json()["detail"]
        assert redis_client.hget(edited_key(0), "wc") == b"%d 100" % epoch
        with running_relay(root, redis_url, SMALL), connect_viewer(gateway.stream) as viewer:
            viewer.send(json.dumps({"op": "subscribe", "workcell": "wc", "from": {"epoch": epoch, "offset": COUNT}}))
            while json.loads(viewer.recv(20))["op"] != "reset":
                pass
            wait_until(lambda: get(gateway, url).status_code == 200)
            assert get(gateway, "/api/workcells/wc/events/100").content == lines_of(root)[100]
            assert not redis_client.exists(edited_key(0))
