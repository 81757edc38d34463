"""``workcast import``: a transcript becomes a workcell."""

from __future__ import annotations

import json
from pathlib import Path

from support.processes import refusal, workcast
from support.transcripts import SESSIONS, lines_of, logged
from workcast.broker.root import Root
from workcast.producer.writer import TelemetryWriter

BASIC = SESSIONS["claude-2.1.330-basic"][0]
SESSION = "c5563a0b-9483-46e2-b0c9-52286dcaf805"


def bring(root: Root, path: Path, *words: str) -> str:
    done = workcast("import", "--root", str(root.directory), str(path), *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().strip()


def test_the_agent_is_recognised_and_the_workcell_is_always_the_same(root: Root) -> None:
    assert bring(root, BASIC) == f"claude-{SESSION}"
    assert bring(root, SESSIONS["codex-0.169.0-basic"][0]) == "codex-01a2023d-2a08-7732-a13f-d1a02d71e739"
    before = logged(root, f"claude-{SESSION}")
    assert bring(root, BASIC) == f"claude-{SESSION}"
    assert logged(root, f"claude-{SESSION}") == before
    assert (before[0]["type"], before[-1]["type"], len(before)) == ("started", "completed", 21)


def test_the_files_of_sub_agents_are_imported_too(root: Root, tmp_path: Path) -> None:
    main, sub = SESSIONS["claude-2.1.330-foreground"]
    session = json.loads(lines_of(main)[0])["sessionId"]
    path = tmp_path / "projects" / "p" / f"{session}.jsonl"
    beside = path.with_suffix("") / "subagents" / "agent-abb646896e5a5cccd.jsonl"
    beside.parent.mkdir(parents=True)
    path.write_bytes(main.read_bytes())
    beside.write_bytes(sub.read_bytes())
    assert "toolu_fake00000002" in {event.get("parent_call_id") for event in logged(root, bring(root, path))}


def test_a_sub_agents_file_can_follow_its_sessions(root: Root) -> None:
    main, sub = SESSIONS["claude-2.1.330-foreground"]
    assert bring(root, main) == bring(root, sub)
    assert "toolu_fake00000002" in {event.get("parent_call_id") for event in logged(root, bring(root, sub))}


def test_a_workcell_can_be_named(root: Root) -> None:
    assert bring(root, BASIC, "--workcell", "tour") == "tour"
    assert {event["workcell_id"] for event in logged(root, "tour")} == {"tour"}


def test_a_file_that_is_not_a_transcript_is_refused(root: Root, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text('{"type":"started"}\n')
    words = ("import", "--root", str(root.directory))
    assert "name no session" in refusal(workcast(*words, str(other)))
    assert "is not a file" in refusal(workcast(*words, str(tmp_path / "none.jsonl")))
    assert root.ids() == []


def test_the_session_of_a_run_is_refused(root: Root) -> None:
    with TelemetryWriter(root.log("run-1"), {"workcell_id": "run-1"}) as writer:
        writer.started(toolchain="claude", session_id=SESSION)
    done = workcast("import", "--root", str(root.directory), str(BASIC))
    assert "a run" in refusal(done)
    assert root.ids() == ["run-1"]
