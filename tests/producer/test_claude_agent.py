"""The runner with the real Claude Code, against a scripted model."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from support.processes import working_in
from support.recorded import of
from support.scripted_model import ScriptedModel
from workcast.events.models import (
    BaseEvent,
    Completed,
    ErrorEvent,
    FileWrite,
    ResponseChunk,
    ResponseComplete,
    ToolCall,
    ToolResult,
    UsageEvent,
)
from workcast.events.usage import Usage

from .conftest import AgentRunner, Sink

pytestmark = [pytest.mark.agent, pytest.mark.timeout(700)]  # the first run on a machine installs it


@pytest.fixture
def claude(tmp_path: Path, model: ScriptedModel, sink: Sink) -> AgentRunner:
    return AgentRunner("claude", tmp_path, model, sink)


def stop_when(sink: Sink, type_: str, count: int = 1) -> asyncio.Event:
    stop = asyncio.Event()

    def watch(_: BaseEvent) -> None:
        if sink.types.count(type_) >= count:
            stop.set()

    sink.watch = watch
    return stop


async def test_a_run_is_reported_from_start_to_end(claude: AgentRunner) -> None:
    events = await claude.tour()
    assert [call.tool for call in of(ToolCall, events)] == ["Bash", "Write", "Read"]
    assert [(result.tool, result.error is None) for result in of(ToolResult, events)] == [
        ("Bash", True), ("Write", True), ("Read", False),
    ]  # fmt: skip
    assert [event.lines_added for event in of(FileWrite, events)] == [2]
    assert (claude.cwd / "notes" / "hello.txt").read_text() == "Hello from the scripted model.\nSecond line.\n"
    last = of(ResponseComplete, events)[-1]
    chunks = [chunk.content for chunk in of(ResponseChunk, events) if chunk.message_id == last.message_id]
    assert "".join(chunks) == last.content
    counted = sum((event.usage for event in of(UsageEvent, events)), Usage())
    assert [event.usage for event in of(Completed, events)] == [counted]


async def test_three_calls_at_once_are_paired_with_their_results(claude: AgentRunner) -> None:
    (claude.cwd / "README.md").write_text("# scratch\n")
    assert (await claude("[[scenario:tools]] Give me a tour.")).status == "success"
    results = {result.call_id: result for result in of(ToolResult, claude.sink.events)}
    calls = of(ToolCall, claude.sink.events)
    assert [(call.tool, results[call.call_id].exit_code) for call in calls] == [
        ("Read", None), ("Edit", None), ("Bash", 0), ("Bash", 7), ("Read", None),
    ]  # fmt: skip
    assert [event.diff for event in of(FileWrite, claude.sink.events)] == [
        f"--- {claude.cwd}/README.md\n+++ {claude.cwd}/README.md\n@@ -1,1 +1,1 @@\n-# scratch\n+# edited\n"
    ]


async def test_a_prompt_that_looks_like_an_option_is_a_prompt(claude: AgentRunner, model: ScriptedModel) -> None:
    assert (await claude("--version [[scenario:plain]]")).status == "success"
    assert "--version [[scenario:plain]]" in str(model.requests[-1]["messages"])


async def test_a_prompt_too_long_for_an_argument_arrives(claude: AgentRunner, model: ScriptedModel) -> None:
    assert (await claude("[[scenario:plain]] " + "word " * 40_000)).status == "success"
    assert "word " * 40_000 in str(model.requests[-1]["messages"])


async def test_a_refused_key_is_one_error(claude: AgentRunner) -> None:
    assert (await claude("[[scenario:e401]] Give me a tour.")).status == "failed"
    final = [error for error in of(ErrorEvent, claude.sink.events) if not error.retryable]
    assert [(error.error[:15], error.kind) for error in final] == [("Invalid API key", "authentication_failed")]


async def test_a_stopped_command_is_gone_with_all_its_processes(claude: AgentRunner) -> None:
    ended = await claude("[[scenario:hangtool]] Wait.", stop=stop_when(claude.sink, "bash_command"))
    assert ended.status == "cancelled"
    assert [result.error is None for result in of(ToolResult, claude.sink.events)] == [False]
    assert working_in(claude.cwd) == []


async def test_an_answer_without_end_is_stopped(claude: AgentRunner) -> None:
    ended = await claude("[[scenario:hangtext]] Talk.", stop=stop_when(claude.sink, "response_chunk", 5))
    assert (ended.status, ended.exit_code) == ("cancelled", 143)


async def test_a_test_can_hold_the_model_in_mid_answer(claude: AgentRunner, model: ScriptedModel) -> None:
    model.gate.clear()
    started = stop_when(claude.sink, "started")
    task = asyncio.create_task(claude("[[scenario:slow]] Talk."))
    await started.wait()
    assert "response_chunk" not in claude.sink.types
    model.gate.set()
    assert (await task).status == "success"
    assert len(of(ResponseChunk, claude.sink.events)) > 30
