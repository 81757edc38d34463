"""The runner with the real opencode, against a scripted model."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from support.more_agents import install_opencode, opencode_env
from support.more_models import MoreScriptedModel
from support.processes import working_in
from support.recorded import of
from support.waiting import wait_until_async
from workcast.broker.event import (
    BashOutput,
    Completed,
    ErrorEvent,
    FileRead,
    FileWrite,
    PromptSent,
    ResponseComplete,
    Started,
    Thinking,
    ToolCall,
    ToolResult,
    Unknown,
    Usage,
    UsageEvent,
)
from workcast.producer.runner import RunResult, run_agent

from .conftest import Sink

# The first run on a machine installs it.
pytestmark = [pytest.mark.agent, pytest.mark.accept, pytest.mark.timeout(700)]


@pytest.fixture
def model() -> Iterator[MoreScriptedModel]:
    with MoreScriptedModel() as server:
        yield server


class Opencode:
    """Runs opencode in directories of its own."""

    def __init__(self, path: Path, model: MoreScriptedModel, sink: Sink) -> None:
        self.env = opencode_env(model.url, path / "home", install_opencode())
        self.cwd = path / "work"
        self.cwd.mkdir()
        self.cell = path / "cell"
        self.sink = sink

    async def __call__(self, prompt: str, *options: str, timeout: float = 60, **how: Any) -> RunResult:  # noqa: ASYNC109
        return await run_agent(
            "opencode",
            prompt,
            workcell_dir=self.cell,
            cwd=self.cwd,
            writer=self.sink,
            options=options,
            model="scripted/scripted-model",
            env=self.env,
            timeout=timeout,
            **how,
        )


@pytest.fixture
def opencode(tmp_path: Path, model: MoreScriptedModel, sink: Sink) -> Opencode:
    return Opencode(tmp_path, model, sink)


async def test_a_tour_is_told_from_the_start_to_the_end(opencode: Opencode) -> None:
    ended = await opencode("[[scenario:basic]] Give me a tour.")
    events = opencode.sink.events
    assert (ended.status, ended.exit_code) == ("success", 0)
    assert of(Unknown, events) == []
    assert of(ErrorEvent, events) == []
    assert opencode.sink.types[:2] == ["prompt_sent", "started"]
    assert of(Started, events)[0].model == "scripted/scripted-model"
    assert [thought.content for thought in of(Thinking, events)] == [
        "The user wants a tour. First look at the directory, then write a file.",
        "Check a file that does not exist.",
    ]
    results = [(result.tool, result.exit_code, result.error is None) for result in of(ToolResult, events)]
    assert results == [("bash", 0, True), ("write", None, True), ("read", None, False)]
    assert of(BashOutput, events)[0].output.startswith("hello\n")
    written = [(event.path, event.lines_added) for event in of(FileWrite, events)]
    assert written == [(str(opencode.cwd / "notes" / "hello.txt"), 2)]
    assert (opencode.cwd / "notes" / "hello.txt").read_text() == "Hello from the scripted model.\nSecond line.\n"
    assert of(ResponseComplete, events)[-1].content.startswith("Done. I listed the directory")
    completed = of(Completed, events)[0]
    assert sum((event.usage for event in of(UsageEvent, events)), Usage()) == completed.usage
    assert completed.cost_usd is not None
    assert completed.cost_usd > 0


async def test_calls_are_paired_with_their_results(opencode: Opencode) -> None:
    (opencode.cwd / "README.md").write_text("# scratch\n")
    assert (await opencode("[[scenario:tools]] Give me a tour.")).status == "success"
    results = {result.call_id: result for result in of(ToolResult, opencode.sink.events)}
    calls = of(ToolCall, opencode.sink.events)
    told = sorted((call.tool, str(results[call.call_id].exit_code)) for call in calls)
    assert told == [("bash", "0"), ("bash", "7"), ("edit", "None"), ("read", "None"), ("read", "None")]
    assert len(of(FileRead, opencode.sink.events)) == 2
    assert [(event.lines_added, event.lines_removed) for event in of(FileWrite, opencode.sink.events)] == [(1, 1)]
    assert (opencode.cwd / "README.md").read_text() == "# edited\n"


@pytest.mark.parametrize(
    "prompt",
    [
        "--version [[scenario:plain]]",
        "-",
        'say "hi" \\ [[scenario:plain]]\n',
        "[[scenario:plain]] " + "word " * 200_000,
    ],
)
async def test_a_prompt_arrives_as_it_is(opencode: Opencode, model: MoreScriptedModel, prompt: str) -> None:
    assert (await opencode(prompt)).status == "success"
    asked = [request for request in model.requests if request.get("tools")]
    assert prompt in [part["text"] for item in asked[-1]["messages"] for part in item["content"]]
    assert [event.prompt for event in of(PromptSent, opencode.sink.events)] == [prompt]


async def test_a_session_that_goes_on_counts_what_this_run_took(opencode: Opencode) -> None:
    await opencode("[[scenario:plain]] Hello.")
    session = of(Started, opencode.sink.events)[0].session_id
    assert session is not None
    await opencode("Go on.", "--session", session)
    first, second = of(Started, opencode.sink.events)
    assert (first.resumed, second.resumed, second.session_id) == (None, True, session)
    once, again = of(UsageEvent, opencode.sink.events)
    assert [completed.usage for completed in of(Completed, opencode.sink.events)] == [once.usage, again.usage]


async def test_a_refused_key_is_one_error(opencode: Opencode) -> None:
    ended = await opencode("[[scenario:e401]] Give me a tour.")
    assert (ended.status, ended.exit_code) == ("failed", 1)
    errors = [(error.error, error.retryable) for error in of(ErrorEvent, opencode.sink.events)]
    assert errors == [("invalid x-api-key", False)]


async def test_an_answer_that_breaks_off_is_told_and_the_run_goes_on(opencode: Opencode) -> None:
    ended = await opencode("[[scenario:drop]] Give me a tour.")
    assert (ended.status, ended.exit_code) == ("success", 0)
    assert [error.retryable for error in of(ErrorEvent, opencode.sink.events)] == [True]
    assert of(ResponseComplete, opencode.sink.events)[0].content == "This connection drops in the mid"


async def test_a_command_that_is_stopped_is_gone_with_all_its_processes(opencode: Opencode) -> None:
    stop = asyncio.Event()
    running = asyncio.ensure_future(opencode("[[scenario:hangtool]] Wait.", stop=stop))
    await wait_until_async(lambda: sleeps_in(opencode.cwd), 40)
    stop.set()
    assert (await running).status == "cancelled"
    assert opencode.sink.types[-1] == "completed"
    assert working_in(opencode.cwd) == []


async def test_a_run_that_takes_too_long_is_ended_in_the_middle_of_a_command(opencode: Opencode) -> None:
    assert (await opencode("[[scenario:hangtool]] Wait.", timeout=20)).status == "timeout"
    assert opencode.sink.types[-1] == "completed"
    assert working_in(opencode.cwd) == []


def sleeps_in(folder: Path) -> list[psutil.Process]:
    """The commands that sleep there."""
    return [process for process in working_in(folder) if process.name() == "sleep"]
