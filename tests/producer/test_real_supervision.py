"""Real agents in the middle of a command, and what becomes of it all when one of them is ended or killed."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from support.agents import claude_env, codex_env, install_claude, install_codex
from support.processes import Program, gone, workcast, working_in
from support.scripted_model import ScriptedModel
from support.waiting import wait_until
from workcast.broker.run_lock import LOCK_NAME

pytestmark = [pytest.mark.accept, pytest.mark.agent, pytest.mark.timeout(700)]

PROMPT = "[[scenario:hangtool]] Go."
OPTIONS = {
    "claude": ("--permission-mode", "bypassPermissions"),
    "codex": ("--dangerously-bypass-approvals-and-sandbox",),
}


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    with ScriptedModel() as server:
        yield server


class Case:
    """A ``workcast run`` of a real agent whose command hangs."""

    def __init__(self, agent: str, root: Path, home: Path, model: ScriptedModel) -> None:
        self.agent = agent
        self.root = root
        self.cell = root / ".workcells" / "wc"
        self._env = (
            claude_env(model.url, home, install_claude())
            if agent == "claude"
            else codex_env(model.url, home, install_codex())
        )

    def run(self, *options: str) -> Program:
        place = ("--root", str(self.root), "--workcell", "wc", *options)
        return Program("run", self.agent, *place, "--", *OPTIONS[self.agent], PROMPT, env=self._env)

    @property
    def events(self) -> list[dict[str, Any]]:
        path = self.cell / "telemetry.jsonl"
        return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []

    def await_command(self, run: Program) -> tuple[psutil.Process, list[psutil.Process]]:
        """The agent itself, and all processes of the run but that of ``workcast``, once its command hangs."""

        def hanging() -> list[psutil.Process]:
            assert run.process.poll() is None, run.err
            below = psutil.Process(run.pid).children(recursive=True)
            return below if any(is_sleep(process) for process in below) else []

        below = wait_until(hanging, 60, "a command that hangs")
        wait_until(lambda: "tool_call" in [event["type"] for event in self.events])
        (keeper,) = psutil.Process(run.pid).children()
        (agent,) = keeper.children()
        return agent, below

    def nothing_is_left(self, below: list[psutil.Process]) -> None:
        wait_until(lambda: all(gone(process.pid) for process in below), what=f"an end of {below}")
        assert working_in(self.root) == []

    def calls_are_closed(self) -> None:
        calls = [event["call_id"] for event in self.events if event["type"] == "tool_call"]
        results = [event["call_id"] for event in self.events if event["type"] == "tool_result"]
        assert calls
        assert sorted(calls) == sorted(results)


def is_sleep(process: psutil.Process) -> bool:
    try:
        return process.cmdline() == ["sleep", "600"]
    except psutil.Error:
        return False


@pytest.fixture(params=["claude", "codex"])
def case(request: pytest.FixtureRequest, tmp_path: Path, model: ScriptedModel) -> Case:
    (tmp_path / "root").mkdir()
    return Case(request.param, tmp_path / "root", tmp_path / "home", model)


def test_an_agent_that_is_killed_in_the_middle_of_a_command(case: Case) -> None:
    with case.run() as run:
        agent, below = case.await_command(run)
        agent.kill()
        assert run.wait() == 1
    case.nothing_is_left(below)
    case.calls_are_closed()
    assert (case.events[-1]["type"], case.events[-1]["status"], case.events[-1]["exit_code"]) == (
        "completed", "failed", 137,
    )  # fmt: skip


def test_a_run_that_is_killed_in_the_middle_of_a_command(case: Case) -> None:
    with case.run() as run:
        _, below = case.await_command(run)
        run.process.kill()
        run.process.wait()
    case.nothing_is_left(below)
    assert "completed" not in [event["type"] for event in case.events]
    lock = case.cell / LOCK_NAME
    os.utime(lock, (0, 0))
    (listed,) = map(json.loads, workcast("ls", "--root", str(case.root), "--json").stdout.splitlines())
    assert (listed["status"], listed["open_calls"]) == ("lost", [])


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_in_the_middle_of_a_command(case: Case, times: int) -> None:
    with case.run() as run:
        _, below = case.await_command(run)
        for _ in range(times):
            run.process.send_signal(signal.SIGINT)
        assert run.wait() == 130
    case.nothing_is_left(below)
    case.calls_are_closed()
    assert case.events[-1]["status"] == "cancelled"


def test_a_timeout_in_the_middle_of_a_command(case: Case) -> None:
    with case.run("--timeout", "8s") as run:  # after 10 s Codex does not wait for a command any more
        _, below = case.await_command(run)
        assert run.wait(40) == 124
    case.nothing_is_left(below)
    case.calls_are_closed()
    assert case.events[-1]["status"] == "timeout"


def test_limits_of_tokens_are_kept(case: Case) -> None:
    """Codex tells what it took at the end of a turn only: a command that hangs keeps it from telling."""
    with case.run("--max-tokens", "1") as run:
        if case.agent == "codex":
            _, below = case.await_command(run)
            for process in filter(is_sleep, below):
                process.kill()
        assert run.wait(60) == 1
    assert case.events[-1]["status"] == "failed"
    assert case.events[-1]["reason"].endswith(" of 1")
    assert working_in(case.root) == []
