"""The runner with the real Gemini CLI, against a scripted model."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from support.recorded import of
from support.scripted_model import ScriptedModel
from support.waiting import wait_until_async
from workcast.events.models import (
    BashOutput,
    Completed,
    FileRead,
    FileWrite,
    PromptSent,
    ResponseChunk,
    ResponseComplete,
    Started,
    ToolResult,
    UsageEvent,
)

from .conftest import AgentRunner, Sink

# The first run on a machine installs it.
pytestmark = [pytest.mark.agent, pytest.mark.accept, pytest.mark.timeout(700)]


@pytest.fixture
def gemini(tmp_path: Path, model: ScriptedModel, sink: Sink) -> AgentRunner:
    return AgentRunner("gemini", tmp_path, model, sink)


async def test_a_run_is_reported_from_start_to_end(gemini: AgentRunner) -> None:
    events = await gemini.tour()
    assert [prompt.prompt for prompt in of(PromptSent, events)] == ["[[scenario:basic]] Give me a tour."]
    assert of(Started, events)[0].model == "gemini-2.5-pro"
    results = [(result.tool, result.error is None) for result in of(ToolResult, events)]
    assert results == [("run_shell_command", True), ("write_file", True), ("read_file", False)]
    assert of(BashOutput, events)[0].output.startswith("hello")
    assert [event.path for event in of(FileWrite, events)] == [str(gemini.cwd / "notes" / "hello.txt")]
    assert (gemini.cwd / "notes" / "hello.txt").read_text() == "Hello from the scripted model.\nSecond line.\n"
    assert of(ResponseComplete, events)[-1].content.startswith("Done. I listed the directory")
    whole = "".join(event.content for event in of(ResponseComplete, events))
    assert "".join(event.content for event in of(ResponseChunk, events)) == whole
    assert [event.usage for event in of(UsageEvent, events)] == [event.usage for event in of(Completed, events)]


async def test_calls_are_paired_with_their_results(gemini: AgentRunner) -> None:
    (gemini.cwd / "README.md").write_text("# scratch\n")
    assert (await gemini("[[scenario:tools]] Give me a tour.")).status == "success"
    results = [(result.tool, result.error) for result in of(ToolResult, gemini.sink.events)]
    assert sorted(results) == sorted([
        ("read_file", None), ("replace", None), ("run_shell_command", None), ("run_shell_command", None),
        ("read_file", None),
    ])  # fmt: skip
    assert [event.output for event in of(BashOutput, gemini.sink.events)] == ["one", "two"]
    assert len(of(FileRead, gemini.sink.events)) == 2
    assert (gemini.cwd / "README.md").read_text() == "# edited\n"


@pytest.mark.parametrize("prompt", ["--version [[scenario:plain]]", "-", 'a=b "c" \\ [[scenario:plain]]\n'])
async def test_a_prompt_arrives_whatever_it_looks_like(gemini: AgentRunner, model: ScriptedModel, prompt: str) -> None:
    assert (await gemini(prompt)).status == "success"
    assert prompt in prompts_in(model)
    assert [event.prompt for event in of(PromptSent, gemini.sink.events)] == [prompt]


async def test_a_long_prompt_arrives_whole(gemini: AgentRunner, model: ScriptedModel) -> None:
    prompt = "[[scenario:plain]] " + "word " * 200_000
    model.gate.clear()
    running = asyncio.ensure_future(gemini(prompt))
    # Gemini loses output that is not read when it exits: the model answers once the echo of the prompt was read.
    logs = gemini.cell / "logs"
    await wait_until_async(lambda: any(file.stat().st_size > len(prompt) for file in logs.glob("*.stdout")), 40)
    model.gate.set()
    assert (await running).status == "success"
    assert prompt in prompts_in(model)


def prompts_in(model: ScriptedModel) -> list[str]:
    """Return the texts in the last request for an answer."""
    asked = [request for request in model.requests if request.get("tools")]
    return [part.get("text") for item in asked[-1]["contents"] for part in item["parts"]]


async def test_the_users_approval_mode_is_obeyed(gemini: AgentRunner) -> None:
    assert (await gemini("[[scenario:plain]] Hello.", "--approval-mode", "plan")).status == "success"


async def test_a_continued_session_counts_only_this_run(gemini: AgentRunner) -> None:
    await gemini("[[scenario:plain]] Hello.")
    await gemini("Go on.", "--resume", "latest")
    first, second = of(Started, gemini.sink.events)
    assert (first.resumed, second.resumed, second.session_id) == (None, True, first.session_id)
    assert [prompt.prompt for prompt in of(PromptSent, gemini.sink.events)] == ["[[scenario:plain]] Hello.", "Go on."]
    once, again = of(Completed, gemini.sink.events)
    assert once.usage is not None
    assert again.usage is not None
    assert again.usage.input_tokens < 2 * once.usage.input_tokens
    assert len({text.message_id for text in of(ResponseComplete, gemini.sink.events)}) == 2
