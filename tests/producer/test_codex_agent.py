"""The runner with the real Codex, against a scripted model."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from support.agents import codex_env
from support.processes import working_in
from support.recorded import of
from support.scripted_model import ScriptedModel
from workcast.events.models import (
    BashOutput,
    Completed,
    ErrorEvent,
    FileWrite,
    ResponseComplete,
    Started,
    ToolCall,
    ToolResult,
    UsageEvent,
)

from .conftest import AgentRunner, Sink, stop_at

pytestmark = [pytest.mark.agent, pytest.mark.timeout(700)]  # the first run on a machine installs it


@pytest.fixture
def codex(tmp_path: Path, model: ScriptedModel, sink: Sink) -> AgentRunner:
    return AgentRunner("codex", tmp_path, model, sink)


async def test_a_run_is_reported_from_start_to_end(codex: AgentRunner) -> None:
    events = await codex.tour()
    results = [(result.tool, result.exit_code) for result in of(ToolResult, events)]
    assert results == [("command_execution", 0), ("file_change", None), ("command_execution", 1)]
    assert of(BashOutput, events)[0].output.startswith("hello\n")
    assert [event.path for event in of(FileWrite, events)] == [str(codex.cwd / "notes" / "hello.txt")]
    assert (codex.cwd / "notes" / "hello.txt").read_text() == "Hello from the scripted model.\nSecond line.\n"
    assert of(ResponseComplete, events)[-1].content.startswith("Done. I listed the directory")
    assert [event.usage for event in of(UsageEvent, events)] == [event.usage for event in of(Completed, events)]
    proof = json.loads((codex.cell / "proof.json").read_bytes())
    assert proof["files_changed"] == [str(codex.cwd / "notes" / "hello.txt")]
    assert proof["session_id"] == of(Started, events)[0].session_id


async def test_calls_are_paired_with_their_results(codex: AgentRunner) -> None:
    (codex.cwd / "README.md").write_text("# scratch\n")
    assert (await codex("[[scenario:tools]] Give me a tour.")).status == "success"
    results = {result.call_id: result for result in of(ToolResult, codex.sink.events)}
    calls = of(ToolCall, codex.sink.events)
    assert sorted(str(results[call.call_id].exit_code) for call in calls) == ["0", "0", "0", "7", "None"]
    assert (codex.cwd / "README.md").read_text() == "# edited\n"


@pytest.mark.parametrize("prompt", ["--version [[scenario:plain]]", "-", "[[scenario:plain]] " + "word " * 200_000])
async def test_a_prompt_arrives_whatever_it_looks_like(codex: AgentRunner, model: ScriptedModel, prompt: str) -> None:
    assert (await codex(prompt)).status == "success"
    said = [part["text"] for item in model.requests[-1]["input"] for part in item.get("content") or ()]
    assert prompt.strip() in {text.strip() for text in said}


async def test_a_resumed_run_does_not_count_the_usage_of_others(codex: AgentRunner) -> None:
    await codex("[[scenario:plain]] Hello.")
    thread = of(Started, codex.sink.events)[0].session_id
    assert thread is not None
    await codex("Go on.", "resume", thread)
    first, second = of(Completed, codex.sink.events)
    assert first.usage is not None
    assert second.usage is None
    total = second.session_usage
    assert total is not None
    assert total.input_tokens > 2 * first.usage.input_tokens
    assert [started.session_id for started in of(Started, codex.sink.events)] == [thread, thread]
    ids = [message.message_id for message in of(ResponseComplete, codex.sink.events)]
    assert len(set(ids)) == 2


async def test_a_refused_key_is_one_error(codex: AgentRunner) -> None:
    assert (await codex("[[scenario:e401]] Give me a tour.")).status == "failed"
    final = [error.error for error in of(ErrorEvent, codex.sink.events) if error.retryable is False]
    assert len(final) == 1
    assert "401 Unauthorized" in final[0]


async def test_a_lost_network_does_not_end_a_run(codex: AgentRunner, model: ScriptedModel) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        unreachable = f"http://127.0.0.1:{closed.getsockname()[1]}"
    codex_env(unreachable, Path(codex.env["HOME"]))
    ended = await codex("[[scenario:plain]] Hello.", stop=stop_at(codex.sink, "error"))
    assert ended.status == "cancelled"
    (error,) = of(ErrorEvent, codex.sink.events)
    assert error.error.startswith("Reconnecting... waiting for network")
    assert error.retryable is True


async def test_a_stopped_command_is_gone_with_all_its_processes(codex: AgentRunner) -> None:
    ended = await codex("[[scenario:hangtool]] Wait.", stop=stop_at(codex.sink, "bash_command"))
    assert ended.status == "cancelled"
    assert [result.error is None for result in of(ToolResult, codex.sink.events)] == [False]
    assert working_in(codex.cwd) == []
