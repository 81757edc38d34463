"""The windows of all workcells fit one budget, whichever relays publish them, however many they are."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.broker_checker import stream_problems
from support.history_checker import Log
from support.history_checker import problems as history_problems
from support.logs import event_line, write_log
from support.valkey import Server
from support.viewers import Viewer, running_hub, running_relay
from support.waiting import wait_until, wait_until_async
from workcast.broker.batch import Batch, Budgets
from workcast.broker.connection import connect
from workcast.broker.keys import feed_key, stream_key, summary_key, window_sizes_key, windows_key
from workcast.broker.log import natural_epoch
from workcast.broker.publisher import Publisher
from workcast.broker.relay import Relay
from workcast.broker.root import Root
from workcast.broker.subscriber import Subscriber
from workcast.broker.warn_once import WarnOnce
from workcast.broker.windows import Windows
from workcast.events.wire import wire

IDLE_MS = 15_000
EMPTY = 0
COMPLETED = b'{"type":"completed","timestamp":"2026-01-01T00:00:01.000Z","status":"success"}'


def lines_of(number: int, count: int, size: int = 200) -> list[bytes]:
    """The lines of a log, which differ from those of other logs."""
    return [event_line(line, f"{number}:{line} ".ljust(size, "x")) for line in range(count)]


def taken(client: Any) -> int:
    """The bytes that the entries of all streams take, as the server measures them."""
    keys = [key for key in client.scan_iter("workcast:{0}:stream:*", count=1000) if client.xlen(key)]
    return sum(client.memory_usage(key, samples=0) or 0 for key in keys)


def counted(client: Any) -> int:
    return int(client.hget(window_sizes_key(0), "*total") or 0)


def windows_of(publisher: Publisher) -> Windows:
    return Windows(publisher, WarnOnce(logging.getLogger("workcast.relay")), sets_budget=True)


def publish(publisher: Publisher, workcell: str, offset: int, lines: list[bytes], *, begins: bool | None = None) -> str:
    entries = [(number, line) for number, line in enumerate(lines)]
    batch = Batch(
        workcell, 1, "origin", 0, offset, entries, 0, offset == 0 if begins is None else begins, summary=b"{}"
    )  # fmt: skip
    return publisher.publish(batch, time.time_ns() // 1_000_000).kind


# ── the rule ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class Window:
    """Sizes of its entries, and how long ago it was used."""

    entries: list[int]
    age_ms: int


WINDOWS = st.lists(
    st.builds(
        Window,
        st.lists(st.sampled_from([1, 50, 900, 5_000, 60_000]), min_size=1, max_size=40),
        st.sampled_from([0, 1_000, 16_000, 20_000, 3_600_000, 80_000_000]),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60)
@given(windows=WINDOWS, share=st.floats(0, 1.2))
def test_idle_windows_are_emptied_first_and_busy_ones_are_cut_to_an_equal_share(
    valkey: str, windows: list[Window], share: float
) -> None:
    client: Any = connect(valkey)
    client.flushall()
    publisher = Publisher(valkey)
    for number, window in enumerate(windows):
        for at, size in enumerate(window.entries):
            assert publish(publisher, f"wc-{number}", at, [b"x" * size]) == "ok"
    seconds, microseconds = client.time()
    now = seconds * 1000 + microseconds // 1000
    used = {f"wc-{number}": now - window.age_ms - number for number, window in enumerate(windows)}
    client.zadd(windows_key(0), used)
    whole = {name: client.xrange(stream_key(name)) for name in used}
    sizes = {name: client.memory_usage(stream_key(name), samples=0) for name in used}
    budget = int(sum(sizes.values()) * share)

    freed = publisher.keep_window_budget(budget, measure=True)

    kept = {name: client.xrange(stream_key(name)) for name in used}
    assert freed.before == sum(sizes.values())
    assert taken(client) == freed.after == counted(client) <= budget
    assert freed.count == sum(kept[name] != whole[name] for name in used)
    for name, entries in kept.items():
        assert entries == whole[name][len(whole[name]) - len(entries) :]  # the newest ones
        last = client.xinfo_stream(stream_key(name))["last-generated-id"]
        assert last == whole[name][-1][0]
        number = int(name.removeprefix("wc-"))
        assert publish(publisher, name, len(whole[name]), [b"next"]) == "ok", number
    idle = sorted((name for name in used if now - used[name] >= IDLE_MS), key=used.__getitem__)
    busy = [name for name in used if name not in idle]
    emptied = [name for name in idle if not kept[name]]
    assert emptied == idle[: len(emptied)]  # the least recently used
    assert all(kept[name] in ([], whole[name]) for name in idle)
    cut = [name for name in busy if kept[name] != whole[name]]
    if cut:
        assert emptied == idle
        goal = budget if freed.before <= budget else budget * 7 // 8
        assert all(sizes[name] > goal // len(busy) for name in cut)
    publisher.close()
    client.close()


@settings(max_examples=30)
@given(
    batches=st.lists(
        st.tuples(st.integers(0, 5), st.integers(1, 30), st.sampled_from([1, 300, 3_000, 40_000])), max_size=40
    ),
    budget=st.sampled_from([0, 20_000, 200_000, 2_000_000]),
)
def test_no_batch_leaves_more_than_the_budget(valkey: str, batches: list[tuple[int, int, int]], budget: int) -> None:
    client: Any = connect(valkey)
    client.flushall()
    publisher = Publisher(valkey, Budgets(window_bytes=budget))
    heads: dict[str, int] = {}
    for number, count, size in batches:
        name = f"wc-{number}"
        assert publish(publisher, name, heads.get(name, 0), [b"x" * size] * count) == "ok"
        heads[name] = heads.get(name, 0) + count
        assert taken(client) <= counted(client) <= budget
        assert client.hget(summary_key(name), "head") == b"%d" % heads[name]
    assert client.xlen(feed_key(0)) == sum(heads.values())
    assert publisher.keep_window_budget(None, measure=True).before == taken(client)
    publisher.close()
    client.close()


@pytest.mark.parametrize(
    "sizes", [[10] * 3000, [40_000] * 100, [10] * 1000 + [60_000] * 60, [60_000] * 60 + [10] * 2000]
)
def test_the_feed_keeps_its_budget_whatever_its_entries(redis_url: str, redis_client: Any, sizes: list[int]) -> None:
    """Also when the first ones are small and the last ones large."""
    publisher = Publisher(redis_url, Budgets(feed_bytes=400_000))
    for at, size in enumerate(sizes):
        publish(publisher, "wc", at, [b"x" * size])
        if at % 20 == 0:
            assert (redis_client.memory_usage(feed_key(0), samples=0) or 0) <= 400_000
    assert redis_client.xlen(feed_key(0)) > 4
    publisher.close()


def test_windows_without_an_account_are_counted(redis_url: str, redis_client: Any) -> None:
    """Those of a relay of an earlier version; and none of those that are gone."""
    publisher = Publisher(redis_url)
    for number in range(4):
        publish(publisher, f"wc-{number}", 0, lines_of(number, 30))
    redis_client.delete(windows_key(0), window_sizes_key(0))
    publish(publisher, "wc-3", 30, lines_of(3, 1))
    assert counted(redis_client) >= redis_client.memory_usage(stream_key("wc-3"), samples=0)
    redis_client.delete(stream_key("wc-0"))
    windows_of(publisher).sweep()
    assert counted(redis_client) == taken(redis_client) > 0
    assert redis_client.zcard(windows_key(0)) == 3
    publisher.close()


def test_the_budget_of_a_sweep_is_that_of_all_relays(redis_url: str, redis_client: Any) -> None:
    """Writers that relay their own log know no setting of the ``relay`` beside them."""
    ours, writer = Publisher(redis_url, Budgets(window_bytes=30_000)), Publisher(redis_url)
    windows_of(ours).sweep()
    for at in range(20):
        publish(writer, "wc", at, lines_of(0, 1, 9_000))
        assert taken(redis_client) <= 30_000
    Windows(writer, WarnOnce(logging.getLogger("workcast.relay")), sets_budget=False).sweep()
    publish(writer, "wc", 20, lines_of(0, 1, 9_000))
    assert taken(redis_client) <= 30_000
    for publisher in (ours, writer):
        publisher.close()


async def test_a_watched_window_outlives_one_that_was_written_later(redis_url: str, redis_client: Any) -> None:
    publisher, subscriber = Publisher(redis_url), Subscriber(redis_url)
    for name in ("watched", "later"):
        publish(publisher, name, 0, lines_of(0, 30))
    redis_client.zadd(windows_key(0), {"watched": 1, "later": 2})
    await subscriber.mark_watched(["watched", "without-a-window"])
    assert redis_client.zcard(windows_key(0)) == 2
    publisher.keep_window_budget(taken(redis_client) * 2 // 3)
    assert redis_client.xlen(stream_key("watched")) == 30
    assert redis_client.xlen(stream_key("later")) == 0
    await subscriber.aclose()
    publisher.close()


def test_a_window_that_was_emptied_is_published_whole_when_it_begins_again(redis_url: str, redis_client: Any) -> None:
    publisher = Publisher(redis_url)
    lines = lines_of(0, 10)
    publish(publisher, "wc", 0, lines)
    publisher.keep_window_budget(EMPTY)
    assert redis_client.xlen(stream_key("wc")) == 0
    publisher.keep_window_budget(1 << 20)
    assert publish(publisher, "wc", 4, lines[4:], begins=True) == "ok"
    assert [fields[b"d"] for _, fields in redis_client.xrange(stream_key("wc"))] == lines[4:]
    assert redis_client.hget(summary_key("wc"), "head") == b"10"
    publisher.close()


# ── with relays and viewers ──────────────────────────────────────────────────────────────────────────────────────────
BUDGETS = Budgets(stream_bytes=80_000, window_bytes=600_000)


class Cells:
    """The workcells of some roots, ended and running, whose logs grow."""

    def __init__(self, roots: list[Root], count: int) -> None:
        self.lines: dict[str, list[bytes]] = {}
        self.roots: dict[str, Root] = {}
        for number in range(count):
            name = f"wc-{number}"
            self.roots[name] = roots[number % len(roots)]
            self.append(name, lines_of(number, 100))
            if number % 3 == 0:
                self.append(name, [COMPLETED])

    def append(self, name: str, lines: list[bytes]) -> None:
        self.lines[name] = [*self.lines.get(name, []), *lines]
        write_log(self.roots[name], name, lines)

    def are_published(self, client: Any) -> bool:
        heads = {name: client.hget(summary_key(name), "head") for name in self.lines}
        return all(int(heads[name] or 0) == len(lines) for name, lines in self.lines.items())

    def stream_problems(self, client: Any) -> list[str]:
        return [
            f"{name}: {problem}"
            for name, lines in self.lines.items()
            for problem in stream_problems(client, name, natural_epoch(lines[0]), lines)
        ]


@pytest.fixture
def roots(tmp_path: Path) -> list[Root]:
    made = [Root(tmp_path / name) for name in ("a", "b")]
    for root in made:
        root.directory.mkdir()
        root.prepare()
    return made


async def test_many_workcells_of_two_roots_keep_the_budget_and_viewers_miss_nothing(
    roots: list[Root], redis_url: str, redis_client: Any
) -> None:
    cells = Cells(roots, 40)
    watched = ["wc-0", "wc-1", "wc-2", "wc-3"]
    with ExitStack() as stack:
        for root in (*roots, roots[0]):  # two relays of one of them
            stack.enter_context(running_relay(root, redis_url, BUDGETS))
        await wait_until_async(lambda: cells.are_published(redis_client))
        async with running_hub(roots[0], redis_url) as hub, Viewer(hub) as viewer:
            for name in watched[::2]:
                viewer.subscribe(name)
            for turn in range(30):
                for number in range(40):
                    cells.append(f"wc-{number}", lines_of(1000 * turn + number, 4))
                assert taken(redis_client) <= BUDGETS.window_bytes
            await wait_until_async(lambda: cells.are_published(redis_client))
            assert taken(redis_client) <= BUDGETS.window_bytes
            for name in watched[::2]:
                end = len(cells.lines[name])
                await viewer.until(partial(_reaches, workcell=name, end=end))
            viewer.record()
            assert _viewer_problems(cells, viewer, watched[::2]) == []
        assert cells.stream_problems(redis_client) == []
    # 40 windows of 80 kB do not fit
    assert any(redis_client.xlen(stream_key(name)) < 200 for name in cells.lines)


async def test_a_gateway_without_the_logs_gets_the_windows_that_were_emptied(
    roots: list[Root], redis_url: str, redis_client: Any
) -> None:
    cells = Cells(roots[:1], 12)
    with running_relay(roots[0], redis_url, BUDGETS) as relay:
        await wait_until_async(lambda: cells.are_published(redis_client))
        publisher = Publisher(redis_url)
        publisher.keep_window_budget(None, goal=EMPTY)
        assert taken(redis_client) == 0
        async with running_hub(roots[1], redis_url) as hub, Viewer(hub) as viewer:
            for name in ("wc-0", "wc-1"):
                viewer.subscribe(name)
                await viewer.until(partial(_is_live, workcell=name))
            cells.append("wc-1", lines_of(99, 3))
            await viewer.until(partial(_reaches, workcell="wc-1", end=len(cells.lines["wc-1"])))
            viewer.record()
            assert "gap" not in viewer.ops()
            assert _viewer_problems(cells, viewer, ["wc-0", "wc-1"]) == []
        publisher.close()
        assert isinstance(relay, Relay)
    assert cells.stream_problems(redis_client) == []


def _is_live(message: dict[str, Any], workcell: str) -> bool:
    return bool(message["op"] == "live" and message["workcell"] == workcell)


def _reaches(message: dict[str, Any], workcell: str, end: int) -> bool:
    if message.get("workcell") != workcell or message["op"] != "events":
        return False
    return bool(message["offset"] + len(message["events"]) >= end)


def _viewer_problems(cells: Cells, viewer: Viewer, names: list[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        epoch = natural_epoch(cells.lines[name][0])
        log = Log([wire(line) for line in cells.lines[name]])
        found += history_problems(name, viewer.history, {epoch: log}, complete=epoch)
    return found


# ── a full server ────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    server = Server(tmp_path_factory.mktemp("s"))
    server.start()
    yield server
    server.kill()


def test_a_server_that_becomes_full_loses_windows_and_nothing_else(
    roots: list[Root], server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    cells = Cells(roots[:1], 30)
    with server.client() as client, running_relay(roots[0], server.url):
        wait_until(lambda: cells.are_published(client))
        before = taken(client)
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", client.info("memory")["used_memory"] - 50_000)
        wait_until(lambda: taken(client) < before)
        for turn in range(3):
            for name in cells.lines:
                cells.append(name, lines_of(1000 + turn, 2))
        wait_until(lambda: cells.are_published(client))
        assert cells.stream_problems(client) == []
        entries = [fields for _, fields in client.xrange(feed_key(0)) if fields[b"w"] == b"wc-1"]
        offsets = [int(fields[b"o"]) for fields in entries if fields[b"e"] != b"0"]
        assert offsets == list(range(len(cells.lines["wc-1"])))
        last = _last_entry(client)
        wait_until(lambda: _last_entry(client) > last, what="the server takes heartbeats again")
    assert caplog.text.count("is full") == 1
    assert caplog.text.count("windows are cut to make room") == 1


def _last_entry(client: Any) -> tuple[int, ...]:
    return tuple(map(int, client.xrevrange(feed_key(0), count=1)[0][0].split(b"-")))


def test_a_budget_that_was_lowered_rises_again(redis_url: str, redis_client: Any) -> None:
    publisher = Publisher(redis_url, Budgets(window_bytes=800_000))
    windows = windows_of(publisher)
    windows.sweep()
    publish(publisher, "wc", 0, lines_of(0, 1000))
    windows.make_room("full")
    assert taken(redis_client) <= 200_000
    budgets: list[int] = []
    while not budgets or budgets[-1] < 800_000:
        windows.sweep()
        budgets.append(int(redis_client.hget(window_sizes_key(0), "*budget")))
    assert budgets == sorted(budgets)
    assert budgets[0] < 400_000
    assert len(budgets) > 10
    publisher.close()
