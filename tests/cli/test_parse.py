from __future__ import annotations

import json
from typing import Any

from support.processes import refusal, workcast
from workcast.producer.replay import RECORDINGS

BASIC = RECORDINGS / "claude-2.1.330-basic.jsonl"


def events(output: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def without_times(output: bytes) -> list[dict[str, Any]]:
    """Events without the times at which they were read."""
    return [{k: v for k, v in e.items() if k not in ("timestamp", "duration_ms")} for e in events(output)]


def test_a_recording_becomes_events_with_completed_last() -> None:
    done = workcast("parse", "claude", str(BASIC))
    assert done.returncode == 0
    assert done.stderr == b""
    kinds = [event["type"] for event in events(done.stdout)]
    assert kinds[0] == "started"
    assert kinds.count("completed") == 1
    assert kinds[-1] == "completed"
    assert {"tool_call", "tool_result", "response_complete"} <= set(kinds)
    assert "unknown" not in kinds


def test_stdin_and_file_give_the_same_events() -> None:
    from_stdin = workcast("parse", "claude", stdin=BASIC.read_bytes())
    from_file = workcast("parse", "claude", str(BASIC))
    assert without_times(from_stdin.stdout) == without_times(from_file.stdout)


def test_lines_that_match_no_rule_are_kept() -> None:
    done = workcast("parse", "claude", stdin=b'no json at all\n{"type":"new kind"}\n\xff\xfe\nno newline')
    raws = [event["raw"] for event in events(done.stdout) if event["type"] == "unknown"]
    assert raws == ["no json at all", '{"type":"new kind"}', "\\xff\\xfe", "no newline"]


def test_the_exit_code_is_null_unless_it_is_given() -> None:
    assert events(workcast("parse", "claude", str(BASIC)).stdout)[-1]["exit_code"] is None
    assert events(workcast("parse", "claude", str(BASIC), "--exit-code", "3").stdout)[-1]["exit_code"] == 3


def test_empty_input_gives_completed_alone() -> None:
    assert [event["type"] for event in events(workcast("parse", "claude").stdout)] == ["completed"]


def test_an_unknown_agent_and_a_missing_file_are_refused_in_one_sentence() -> None:
    assert "expected one of claude" in refusal(workcast("parse", "clod", str(BASIC)), 2)
    assert "cannot read /no/such/file" in refusal(workcast("parse", "claude", "/no/such/file"))
    assert "cannot read /" in refusal(workcast("parse", "claude", "/"))


def test_strict_exits_with_1_if_a_line_matches_no_rule() -> None:
    assert workcast("parse", "claude", str(BASIC), "--strict").returncode == 0
    odd = workcast("parse", "--strict", "claude", stdin=BASIC.read_bytes() + b'{"type":"new kind"}\nodd\n')
    assert odd.returncode == 1
    assert odd.stderr == b"workcast: 2 lines match no rule; see the unknown events\n"
    assert events(odd.stdout)[-1]["type"] == "completed"
