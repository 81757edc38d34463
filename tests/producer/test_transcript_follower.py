"""The follower: past sessions, the newest first, current ones as they are written, and those of runs."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from support.transcripts import SESSIONS, lines_of, logged
from support.waiting import wait_until
from workcast.broker.removal import remove_records
from workcast.broker.root import Root
from workcast.producer.cleanup import Cleanup
from workcast.producer.transcripts.follower import Follower
from workcast.producer.transcripts.session_lock import hold_session
from workcast.producer.workcell import hold_workcell
from workcast.producer.writer import TelemetryWriter

BASIC = SESSIONS["claude-2.1.330-basic"][0]
SESSION = "c5563a0b-9483-46e2-b0c9-52286dcaf805"
CELL = f"claude-{SESSION}"
UUID = re.compile(rb"\b[0-9a-f]{8}(-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\b")
TIME = re.compile(rb'("timestamp":")[^"]*')

Following = Callable[..., AbstractContextManager[Follower]]


@pytest.fixture
def projects(tmp_path: Path) -> Path:
    return tmp_path / "config" / "projects"


@pytest.fixture
def following(root: Root, projects: Path, tmp_path: Path) -> Following:
    @contextmanager
    def follow(since: timedelta | None = None, in_root: Root = root) -> Generator[Follower]:
        follower = Follower(in_root, {"claude": projects, "codex": tmp_path / "config" / "sessions"}, since)
        thread = threading.Thread(target=follower.run)
        thread.start()
        try:
            yield follower
        finally:
            follower.stop()
            thread.join(20)
            assert not thread.is_alive()

    return follow


def put(path: Path, lines: list[bytes], age: float = 0) -> Path:
    """Append lines with the current time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(b"".join(stamped(line) + b"\n" for line in lines))
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def stamped(line: bytes) -> bytes:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
    return TIME.sub(rb"\g<1>" + now.encode(), line)


def types(root: Root, workcell: str = CELL) -> list[str]:
    return [event["type"] for event in logged(root, workcell)]


def named(session: str) -> list[bytes]:
    """Return a session's lines with another session's id and other names, so that it is not a fork."""
    lines = [line.replace(SESSION.encode(), session.encode()) for line in lines_of(BASIC)]
    return [UUID.sub(session[:8].encode() + rb"\1", line) for line in lines]


def test_a_session_is_recorded_line_by_line_while_it_is_written(
    root: Root, projects: Path, following: Following
) -> None:
    path = projects / "-home-dev" / f"{SESSION}.jsonl"
    with following():
        for number, line in enumerate(lines_of(BASIC)):
            put(path, [line])
            if number == 8:
                wait_until(lambda: types(root)[-1:] == ["bash_command"])
        wait_until(lambda: types(root)[-1:] == ["completed"])
    assert types(root).count("completed") == 1


def test_a_line_without_its_newline_waits_for_it(root: Root, projects: Path, following: Following) -> None:
    lines = lines_of(BASIC)
    path = put(projects / "p" / f"{SESSION}.jsonl", lines[:3])
    with path.open("ab", buffering=0) as file:
        file.write((line := stamped(lines[6]))[:500])
        with following():
            wait_until(lambda: types(root)[-1:] == ["prompt_sent"])
            file.write(line[500:] + b"\n")
            wait_until(lambda: types(root)[-1:] == ["thinking"])
    assert "unknown" not in types(root)


def test_old_sessions_are_recorded_newest_first(root: Root, projects: Path, following: Following) -> None:
    ids = [f"0000000{number}-9483-46e2-b0c9-52286dcaf805" for number in range(5)]
    for number, session in enumerate(ids):
        put(projects / "p" / f"{session}.jsonl", named(session), age=100.0 * number)
    with following():
        wait_until(lambda: all(types(root, f"claude-{session}")[-1:] == ["completed"] for session in ids))
    begun = [(root.state / f"claude-{session}.telling").stat().st_ctime_ns for session in ids]
    assert begun == sorted(begun)


def test_a_session_that_has_not_changed_for_long_is_left_alone_until_it_does(
    root: Root, projects: Path, following: Following
) -> None:
    old = put(projects / "p" / f"{SESSION}.jsonl", lines_of(BASIC)[:-1], age=3600)
    fresh = "00000001-9483-46e2-b0c9-52286dcaf805"
    put(projects / "p" / f"{fresh}.jsonl", named(fresh))
    with following(timedelta(minutes=30)):
        wait_until(lambda: types(root, f"claude-{fresh}")[-1:] == ["completed"])
        assert types(root) == []
        put(old, lines_of(BASIC)[-1:])
        wait_until(lambda: types(root)[-1:] == ["completed"])
    assert types(root)[0] == "started"


