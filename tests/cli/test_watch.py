"""``workcast watch`` and ``up --watch``: sessions on disk as workcells, by real processes."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psutil
import pytest

from support.processes import Program, Up, gone, workcast
from support.transcripts import SESSIONS, lines_of, logged
from support.waiting import wait_until
from workcast.broker.root import Root

BASIC = SESSIONS["claude-2.1.330-basic"][0]
CODEX = SESSIONS["codex-0.169.0-basic"][0]
CELL = "claude-c5563a0b-9483-46e2-b0c9-52286dcaf805"
CODEX_CELL = "codex-01a2023d-2a08-7732-a13f-d1a02d71e739"
TIME = re.compile(rb'^(.{0,4000}?"timestamp":")[^"]*')


@pytest.fixture
def homes(tmp_path: Path) -> dict[str, str]:
    """The directory where the agents keep their files."""
    return {"CLAUDE_CONFIG_DIR": str(tmp_path / "claude"), "CODEX_HOME": str(tmp_path / "codex")}


def put(homes: dict[str, str], main: Path, lines: list[bytes]) -> None:
    """Append lines with the current time to a session's transcript."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00").encode() + b"Z"
    if main == BASIC:
        path = Path(homes["CLAUDE_CONFIG_DIR"]) / "projects" / "-home-dev" / f"{CELL.removeprefix('claude-')}.jsonl"
    else:
        path = Path(homes["CODEX_HOME"]) / "sessions" / "2026" / "11" / "22" / f"rollout-{CODEX_CELL[6:]}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(b"".join(TIME.sub(rb"\g<1>" + now, line) + b"\n" for line in lines))


def types(root: Root, workcell: str) -> list[str]:
    return [event["type"] for event in logged(root, workcell)]


def test_a_watch_writes_old_and_new_events_and_ends_at_ctrl_c(root: Root, homes: dict[str, str]) -> None:
    put(homes, BASIC, lines_of(BASIC)[:9])
    with Program("watch", "claude", "codex", "--root", str(root.directory), env=homes) as watch:
        wait_until(lambda: types(root, CELL)[-1:] == ["bash_command"], what=watch.err)
        put(homes, CODEX, lines_of(CODEX))
        put(homes, BASIC, lines_of(BASIC)[9:])
        wait_until(lambda: types(root, CELL)[-1:] == ["completed"], what=watch.err)
        wait_until(lambda: types(root, CODEX_CELL)[-1:] == ["completed"], what=watch.err)
        watch.interrupt()
        assert watch.wait() == 0
    assert root.ids() == [CELL, CODEX_CELL]


def test_a_watch_that_is_killed_again_and_again_writes_each_event_once(root: Root, homes: dict[str, str]) -> None:
    lines = lines_of(BASIC)
    for number in range(3, len(lines), 5):
        with Program("watch", "claude", "--root", str(root.directory), env=homes) as watch:
            before = len(types(root, CELL))
            put(homes, BASIC, lines[number - 3 : number + 2] if number > 3 else lines[:5])
            wait_until(lambda: len(types(root, CELL)) > before or watch.process.poll() is not None)  # noqa: B023
            watch.process.kill()
    put(homes, BASIC, lines[20:])
    with Program("watch", "claude", "--root", str(root.directory), env=homes):
        wait_until(lambda: types(root, CELL)[-1:] == ["completed"])
    sources = [event["source"] for event in logged(root, CELL)]
    assert len(sources) == len(set(sources))
    assert [types(root, CELL).count(kind) for kind in ("started", "prompt_sent", "usage", "tool_call")] == [1, 1, 4, 3]


def test_up_with_watch_shows_sessions_and_ends_its_follower(root: Root, homes: dict[str, str]) -> None:
    put(homes, BASIC, lines_of(BASIC)[:9])
    with Up(root.directory, "--watch", env=homes) as up:
        up.show(CELL, 7)
        put(homes, BASIC, lines_of(BASIC)[9:])
        up.show(CELL, 21)
        shown = httpx.get(f"{up.url}/api/workcells/{CELL}").json()["summary"]
        assert (shown["status"], shown["agent"], shown["open_calls"]) == ("success", "claude", [])
        followers = [one for one in psutil.Process(up.pid).children() if "watch" in one.cmdline()]
        assert len(followers) == 1
        up.process.kill()
        wait_until(lambda: gone(followers[0].pid))


def test_a_follower_that_dies_is_started_again(root: Root, homes: dict[str, str]) -> None:
    def followers() -> list[psutil.Process]:
        return [one for one in psutil.Process(up.pid).children() if "watch" in one.cmdline()]

    with Up(root.directory, "--watch", env=homes) as up:
        first = wait_until(followers)[0]
        first.kill()
        put(homes, BASIC, lines_of(BASIC))
        up.show(CELL, 21)
        up.interrupt()
        assert up.wait() == 0


def test_the_follower_of_an_up_logs_as_the_up_does(root: Root, homes: dict[str, str]) -> None:
    root.workcell(CELL).write_bytes(b"")  # in the place of the workcell's directory
    put(homes, BASIC, lines_of(BASIC))
    with Up(root.directory, "--watch", env=homes) as up:
        wait_until(lambda: f"{CELL} cannot be written now" in up.err, what=up.err)
        line = next(line for line in up.err.splitlines() if CELL in line)
    assert re.match(rf"[-0-9]{{10}} [:,0-9]+ WARNING workcast: {CELL} ", line)


def test_an_agent_without_known_transcripts_is_refused(tmp_path: Path) -> None:
    done = workcast("watch", "gemini", "--root", str(tmp_path))
    assert done.returncode == 2
    assert b"expected claude or codex, got gemini" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_default_directories_are_those_of_the_home(root: Root, tmp_path: Path) -> None:
    home = tmp_path / "home"
    env = {"CLAUDE_CONFIG_DIR": "", "CODEX_HOME": "", "HOME": str(home)}
    put({"CLAUDE_CONFIG_DIR": str(home / ".claude")}, BASIC, lines_of(BASIC))
    with Program("watch", "claude", "--root", str(root.directory), env=env) as watch:
        wait_until(lambda: types(root, CELL)[-1:] == ["completed"], what=watch.err)
        assert f"claude: {home}/.claude/projects" in watch.err
