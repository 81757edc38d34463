"""A ``workcast run`` of a real agent against a scripted model, and the checks after it has ended."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from support.agents import AGENTS
from support.processes import Program, working_in
from support.scripted_model import ScriptedModel
from support.supervised import all_gone, keepers_of, marked
from support.waiting import wait_until
from workcast.producer.leftovers import MARK

NO_RESULT: Final = "no result: the agent ended"
"""The error of a call that the agent left open."""


@dataclass(frozen=True)
class Tree:
    """The processes of a run in the middle of a command, without that of ``workcast`` itself."""

    agent: psutil.Process
    """The process that ``workcast`` started."""
    mark: str
    below: tuple[psutil.Process, ...]


class RealRun:
    """A root and a home directory for one run of one agent."""

    def __init__(self, agent: str, place: Path, model: ScriptedModel) -> None:
        self.agent = agent
        self.model = model
        self.root = place / "root"
        self.home = place / "home"
        self.cell = self.root / ".workcells" / "wc"
        self.root.mkdir()
        self.home.mkdir()

    def start(self, scenario: str, *options: str, model: str | None = None) -> Program:
        """Run the agent with a prompt that names a scenario; ``options`` go to ``run``."""
        real = AGENTS[self.agent]
        name = model or real.model
        place = ("--root", str(self.root), "--workcell", "wc", *(("--model", name) if name else ()), *options)
        env = real.env(self.model.url, self.home, real.install())
        return Program("run", self.agent, *place, "--", *real.options, f"[[scenario:{scenario}]] Go.", env=env)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of the log."""
        path = self.cell / "telemetry.jsonl"
        return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]] if path.exists() else []

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The events of one type."""
        return [event for event in self.events if event["type"] == kind]

    def finals(self) -> list[str]:
        """Return the errors that are not retryable."""
        return [event["error"] for event in self.of("error") if event["retryable"] is False]

    def retries(self) -> list[str]:
        """Return the errors after which the agent retried."""
        return [event["error"] for event in self.of("error") if event["retryable"] is True]

    def await_command(self, run: Program, seconds: float = 60) -> Tree:
        """Wait until the agent's command hangs in the root, and is in the log if the agent reports it."""

        def hanging() -> bool:
            assert run.process.poll() is None, run.err
            below = psutil.Process(run.pid).children(recursive=True)
            return any(is_sleep(process) for process in below)

        wait_until(hanging, seconds, "a hanging command")
        assert any(map(is_sleep, working_in(self.root)))
        if self.agent != "opencode":  # it reports a call only after it is over
            wait_until(lambda: self.of("tool_call"))
        (keeper,) = keepers_of(run.pid)
        agent = min(keeper.children(), key=psutil.Process.create_time)
        return Tree(agent, agent.environ()[MARK], tuple(psutil.Process(run.pid).children(recursive=True)))

    def await_all_gone(self, tree: Tree | None = None) -> None:
        """Wait until no process of the run is left, however it hides."""
        if tree is not None:
            all_gone([process.pid for process in tree.below])
            wait_until(lambda: not marked(MARK, tree.mark), what="the end of all processes with the run's mark")
        wait_until(lambda: not marked("HOME", str(self.home)), what="the end of all processes with the run's home")
        assert working_in(self.root) == []

    def check_calls(self) -> None:
        """Check that each call has exactly one result, which comes after it."""
        calls = [event["call_id"] for event in self.of("tool_call")]
        results = [event["call_id"] for event in self.of("tool_result")]
        assert len(set(calls)) == len(calls)
        assert sorted(calls) == sorted(results)
        order = [(event["type"], event["call_id"]) for event in self.events if event["type"].startswith("tool_")]
        assert all(order.index(("tool_call", call)) < order.index(("tool_result", call)) for call in calls)

    def check_ended(self, run: Program, status: str, exit_code: int | None = None, tree: Tree | None = None) -> None:
        """Check log, proof and processes after a run that was not killed."""
        events = self.events
        types = [event["type"] for event in events]
        assert types[0] == "prompt_sent"
        assert types.count("completed") == 1
        last = events[-1]
        assert (last["type"], last["status"]) == ("completed", status)
        if exit_code is not None:
            assert last["exit_code"] == exit_code
        assert {"unknown", "malformed"}.isdisjoint(types)
        assert [event["timestamp"] for event in events] == sorted(event["timestamp"] for event in events)
        self.check_calls()
        proof = json.loads((self.cell / "proof.json").read_bytes())
        assert (proof["status"], proof["exit_code"]) == (status, last["exit_code"])
        assert run.err.splitlines()[-1].startswith(f"wc: {status} after ")
        self.await_all_gone(tree)


def is_sleep(process: psutil.Process) -> bool:
    """Whether this is the hanging command."""
    try:
        return process.cmdline() == ["sleep", "600"]
    except psutil.Error:
        return False