def test_a_restarted_follower_records_nothing_twice(root: Root, projects: Path, following: Following) -> None:
    path = put(projects / "p" / f"{SESSION}.jsonl", lines_of(BASIC)[:10])
    with following():
        wait_until(lambda: types(root)[-1:] == ["bash_output"])
    before = logged(root, CELL)
    put(path, lines_of(BASIC)[10:])
    with following():
        wait_until(lambda: types(root)[-1:] == ["completed"])
    assert logged(root, CELL)[: len(before)] == before
    sources = [event["source"] for event in logged(root, CELL)]
    assert len(sources) == len(set(sources))


def test_the_files_of_sub_agents_belong_to_their_session(root: Root, projects: Path, following: Following) -> None:
    main, sub = SESSIONS["claude-2.1.330-foreground"]
    session = json.loads(lines_of(main)[0])["sessionId"]
    with following():
        put(projects / "p" / f"{session}.jsonl", lines_of(main)[:8])
        put(projects / "p" / session / "subagents" / "agent-abb646896e5a5cccd.jsonl", lines_of(sub))
        put(projects / "p" / f"{session}.jsonl", lines_of(main)[8:])
        wait_until(lambda: types(root, f"claude-{session}").count("response_complete") == 2)
        wait_until(lambda: "completed" in types(root, f"claude-{session}"))
    assert root.ids() == [f"claude-{session}"]
    parents = [event.get("parent_call_id") for event in logged(root, f"claude-{session}")]
    assert parents.count("toolu_fake00000002") == 6


def test_codex_threads_and_their_sub_agents_are_one_workcell(root: Root, tmp_path: Path, following: Following) -> None:
    main, sub = SESSIONS["codex-0.169.0-team"]
    day = tmp_path / "config" / "sessions" / "2026" / "11" / "22"
    threads = [json.loads(lines_of(path)[0])["payload"]["id"] for path in (main, sub)]
    put(day / f"rollout-2026-11-22T12-54-49-{threads[1]}.jsonl", lines_of(sub))
    with following():
        put(day / f"rollout-2026-11-22T12-54-49-{threads[0]}.jsonl", lines_of(main))
        wait_until(lambda: types(root, f"codex-{threads[0]}").count("response_complete") == 2)
        wait_until(lambda: "completed" in types(root, f"codex-{threads[0]}"))
    assert root.ids() == [f"codex-{threads[0]}"]


# ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_session_of_a_run_is_left_to_it(root: Root, projects: Path, following: Following) -> None:
    with TelemetryWriter(root.log("run-1"), {"workcell_id": "run-1"}) as writer:
        writer.started(toolchain="claude", session_id=SESSION)
    put(projects / "p" / f"{SESSION}.jsonl", lines_of(BASIC))
    other = "00000001-9483-46e2-b0c9-52286dcaf805"
    put(projects / "p" / f"{other}.jsonl", named(other), age=100)
    with following():
        wait_until(lambda: types(root, f"claude-{other}")[-1:] == ["completed"])
    assert root.ids() == [f"claude-{other}", "run-1"]


def test_while_a_run_has_not_said_which_session_is_its_own_none_is_taken_for_anothers(
    root: Root, projects: Path, following: Following
) -> None:
    other = "00000001-9483-46e2-b0c9-52286dcaf805"
    with (
        hold_workcell(root.workcell("run-1")),
        TelemetryWriter(root.log("run-1"), {"workcell_id": "run-1", "toolchain": "claude"}) as writer,
    ):
        writer.prompt_sent("Go.")
        with following():
            put(projects / "p" / f"{SESSION}.jsonl", lines_of(BASIC))
            put(projects / "p" / f"{other}.jsonl", named(other))
            codex = SESSIONS["codex-0.169.0-basic"][0]
            put(projects.parent / "sessions" / "2026" / f"rollout-x-{codex.stem}.jsonl", lines_of(codex))
            wait_until(lambda: any(workcell.startswith("codex-") for workcell in root.ids()))
            assert [workcell for workcell in root.ids() if workcell.startswith("claude-")] == []
            writer.started(toolchain="claude", session_id=SESSION)
            wait_until(lambda: types(root, f"claude-{other}")[-1:] == ["completed"])
    assert CELL not in root.ids()


