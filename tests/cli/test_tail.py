from __future__ import annotations

import json
import subprocess
from collections.abc import Generator
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from support.logs import event_line, write_log
from support.processes import PROGRAM, Program, Up, environment, refusal, workcast
from support.waiting import wait_until
from workcast.broker.root import Root
from workcast.cli.tail import describe, pauses

LINES = [event_line(n, f"text {n}\n") for n in range(10)]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Generator[Up]:
    """An ``up`` that these tests share; each has a workcell of its own."""
    with Up(tmp_path_factory.mktemp("up")) as up:
        yield up


@pytest.fixture
def wc(up: Up, request: pytest.FixtureRequest) -> str:
    """A workcell that has ten events."""
    name = "wc-" + sha256(request.node.name.encode()).hexdigest()[:8]
    write_log(Root(up.root), name, LINES)
    up.show(name, 10)
    return name


def tail(root: Path, workcell: str, *options: str) -> Program:
    return Program("tail", workcell, "--root", str(root), *options)


def shown(lines: list[str]) -> list[tuple[int, Any]]:
    return [(item["offset"], item["event"]) for item in map(json.loads, lines)]


def test_json_prints_an_offset_and_an_event_per_line_and_follows_new_ones(up: Up, wc: str) -> None:
    with tail(up.root, wc, "--json") as viewer:
        assert shown(viewer.lines(10)) == [(n, json.loads(line)) for n, line in enumerate(LINES)]
        write_log(Root(up.root), wc, [event_line(10)])
        assert shown(viewer.lines(11))[-1] == (10, json.loads(event_line(10)))
        viewer.interrupt()
        assert viewer.wait() == 130
        assert viewer.err == ""


def test_text_shows_what_the_agent_said(up: Up, wc: str) -> None:
    with tail(up.root, wc) as viewer:
        assert viewer.lines(10) == [f"text {n}\n" for n in range(10)]


def test_the_started_agent_is_shown_in_words() -> None:
    event = {"type": "started", "timestamp": "2026-01-01T00:00:00.000Z", "toolchain": "claude", "model": "opus",
             "agent_version": "2.1", "cwd": "/work", "session_id": "s-1"}  # fmt: skip
    assert describe("started", event) == "claude 2.1 opus in /work, session s-1"
    assert describe("started", {"type": "started", "toolchain": "codex", "resumed": True}) == "codex again"


@pytest.mark.parametrize(("start", "first"), [("start", 0), ("7", 7), ("0", 0), ("tail", 10), ("10", 10)])
def test_from_selects_the_first_event(up: Up, wc: str, start: str, first: int) -> None:
    with tail(up.root, wc, "--json", "--from", start) as viewer:
        if start in ("tail", "10"):
            # Only what comes once it is there is shown; so write until it is.
            def write_one() -> bool:
                write_log(Root(up.root), wc, [event_line(10)])
                return bool(viewer.out)

            wait_until(write_one)
            assert shown(viewer.lines(1))[0][0] >= first
        else:
            assert [offset for offset, _ in shown(viewer.lines(10 - first))] == list(range(first, 10))


def test_control_sequences_of_an_agent_are_shown_not_obeyed(up: Up, wc: str) -> None:
    evil = "\x1b]0;owned\x07\x9b31m\u202e\r"
    stamp = "2026-01-01T00:00:00.000Z"
    events: list[dict[str, Any]] = [
        {"type": evil, "timestamp": stamp, "x": evil},
        {"type": "bash_output", "timestamp": stamp, "output": evil},
        {"type": "response_chunk", "timestamp": stamp, "content": evil},
        {"type": "tool_call", "timestamp": stamp, "tool": evil, "args": {evil: evil}},
        {"type": "error", "timestamp": stamp, "error": "the end"},
    ]
    write_log(Root(up.root), wc, [json.dumps(event).encode() for event in events])
    with tail(up.root, wc) as text, tail(up.root, wc, "--json") as as_json:
        wait_until(lambda: "the end" in text.out and "the end" in as_json.out)
        for viewer in (text, as_json):
            assert viewer.out.count("owned") >= 5
            assert not set("\x1b\x07\x9b\u202e\r") & set(viewer.out)
        assert [event for _, event in shown(as_json.lines(15))[10:]] == events


def test_it_continues_where_it_was_when_the_gateway_comes_back_at_another_port(tmp_path: Path) -> None:
    write_log(Root(tmp_path), "wc", LINES)
    with Up(tmp_path) as up, tail(tmp_path, "wc", "--json") as viewer:
        viewer.lines(10)
        up.interrupt()
        assert up.wait() == 0
        write_log(Root(tmp_path), "wc", [event_line(10)])
        with Up(tmp_path) as again:
            assert again.url != up.url
            assert [offset for offset, _ in shown(viewer.lines(11))] == list(range(11))
        assert viewer.err == ""


def test_viewers_reconnect_at_random_times_within_a_growing_bound() -> None:
    viewers = [list(islice(pauses(), 6)) for _ in range(500)]
    for attempt, bound in enumerate((1, 2, 4, 8, 8, 8)):
        waited = [viewer[attempt] for viewer in viewers]
        assert max(waited) <= bound
        for quarter in range(4):
            assert any(quarter * bound / 4 <= seconds <= (quarter + 1) * bound / 4 for seconds in waited)


def test_it_ends_when_its_stdout_is_closed(up: Up, wc: str) -> None:
    with subprocess.Popen(
        [PROGRAM, "tail", wc, "--root", str(up.root), "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(),
    ) as viewer:  # fmt: skip
        assert viewer.stdout is not None
        assert viewer.stderr is not None
        viewer.stdout.readline()
        viewer.stdout.close()
        write_log(Root(up.root), wc, [event_line(n) for n in range(10, 14)])
        assert viewer.wait(20) == 1
        assert viewer.stderr.read() == b""


def test_an_unknown_workcell_is_refused_in_one_sentence(up: Up) -> None:
    assert "no workcell 'missing' here" in refusal(workcast("tail", "missing", "--root", str(up.root)))
    assert "no workcell '\\x1b[31m' here" in refusal(workcast("tail", "\x1b[31m", "--root", str(up.root)))


@pytest.mark.parametrize("start", ["end", "-1", "1.5", "", "²"])
def test_a_malformed_start_is_wrong_usage(tmp_path: Path, start: str) -> None:
    done = workcast("tail", "wc", "--root", str(tmp_path), f"--from={start}")
    assert done.returncode == 2
    assert b"expected start, tail or an offset" in done.stderr


def test_without_a_gateway_it_says_how_to_get_one(tmp_path: Path) -> None:
    assert "no workcast up serves" in refusal(workcast("tail", "wc", "--root", str(tmp_path)))
    assert "cannot reach http://127.0.0.1:1" in refusal(workcast("tail", "wc", "--url", "http://127.0.0.1:1"))


def test_a_gateway_that_refuses_is_reported_in_one_sentence(up: Up) -> None:
    assert "refuses: HTTP 404" in refusal(workcast("tail", "wc", "--url", f"{up.url}/elsewhere"))
