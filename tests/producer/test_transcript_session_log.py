"""A session's log has each event once: after kills and restarts, from copies, cut back, and beside other writers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from support.transcripts import LONG_AFTER, SESSIONS, import_session, lines_of, logged, transcript_at
from workcast.broker.root import Root
from workcast.events.wire import inspect
from workcast.producer.errors import WorkcellBusyError
from workcast.producer.transcripts.session_lock import hold_session
from workcast.producer.transcripts.session_log import SILENCE, SessionLog

BASIC = SESSIONS["claude-2.1.330-basic"][0]
RESUMED = SESSIONS["claude-2.1.330-resumed"][0]


def sources(events: Iterable[dict[str, Any]]) -> list[str]:
    return [event["source"] for event in events]


def write(path: Path, lines: list[bytes]) -> Path:
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


@pytest.mark.parametrize("name", ["claude-2.1.330-foreground", "claude-2.1.330-nasty", "codex-0.169.0-team"])
def test_each_event_is_written_once_whenever_the_importer_is_killed(name: str, root: Root, tmp_path: Path) -> None:
    other = tmp_path / "undisturbed"
    other.mkdir()
    whole = import_session(Root(other), *SESSIONS[name])
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "support.transcript_kills",
        str(root.directory),
        "40",
        "7",
        *SESSIONS[name],
    ]
    subprocess.run(command, check=True, timeout=60, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])})
    written = [inspect(line)[1] for line in lines_of(root.log(whole[0]["workcell_id"]))]
    events = [event for event in written if event is not None]  # a torn line is closed, and written again whole
    assert Counter(sources(events)) == Counter(sources(whole))


def test_a_log_without_its_checkpoint_gets_no_event_twice(root: Root) -> None:
    first = import_session(root, BASIC)
    for state in root.state.glob("*.transcript"):
        state.write_text("{")
    assert import_session(root, BASIC) == first


def test_a_checkpoint_from_before_the_last_events_is_made_up_for(root: Root, tmp_path: Path) -> None:
    lines = lines_of(BASIC)
    path = write(tmp_path / BASIC.name, lines[:8])
    import_session(root, path, final=False, clock=datetime(2026, 11, 22, 7, 51, 31, tzinfo=UTC))
    state = next(root.state.glob("*.transcript"))
    kept = state.read_bytes()
    write(path, lines)
    events = import_session(root, path)
    state.write_bytes(kept)
    assert import_session(root, path) == events


def test_a_copy_elsewhere_adds_nothing(root: Root, tmp_path: Path) -> None:
    first = import_session(root, BASIC)
    assert import_session(root, write(tmp_path / "copy.jsonl", lines_of(BASIC))) == first


def test_a_copy_with_lines_left_out_adds_nothing(root: Root, tmp_path: Path) -> None:
    first = import_session(root, BASIC)
    shorter = [line for line in lines_of(BASIC) if b'"thinking"' not in line]
    assert import_session(root, write(tmp_path / "copy.jsonl", shorter)) == first


def test_a_transcript_that_is_cut_back_and_continued_adds_what_is_new(root: Root, tmp_path: Path) -> None:
    lines = lines_of(RESUMED)
    path = write(tmp_path / "session.jsonl", lines[:-6])
    session = SessionLog(root, transcript_at(path).workcell, lambda: LONG_AFTER)
    session.add(transcript_at(path))
    session.sync()
    before = logged(root, session.workcell)
    write(path, lines[:-9])
    session.sync()
    assert logged(root, session.workcell) == before
    write(path, lines)
    session.sync()
    session.settle(final=True)
    events = logged(root, session.workcell)
    assert events[: len(before)] == before
    assert sorted(sources(events)) == sorted(set(sources(events)))
    assert [event["prompt"] for event in events if event["type"] == "prompt_sent"] == [
        "[[scenario:plain]] Hi", "[[scenario:basic]] Again",
    ]  # fmt: skip


def test_a_log_that_was_removed_is_written_again(root: Root, tmp_path: Path) -> None:
    path = write(tmp_path / "session.jsonl", lines_of(BASIC)[:-1])
    session = SessionLog(root, transcript_at(path).workcell, lambda: LONG_AFTER)
    session.add(transcript_at(path))
    session.sync()
    root.log(session.workcell).unlink()
    write(path, lines_of(BASIC))
    session.sync()
    assert logged(root, session.workcell)[0]["type"] == "started"


def test_a_log_that_workcast_has_pruned_goes_on_behind_what_was_pruned(root: Root, tmp_path: Path) -> None:
    path = write(tmp_path / "session.jsonl", lines_of(BASIC)[:-3])
    workcell = import_session(root, path, final=False, clock=datetime(2026, 11, 22, 8, tzinfo=UTC))[0]["workcell_id"]
    log = root.log(workcell)
    lines = lines_of(log)
    rest = [b'{"type":"log","epoch":7,"base":%d}' % (len(lines) - 1), lines[-1]]
    write(log.with_suffix(".new"), rest).replace(log)
    write(path, lines_of(BASIC))
    events = import_session(root, path)
    assert [event["type"] for event in events][2:] == ["usage", "response_complete", "completed"]


def test_nothing_is_lost_while_another_process_holds_the_session(root: Root) -> None:
    session = SessionLog(root, transcript_at(BASIC).workcell, lambda: LONG_AFTER)
    session.add(transcript_at(BASIC))
    with hold_session(root, session.workcell), pytest.raises(WorkcellBusyError):
        session.sync()
    assert session.due is not None
    session.sync()
    session.settle(final=True)
    other = root.directory / "other"
    other.mkdir()
    assert sources(logged(root, session.workcell)) == sources(import_session(Root(other), BASIC))


def test_two_who_follow_the_same_session_tell_each_event_once(root: Root, tmp_path: Path) -> None:
    lines = lines_of(BASIC)
    path = write(tmp_path / "session.jsonl", lines[:3])
    both = [SessionLog(root, transcript_at(path).workcell, lambda: LONG_AFTER) for _ in range(2)]
    for session in both:
        session.add(transcript_at(path))
    for number in range(3, len(lines) + 1):
        write(path, lines[:number])
        for session in both if number % 2 else reversed(both):
            session.sync()
    events = logged(root, both[0].workcell)
    assert sorted(sources(events)) == sorted(set(sources(events)))


def test_a_log_that_cannot_be_written_for_a_while_has_no_hole(root: Root) -> None:
    session = SessionLog(root, transcript_at(BASIC).workcell, lambda: LONG_AFTER)
    session.add(transcript_at(BASIC))
    log = root.log(session.workcell)
    log.parent.mkdir(parents=True)
    log.mkdir()  # what cannot be opened cannot be written either
    with pytest.raises(OSError, match="expected a regular file, got a directory"):
        session.sync()
    log.rmdir()
    session.sync()
    session.settle(final=True)
    types = [event["type"] for event in logged(root, session.workcell)]
    assert (types[0], types[-1], len(types)) == ("started", "completed", 21)


# ── ends ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_turn_that_falls_silent_is_cancelled_and_revived_by_what_follows(root: Root, tmp_path: Path) -> None:
    lines = lines_of(BASIC)
    path = write(tmp_path / "session.jsonl", lines[:9])  # the command has not ended
    now = [datetime(2026, 11, 22, 7, 52, tzinfo=UTC)]
    session = SessionLog(root, transcript_at(path).workcell, lambda: now[0])
    session.add(transcript_at(path))
    session.sync()
    session.settle()
    assert [event["type"] for event in logged(root, session.workcell)][-1] == "bash_command"
    now[0] += SILENCE
    session.settle()
    last = logged(root, session.workcell)[-1]
    assert (last["type"], last["status"], last["reason"]) == ("completed", "cancelled", "silence")
    session.forget()  # as if by another process
    write(path, lines)
    session.sync()
    session.settle(final=True)
    events = logged(root, session.workcell)
    assert [event["type"] for event in events].count("started") == 2
    assert [event.get("resumed") for event in events if event["type"] == "started"] == [None, True]
    assert (events[-1]["type"], events[-1]["status"]) == ("completed", "success")


def test_a_turn_is_completed_once_nothing_has_followed_for_a_moment(root: Root, tmp_path: Path) -> None:
    path = write(tmp_path / "session.jsonl", lines_of(BASIC)[:-2])
    ended = datetime(2026, 11, 22, 7, 51, 31, 716000, tzinfo=UTC)
    now = [ended]
    session = SessionLog(root, transcript_at(path).workcell, lambda: now[0])
    session.add(transcript_at(path))
    session.sync()
    session.settle()
    assert logged(root, session.workcell)[-1]["type"] == "response_complete"
    assert session.due == ended + timedelta(seconds=2)
    now[0] = ended + timedelta(seconds=2)
    session.settle()
    assert logged(root, session.workcell)[-1]["type"] == "completed"
    assert session.due is None


# ── forks and sub-agents ─────────────────────────────────────────────────────────────────────────────────────────────
def test_a_fork_has_only_its_own_events(root: Root) -> None:
    events = import_session(root, SESSIONS["claude-2.1.330-forked"][0])
    assert events[0]["forked_from"] == "332844e8-5d3e-4694-a19c-c11a1fcdf451"
    assert [event["prompt"] for event in events if event["type"] == "prompt_sent"] == ["[[scenario:basic]] Forked"]
    both = [*events, *import_session(root, RESUMED)]
    assert Counter(event["message_id"] for event in both if event["type"] == "usage").most_common(1)[0][1] == 1


def test_a_sub_agents_file_waits_for_the_call_that_started_it(root: Root, tmp_path: Path) -> None:
    main, sub = SESSIONS["claude-2.1.330-foreground"]
    path = write(tmp_path / "session.jsonl", lines_of(main)[:6])
    now = [datetime(2026, 11, 22, 12, 54, 46, tzinfo=UTC)]
    session = SessionLog(root, transcript_at(path).workcell, lambda: now[0])
    session.add(transcript_at(path))
    session.add(transcript_at(sub))
    session.sync()
    assert not any("parent_call_id" in event for event in logged(root, session.workcell))
    assert session.due is not None
    write(path, lines_of(main))
    session.sync()
    parents = Counter(event.get("parent_call_id") for event in logged(root, session.workcell))
    assert parents["toolu_fake00000002"] == 6


def test_a_sub_agent_that_no_call_names_is_recorded(root: Root) -> None:
    sub = SESSIONS["claude-2.1.330-foreground"][1]
    events = import_session(root, sub)
    assert {event["type"] for event in events} >= {"thinking", "tool_call", "tool_result"}
    assert not any("parent_call_id" in event for event in events)


# ── beside hooks ─────────────────────────────────────────────────────────────────────────────────────────────────────
def test_an_event_of_a_hook_is_not_written_again(root: Root) -> None:
    workcell = transcript_at(BASIC).workcell
    base = {"toolchain": "claude", "source": "hook", "timestamp": "2026-11-22T07:51:30.600Z"}
    calls = [event for event in import_session(root, BASIC) if event["type"] == "tool_call"]
    prompt = {"prompt": "[[scenario:basic]] Give me a tour.", "prompt_id": "8286f782-24c5-4ab2-a26d-f3192b2d91ec"}
    hooked: list[dict[str, Any]] = [
        {"type": "started", **base},
        {"type": "prompt_sent", **prompt, **base},
        {"type": "tool_call", "tool": "Bash", "args": {}, "call_id": calls[0]["call_id"], **base},
        {"type": "bash_command", "command": "x", "call_id": calls[0]["call_id"], **base},
        {"type": "tool_result", "tool": "Bash", "result": "", "call_id": calls[0]["call_id"], "duration_ms": 5, **base},
        {"type": "tool_call", "tool": "Write", "args": {}, "call_id": calls[1]["call_id"], **base},
        {"type": "completed", "status": "success", "prompt_id": prompt["prompt_id"], **base},
    ]
    root.log(workcell).write_bytes(b"".join(json.dumps(event).encode() + b"\n" for event in hooked))
    (root.state / f"{workcell}.transcript").unlink()
    events = import_session(root, BASIC)
    assert events[: len(hooked)] == hooked
    rest = [(event["type"], event.get("call_id")) for event in events[len(hooked) :]]
    assert Counter(kind for kind, _ in rest if kind in {"started", "prompt_sent", "completed"}) == Counter()
    assert [call for kind, call in rest if kind == "tool_call"] == [calls[2]["call_id"]]
    assert [call for kind, call in rest if kind == "tool_result"] == [calls[1]["call_id"], calls[2]["call_id"]]
    assert [kind for kind, _ in rest if kind in {"bash_command", "bash_output"}] == []
    assert import_session(root, BASIC) == events


def test_a_prompt_that_a_hook_wrote_in_other_words_is_not_written_again(root: Root) -> None:
    workcell = transcript_at(BASIC).workcell
    said = {"prompt": "/tour", "prompt_id": "8286f782-24c5-4ab2-a26d-f3192b2d91ec", "source": "hook"}
    root.workcell(workcell).mkdir(parents=True)
    root.log(workcell).write_text(
        json.dumps({"type": "prompt_sent", "timestamp": "2026-11-22T07:51:30Z", **said}) + "\n"
    )
    prompts = [event["prompt"] for event in import_session(root, BASIC) if event["type"] == "prompt_sent"]
    assert prompts == ["/tour"]


def test_a_session_is_as_private_as_its_transcript(root: Root) -> None:
    workcell = import_session(root, BASIC)[0]["workcell_id"]
    assert root.workcell(workcell).stat().st_mode & 0o777 == 0o700


def test_a_hook_that_comes_between_is_heard(root: Root, tmp_path: Path) -> None:
    lines = lines_of(BASIC)
    path = write(tmp_path / "session.jsonl", lines[:9])
    session = SessionLog(root, transcript_at(path).workcell, lambda: LONG_AFTER)
    session.add(transcript_at(path))
    session.sync()
    call = logged(root, session.workcell)[-1]["call_id"]
    result = {"type": "tool_result", "tool": "Bash", "result": "", "call_id": call, "source": "hook"}
    with root.log(session.workcell).open("ab") as log:
        log.write(json.dumps({**result, "timestamp": "2026-11-22T07:51:31Z"}).encode() + b"\n")
    write(path, lines)
    session.sync()
    results = [event for event in logged(root, session.workcell) if event["type"] == "tool_result"]
    assert [event["source"] == "hook" for event in results if event["call_id"] == call] == [True]
