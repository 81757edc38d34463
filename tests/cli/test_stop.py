"""Signals to a ``run``: the first stops its agent, the second kills it; the log is completed either way."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from support.processes import PROGRAM, Program
from support.supervised import all_gone, reported_pids
from support.waiting import wait_until

DEAF = """
trap 'echo stopping' TERM
echo $$ >> pids
setsid env -i sh -c 'echo $$ >> pids; trap "" TERM; while :; do sleep 600 & wait; done' &
while [ $(wc -l < pids) -lt 2 ]; do sleep 0.05; done
echo ready
while :; do sleep 600 & wait; done
"""
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def deaf_run(root: Path) -> Program:
    return Program("run", "exec", "--root", str(root), "--workcell", "wc", "--", "sh", "-c", DEAF)


def events(root: Path) -> list[dict[str, Any]]:
    path = root / ".workcells" / "wc" / "telemetry.jsonl"
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]] if path.exists() else []


def printed(root: Path) -> str:
    return "".join(event["output"] for event in events(root) if event["type"] == "bash_output")


@pytest.mark.parametrize("number", SIGNALS, ids=[number.name for number in SIGNALS])
def test_the_second_signal_kills_at_once_and_the_log_still_ends(tmp_path: Path, number: signal.Signals) -> None:
    with deaf_run(tmp_path) as run:
        wait_until(lambda: "ready" in printed(tmp_path))
        run.process.send_signal(number)
        wait_until(lambda: "stopping" in printed(tmp_path))
        assert run.process.poll() is None  # it has a grace of 5 s, however slow this machine is
        run.process.send_signal(number)
        assert run.wait() == 130
        assert "Traceback" not in run.err
    last = events(tmp_path)[-1]
    assert (last["type"], last["status"], last["exit_code"]) == ("completed", "cancelled", 137)
    assert json.loads((tmp_path / ".workcells" / "wc" / "proof.json").read_bytes())["status"] == "cancelled"
    all_gone(reported_pids(tmp_path / "pids", 2))


def test_a_run_that_was_started_with_nohup_outlives_its_terminal(tmp_path: Path) -> None:
    arguments = ("run", "exec", "--root", str(tmp_path), "--workcell", "wc", "--", "sh", "-c", "echo ready; sleep 600")
    with Program("-c", 'trap "" HUP; exec "$0" "$@"', str(PROGRAM), *arguments, program=("sh",)) as run:
        wait_until(lambda: "ready" in printed(tmp_path))
        run.process.send_signal(signal.SIGHUP)
        run.interrupt()
        assert run.wait() == 130
    assert events(tmp_path)[-1]["exit_code"] == 143
