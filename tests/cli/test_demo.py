"""The demo: recordings that play, loop, end on request, and stay within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.logs import event_line, write_log
from support.processes import Program, Up, refusal, workcast
from support.valkey import free_port
from support.waiting import wait_until, wait_until_async
from workcast.broker.history import History
from workcast.broker.names import DEMO_FILE
from workcast.broker.publisher import Publisher
from workcast.broker.relay import Relay
from workcast.broker.root import Root
from workcast.broker.roots import Roots
from workcast.producer.demo import ACTS, Act, perform
from workcast.producer.replay import RECORDINGS
from workcast.producer.writer import read_telemetry_events

ENDLESS = next(act for act in ACTS if act.endless)


def events(root: Root, act: Act) -> list[dict[str, Any]]:
    return read_telemetry_events(root.log(act.workcell))


def runs(root: Root, act: Act) -> list[str]:
    return [event["type"] for event in events(root, act) if event["type"] in {"prompt_sent", "started", "completed"}]


def ended(root: Root, act: Act) -> str | None:
    """The status that the log's last run has completed with; None while it goes on."""
    last = events(root, act)[-1]
    return last["status"] if last["type"] == "completed" else None


async def play_until(condition: Callable[[], object], root: Root, *acts: Act, **options: Any) -> None:
    playing = [asyncio.ensure_future(perform(root, act, **options)) for act in acts]
    try:
        await wait_until_async(condition)
    finally:
        for task in playing:
            task.cancel()
        outcomes = await asyncio.gather(*playing, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes), outcomes


def test_the_acts_have_different_ids_all_recordings_and_one_endless_run() -> None:
    assert len({act.workcell for act in ACTS}) == len(ACTS)
    assert {f"{act.recording}.jsonl" for act in ACTS} == {path.name for path in RECORDINGS.glob("*.jsonl")}
    assert len([act for act in ACTS if act.endless]) == 1


async def test_every_act_but_the_endless_one_plays_to_its_end(root: Root) -> None:
    acts = [replace(act, delay=0.0) for act in ACTS]
    finite = [act for act in acts if not act.endless]

    def all_played() -> bool:
        return all("completed" in runs(root, act) for act in finite) and len(events(root, ENDLESS)) > 100

    await play_until(all_played, root, *acts, speed=40.0)
    ends: dict[str, str] = {}
    for act in finite:
        played = events(root, act)
        first = next(event for event in played if event["type"] == "completed")
        ends[act.workcell] = first["status"]
        assert {event["issue_id"] for event in played} == {act.issue}
        assert played[0]["prompt"] == act.prompt
        assert not [event for event in played if event["type"] == "unknown"]
    assert {workcell for workcell, end in ends.items() if end == "failed"} == {"upgrade-deps"}
    assert {workcell for workcell, end in ends.items() if end == "cancelled"} == {"soak-streaming"}
    assert len([end for end in ends.values() if end == "success"]) == len(finite) - 2
    assert runs(root, ENDLESS) == ["prompt_sent", "started", "completed"]
    assert ended(root, ENDLESS) == "cancelled"  # by the test's end


async def test_a_run_that_is_cut_short_completes_and_the_next_one_follows_it(root: Root) -> None:
    act = replace(next(act for act in ACTS if act.recording == "claude-2.1.330-tools"), delay=0.0)
    for number in (1, 2):
        await play_until(lambda: runs(root, act).count("started") == number, root, act)  # noqa: B023 - awaited at once
        assert runs(root, act) == ["prompt_sent", "started", "completed"] * number
        assert ended(root, act) == "cancelled"


@pytest.mark.parametrize("endless", [False, True])
async def test_a_log_that_has_grown_is_recreated_with_another_epoch(
    root: Root, redis_url: str, *, endless: bool
) -> None:
    act = replace(ENDLESS, delay=0.0, pause=0.0, endless=endless)
    publisher, relay, history = Publisher(redis_url), Relay(root, redis_url), History(Roots(root))
    relay.start()
    seen: dict[int, int] = {}

    def three_epochs() -> bool:
        (position,) = publisher.watermarks([act.workcell])
        if position.epoch:
            seen[position.epoch] = max(seen.get(position.epoch, 0), position.head)
        return len(seen) >= 3

    try:
        await play_until(three_epochs, root, act, keep_bytes=30_000, speed=10.0)
        assert root.log(act.workcell).stat().st_size < 60_000
        assert runs(root, act)[0] == "prompt_sent"
        extent = history.extent(act.workcell)
        assert extent is not None
        wait_until(lambda: publisher.watermarks([act.workcell])[0].head == extent.end)
        assert publisher.watermarks([act.workcell])[0].epoch == extent.epoch
    finally:
        relay.close()
        publisher.close()


def fleet(url: str) -> Mapping[str, Mapping[str, Any]]:
    return {w["id"]: w["summary"] or {} for w in httpx.get(f"{url}/api/workcells").json()["workcells"]}


def test_without_serving_the_demo_plays_for_the_up_of_its_root_and_ends_cleanly(tmp_path: Path) -> None:
    with Up(tmp_path) as up:
        with Program("demo", "--root", str(tmp_path), "--only-agents") as agents:
            assert agents.lines(1) == [f"{len(ACTS)} workcells play in {tmp_path}\n"]
            wait_until(lambda: fleet(up.url).get(ENDLESS.workcell, {}).get("head", 0) > 3)
            assert fleet(up.url)[ENDLESS.workcell]["status"] == "running"
            agents.process.terminate()
            assert agents.wait() == 0
            assert agents.err == ""
        wait_until(lambda: fleet(up.url)[ENDLESS.workcell]["status"] == "cancelled")


def test_the_demo_keeps_a_root_that_it_is_given(tmp_path: Path) -> None:
    with Up(tmp_path, "--root", str(tmp_path), verb="demo") as demo:
        wait_until(lambda: fleet(demo.url).get(ENDLESS.workcell, {}).get("head", 0) > 3)
        demo.interrupt()
        assert demo.wait() == 0
    assert ended(Root(tmp_path), ENDLESS) == "cancelled"


def test_without_serving_the_demo_needs_a_root(tmp_path: Path) -> None:
    done = workcast("demo", "--only-agents", cwd=tmp_path)
    assert done.returncode == 2
    assert b"expected --root" in done.stderr


def test_two_demos_do_not_play_in_one_root(tmp_path: Path) -> None:
    arguments = ("demo", "--root", str(tmp_path), "--only-agents")
    with Program(*arguments) as one:
        one.lines(1)
        assert "another run" in refusal(workcast(*arguments))


def test_the_demo_does_not_touch_a_workcell_that_is_not_its_own(root: Root) -> None:
    write_log(root, ENDLESS.workcell, [event_line(0)])
    before = root.log(ENDLESS.workcell).read_bytes()
    message = refusal(workcast("demo", "--root", str(root.directory), "--only-agents"))
    assert "holds another log" in message
    assert root.log(ENDLESS.workcell).read_bytes() == before
    assert not (root.workcell(ENDLESS.workcell) / DEMO_FILE).exists()


def test_without_serving_the_demo_gives_up_on_a_redis_that_never_answers(tmp_path: Path) -> None:
    port = free_port()
    arguments = ("demo", "--root", str(tmp_path), "--only-agents", "--redis-url", f"redis://127.0.0.1:{port}")
    assert str(port) in refusal(workcast(*arguments, env={"WORKCAST_REDIS_PATIENCE": "0"}))
