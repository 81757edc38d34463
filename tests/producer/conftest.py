"""What the tests of the producer share."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.agents import AGENTS
from support.scripted_model import ScriptedModel
from workcast.events.models import BaseEvent
from workcast.producer.runner import RunResult, run_agent


class Sink:
    """A writer that keeps the events, and lets a test wait for one."""

    def __init__(self) -> None:
        self.events: list[BaseEvent] = []
        self.watch: Callable[[BaseEvent], None] = lambda _: None

    def write(self, event: BaseEvent) -> None:
        """Keep the event."""
        self.events.append(event)
        self.watch(event)

    @property
    def types(self) -> list[str]:
        """The types of the events, in order."""
        return [event.type for event in self.events]


def stop_at(sink: Sink, type_: str) -> asyncio.Event:
    """An order to stop that is given when such an event is written."""
    stop = asyncio.Event()

    def watch(event: BaseEvent) -> None:
        if event.type == type_:
            stop.set()

    sink.watch = watch
    return stop


class AgentRunner:
    """Runs a real agent, in directories of its own and without asking for permission, against a scripted model."""

    def __init__(self, name: str, path: Path, model: ScriptedModel, sink: Sink) -> None:
        self.name = name
        self.agent = AGENTS[name]
        self.env = self.agent.env(model.url, path / "home", self.agent.install())
        self.cwd = path / "work"
        self.cwd.mkdir()
        self.cell = path / "cell"
        self.sink = sink

    async def __call__(self, prompt: str, *options: str, stop: asyncio.Event | None = None) -> RunResult:
        """Run the agent with a prompt."""
        return await run_agent(
            self.name,
            prompt,
            workcell_dir=self.cell,
            cwd=self.cwd,
            writer=self.sink,
            options=[*self.agent.options, *options],
            model=self.agent.model,
            env=self.env,
            timeout=60,
            stop=stop,
        )

    async def tour(self) -> list[BaseEvent]:
        """Run the scenario ``basic``, check that it is reported without errors, and return the events."""
        ended = await self("[[scenario:basic]] Give me a tour.")
        assert (ended.status, ended.exit_code) == ("success", 0)
        assert {"unknown", "error"}.isdisjoint(self.sink.types)
        assert self.sink.types[:2] == ["prompt_sent", "started"]
        return self.sink.events


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def fake_agent(tmp_path: Path) -> Callable[[str, str], dict[str, str]]:
    """Writes a Python program that is found under an agent's name; answers the environment to run it in."""

    def write(name: str, source: str) -> dict[str, str]:
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!{sys.executable} -IS\n{source}")
        program.chmod(0o755)
        return {"PATH": f"{program.parent}:{os.defpath}", "LANG": "C.UTF-8"}

    return write


@pytest.fixture
def fake_claude(fake_agent: Callable[[str, str], dict[str, str]]) -> Callable[[str], dict[str, str]]:
    """The same as ``claude``."""
    return lambda source: fake_agent("claude", source)