def test_a_run_that_was_killed_before_it_named_its_session_does_not_block_others(
    root: Root, projects: Path, following: Following
) -> None:
    with TelemetryWriter(root.log("run-1"), {"workcell_id": "run-1", "toolchain": "claude"}) as writer:
        writer.prompt_sent("Go.")
    put(projects / "p" / f"{SESSION}.jsonl", lines_of(BASIC))
    with following():
        wait_until(lambda: types(root)[-1:] == ["completed"])


def test_another_writer_of_a_session_is_waited_for(root: Root, projects: Path, following: Following) -> None:
    put(projects / "p" / f"{SESSION}.jsonl", lines_of(BASIC))
    with ExitStack() as stack:
        with hold_session(root, CELL):
            stack.enter_context(following())
            other = "00000001-9483-46e2-b0c9-52286dcaf805"
            put(projects / "p" / f"{other}.jsonl", named(other))
            wait_until(lambda: types(root, f"claude-{other}")[-1:] == ["completed"])
        wait_until(lambda: types(root)[-1:] == ["completed"])
    assert types(root).count("completed") == 1


def test_a_follower_can_end_once_everything_is_recorded(root: Root, projects: Path) -> None:
    put(projects / "p" / f"{SESSION}.jsonl", lines_of(BASIC))
    put(projects / "p" / "tool-results" / "no-transcript.jsonl", [b"{}"])
    put(projects / "p" / "00000001-9483-46e2-b0c9-52286dcaf805.jsonl", [])
    clock = datetime(2026, 11, 22, 9, tzinfo=UTC)
    Follower(root, {"claude": projects}, None, lambda: clock).run(until_caught_up=True)
    assert types(root)[-1] == "completed"
    assert root.ids() == [CELL]


def test_a_link_to_nothing_hides_no_other_transcript(root: Root, projects: Path) -> None:
    put(projects / "p" / f"{SESSION}.jsonl", lines_of(BASIC))
    for number in range(50):  # a directory has no order: one of them comes before the transcript
        (projects / "p" / f"{number:08}-9483-46e2-b0c9-52286dcaf805.jsonl").symlink_to("nowhere")
    clock = datetime(2026, 11, 22, 9, tzinfo=UTC)
    Follower(root, {"claude": projects}, None, lambda: clock).run(until_caught_up=True)
    assert types(root)[-1] == "completed"


# ── removed sessions ─────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_session_that_was_removed_comes_back_only_when_it_goes_on(
    root: Root, projects: Path, following: Following
) -> None:
    other = f"aaaaaaaa{SESSION[8:]}"
    lines = lines_of(BASIC)
    path = put(projects / "p" / f"{SESSION}.jsonl", lines[:-2])
    with following():
        wait_until(lambda: types(root)[-1:] == ["completed"], what="the turn's end")
        before = len(types(root))
        remove_records(root, CELL)
        put(projects / "p" / f"{other}.jsonl", named(other))
        wait_until(lambda: types(root, f"claude-{other}")[-1:] == ["completed"])
    with following():  # which finds the session as if it were new
        third = f"bbbbbbbb{SESSION[8:]}"
        put(projects / "p" / f"{third}.jsonl", named(third))
        wait_until(lambda: types(root, f"claude-{third}")[-1:] == ["completed"])
        assert root.ids() == [f"claude-{other}", f"claude-{third}"]
        assert not root.log(CELL).exists()
        put(path, lines[-2:])
        wait_until(lambda: types(root)[-1:] == ["completed"] and len(types(root)) >= before)
    assert types(root)[0] == "started"
    assert CELL in root.ids()


def test_a_session_that_is_followed_is_not_removed_in_the_middle_of_a_turn(
    root: Root, projects: Path, following: Following
) -> None:
    put(projects / "p" / f"{SESSION}.jsonl", lines_of(BASIC)[:9])
    with Cleanup(root) as cleanup:
        with following():
            wait_until(lambda: "bash_command" in types(root))
            wait_until((root.state / f"{CELL}.transcript").exists)
            outcome = cleanup.remove(CELL)
            assert (outcome.removed, outcome.files) == (False, ())
            assert "its session goes on and is followed" in outcome.problem
            assert "bash_command" in types(root)
        assert cleanup.remove(CELL).removed
    assert root.ids() == []
