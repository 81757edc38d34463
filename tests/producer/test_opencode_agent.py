"""The runner with the real opencode, against a scripted model."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.recorded import of
from support.scripted_model import ScriptedModel
from workcast.events.models import (
    BashOutput,
    Completed,
    FileRead,
    FileWrite,
    PromptSent,
    ResponseComplete,
    Started,
    Thinking,
    ToolCall,
    ToolResult,
    UsageEvent,
)
from workcast.events.usage import Usage

from .conftest import AgentRunner, Sink

# The first run on a machine installs it.
pytestmark = [pytest.mark.agent, pytest.mark.accept, pytest.mark.timeout(700)]


@pytest.fixture
def opencode(tmp_path: Path, model: ScriptedModel, sink: Sink) -> AgentRunner:
    return AgentRunner("opencode", tmp_path, model, sink)


async def test_a_run_is_reported_from_start_to_end(opencode: AgentRunner) -> None:
    events = await opencode.tour()
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


async def test_calls_are_paired_with_their_results(opencode: AgentRunner) -> None:
    (opencode.cwd / "README.md").write_text("# scratch\n")
    assert (await opencode("[[scenario:tools]] Give me a tour.")).status == "success"
    results = {result.call_id: result for result in of(ToolResult, opencode.sink.events)}
    calls = of(ToolCall, opencode.sink.events)
    found = sorted((call.tool, str(results[call.call_id].exit_code)) for call in calls)
    assert found == [("bash", "0"), ("bash", "7"), ("edit", "None"), ("read", "None"), ("read", "None")]
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
async def test_a_prompt_arrives_as_it_is(opencode: AgentRunner, model: ScriptedModel, prompt: str) -> None:
    assert (await opencode(prompt)).status == "success"
    asked = [request for request in model.requests if request.get("tools")]
    assert prompt in [part["text"] for item in asked[-1]["messages"] for part in item["content"]]
    assert [event.prompt for event in of(PromptSent, opencode.sink.events)] == [prompt]


async def test_a_continued_session_counts_only_this_run(opencode: AgentRunner) -> None:
    await opencode("[[scenario:plain]] Hello.")
    session = of(Started, opencode.sink.events)[0].session_id
    assert session is not None
    await opencode("Go on.", "--session", session)
    first, second = of(Started, opencode.sink.events)
    assert (first.resumed, second.resumed, second.session_id) == (None, True, session)
    once, again = of(UsageEvent, opencode.sink.events)
    assert [completed.usage for completed in of(Completed, opencode.sink.events)] == [once.usage, again.usage]
