"""A ``run`` killed with SIGKILL: nothing of its agent is left, and its log is ``lost`` until another run writes it."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.logs import event_line, write_log
from support.processes import Program, Up, gone, workcast
from support.supervised import all_gone, backstops_of, keepers_of, reported_pids
from support.waiting import wait_until
from workcast.broker.names import RUN_LOCK_FILE
from workcast.broker.root import Root

CALL = '{"type":"assistant","message":{"id":"m","content":[{"type":"tool_use","id":"t","name":"Bash","input":{}}]}}'
AGENT = f"""#!/bin/sh
[ -e finish ] && {{ echo '{{"type":"result","subtype":"success","is_error":false}}'; exit; }}
[ -e deaf ] && trap '' TERM
echo $$ >> pids
setsid env -i sh -c 'echo $$ >> pids; [ -e deaf ] && trap "" TERM; exec <&- >&- 2>&-
while :; do sleep 600 & wait; done' &
(setsid sh -c 'echo $$ >> pids; exec sleep 600' &)
while [ $(wc -l < pids) -lt 3 ]; do sleep 0.05; done
echo '{CALL}'
while :; do sleep 600 & wait; done
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A root, beside which is the only ``claude`` of :func:`run`."""
    (tmp_path / "root").mkdir()
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "claude"
    program.write_text(AGENT)
    program.chmod(0o755)
    return tmp_path / "root"


def run(place: Path) -> Program:
    env = {"PATH": f"{place.parent / 'bin'}:/usr/bin:/bin"}
    return Program("run", "claude", "--root", str(place), "--workcell", "wc", "--", "go", env=env)


def events(place: Path) -> list[dict[str, Any]]:
    path = place / ".workcells" / "wc" / "telemetry.jsonl"
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]] if path.exists() else []


def await_call(place: Path) -> list[int]:
    """The agent's processes, once it has called its tool."""
    wait_until(lambda: "tool_call" in [event["type"] for event in events(place)], what="the agent's call")
    return reported_pids(place / "pids", 3)


def let_time_pass(place: Path) -> None:
    """As if the heartbeat, if there is one, had been an hour ago."""
    lock = place / ".workcells" / "wc" / RUN_LOCK_FILE
    at = lock.stat().st_mtime - 3600
    os.utime(lock, (at, at))


def listed(place: Path) -> dict[str, Any]:
    done = workcast("ls", "--root", str(place), "--json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    (item,) = (item for item in found if item["id"] == "wc")
    return item


def kill(program: Program) -> None:
    program.process.kill()
    program.process.wait()


def test_a_run_that_is_killed_takes_its_agent_with_it_and_is_lost(place: Path) -> None:
    """Not before: this agent is deaf to SIGTERM and has a grace of some seconds, and so long the workcell is taken."""
    (place / "deaf").touch()
    with run(place) as going:
        pids = await_call(place)
        let_time_pass(place)
        assert listed(place)["status"] == "running"  # the lock is held
        kill(going)
    let_time_pass(place)
    status = listed(place)["status"]
    assert status == "running" or all(map(gone, pids))  # a slow machine may look after the grace
    all_gone(pids)
    wait_until(lambda: listed(place)["status"] == "lost", what="the keeper's end")
    assert listed(place)["open_calls"] == []
    assert [event["type"] for event in events(place)][-1] == "tool_call"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")
@pytest.mark.parametrize("whom", ["keeper", "backstop"])
@pytest.mark.parametrize("deaf", [False, True])
def test_a_run_that_is_killed_together_with_its_keeper_leaves_nothing(place: Path, whom: str, *, deaf: bool) -> None:
    """Its agent has a daemon in another session, twice removed, with an empty environment and closed descriptors."""
    if deaf:
        (place / "deaf").touch()
    with run(place) as going:
        pids = await_call(place)
        (other,) = {"keeper": keepers_of, "backstop": backstops_of}[whom](going.pid)
        for pid in (going.pid, other.pid):
            os.kill(pid, signal.SIGKILL)
        going.process.wait()
    all_gone(pids)
    let_time_pass(place)
    wait_until(lambda: listed(place)["status"] == "lost", what="the end of all that holds the lock")


def test_the_gateway_shows_a_lost_run_and_the_next_one_in_its_workcell(place: Path) -> None:
    def shown() -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"{up.url}/api/workcells/wc").json().get("summary") or {}
        return found

    def await_status(status: str) -> None:
        wait_until(lambda: shown().get("status") == status, 40, f"{status}, got {shown()}")

    with Up(place) as up:
        with run(place) as going:
            pids = await_call(place)
            await_status("running")
            kill(going)
        all_gone(pids)
        let_time_pass(place)
        await_status("lost")
        assert shown()["open_calls"] == []
        assert listed(place)["status"] == "lost"
        (place / "pids").unlink()
        with run(place) as going:
            pids = await_call(place)
            await_status("running")
            going.process.send_signal(signal.SIGTERM)
            going.wait()
        await_status("cancelled")
        (place / "finish").touch()
        with run(place) as going:
            assert going.wait() == 0, going.err
        await_status("success")
    all_gone(pids)


def test_a_log_that_was_written_without_a_lock_is_never_lost(tmp_path: Path) -> None:
    path = write_log(Root(tmp_path), "wc", [event_line(0)])
    os.utime(path, (0, 0))
    assert listed(tmp_path)["status"] == "running"


def test_a_run_that_is_stopped_is_not_lost_but_ends_with_its_whole_group(place: Path) -> None:
    """As with Ctrl-Z: without heartbeats, but it may continue. Its agent is in another group, and ends all the same."""
    with run(place) as going:
        pids = await_call(place)
        os.kill(going.pid, signal.SIGSTOP)
        let_time_pass(place)
        assert listed(place)["status"] == "running"
        os.killpg(going.pid, signal.SIGKILL)
        going.process.wait()
    all_gone(pids)
