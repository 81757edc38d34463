"""The four real agents, each of them in all that can go wrong, through the real ``workcast run``.

What an agent does not say on its stdout cannot be told: where they differ, the tests say what each of them does.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from support.agents import AGENTS
from support.processes import workcast
from support.real_runs import NO_RESULT, RealRun
from support.scripted_model import ScriptedModel
from workcast.broker.run_lock import LOCK_NAME

pytestmark = [pytest.mark.accept, pytest.mark.agent, pytest.mark.timeout(700)]  # the first run installs them

RUN_S: Final = 90
"""How long a run may take. Gemini CLI waits 5 s and 10 s before it tries again, and no setting shortens that."""
SHELL_TOOL: Final = {
    "claude": "Bash",
    "codex": "command_execution",
    "gemini": "run_shell_command",
    "opencode": "bash",
}


@pytest.fixture(scope="session", params=AGENTS)
def agent(request: pytest.FixtureRequest) -> str:
    """The name of an agent that is installed."""
    AGENTS[request.param].install()
    return str(request.param)


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    """One for each test: it counts how often it has failed."""
    with ScriptedModel() as server:
        yield server


@pytest.fixture
def case(agent: str, tmp_path: Path, model: ScriptedModel) -> RealRun:
    return RealRun(agent, tmp_path, model)


def texts(case: RealRun, parent: str | None = None) -> list[str]:
    """What was said by the agent itself, or by the sub-agent that a call has started."""
    return [text["content"] for text in case.of("response_complete") if text.get("parent_call_id") == parent]


def test_a_sub_agent(case: RealRun) -> None:
    """Only Claude Code prints what its sub-agents do. Codex prints its waiting for them and nothing else, with a model
    that can have any; Gemini CLI and opencode print the call, and opencode the report as well."""
    codex = case.agent == "codex"
    with case.start("team" if codex else "subagent", model="gpt-6-sol" if codex else None) as run:
        assert run.wait(RUN_S) == 0
    case.ended(run, "success", 0)
    assert case.of("error") == []
    first, *others = case.of("tool_call")
    result = case.of("tool_result")[0]
    assert result["call_id"] == first["call_id"]
    assert result.get("error") is None
    assert ("The team is done." if codex else "The sub-agent reported back.") in texts(case)
    children = [request for request in case.model.requests if "echo from the child" in json.dumps(request)]
    assert children, "the sub-agent has not worked"
    match case.agent:
        case "claude":
            assert first["tool"] == "Agent"
            assert texts(case, first["call_id"]) == ["I am the sub-agent.", "Child report: fine."]
            assert [(call["tool"], call["parent_call_id"]) for call in others] == [("Bash", first["call_id"])]
            (inner,) = [event for event in case.of("tool_result") if event.get("parent_call_id") == first["call_id"]]
            assert (inner["call_id"], inner["result"]) == (others[0]["call_id"], "from the child")
        case "codex":
            assert (first["tool"], others) == ("wait", [])
        case "gemini":
            assert (first["tool"], first["args"]["agent_name"], others) == ("invoke_agent", "generalist", [])
            assert result["result"] is None
        case _:
            assert (first["tool"], others) == ("task", [])
            assert "Child report: fine." in result["result"]


def test_a_tool_that_fails(case: RealRun) -> None:
    """Gemini CLI tells neither the exit code of a command nor that it has failed."""
    with case.start("fails") as run:
        assert run.wait(RUN_S) == 0
    case.ended(run, "success", 0)
    (call,) = case.of("tool_call")
    (result,) = case.of("tool_result")
    (output,) = case.of("bash_output")
    assert call["tool"] == result["tool"] == SHELL_TOOL[case.agent]
    assert [command["call_id"] for command in case.of("bash_command")] == [call["call_id"]]
    assert output["output"].strip() == "two"
    told = None if case.agent == "gemini" else 7
    assert (result.get("exit_code"), output.get("exit_code")) == (told, told)
    assert (result.get("error") is None) == (told is None)
    assert texts(case) == ["A command that fails.", "It failed."]
    assert case.finals() == []


def test_an_overloaded_model_that_recovers(case: RealRun) -> None:
    """Gemini CLI and opencode print nothing when they try again; Codex prints only its second try."""
    with case.start("overloaded") as run:
        assert run.wait(RUN_S) == 0
    case.ended(run, "success", 0)
    assert texts(case) == ["Fine after two failures."]
    assert case.finals() == []
    assert ["529" in error for error in case.retries()] == [True] * {"claude": 2, "codex": 1}.get(case.agent, 0)
    asked = [request for request in case.model.requests if request.get("tools")]
    assert len(asked) == 3


def test_a_key_that_is_refused(case: RealRun) -> None:
    with case.start("e401") as run:
        assert run.wait(RUN_S) == 1
    case.ended(run, "failed", 145 if case.agent == "gemini" else 1)  # 145 is 401, in a byte
    (error,) = case.finals()
    said = {"claude": "Invalid API key", "codex": "401 Unauthorized"}.get(case.agent, "invalid x-api-key")
    assert said in error
    assert run.err.splitlines()[-1].endswith(error)
    assert texts(case) == []


def test_a_stream_that_is_dropped(case: RealRun) -> None:
    """Always dropped, this fails, though Gemini CLI exits with 0. Only opencode tries again for ever: for it the
    stream is dropped once."""
    for_ever = case.agent != "opencode"
    with case.start("drop" if for_ever else "drop-once") as run:
        assert run.wait(RUN_S) == (1 if for_ever else 0)
    if for_ever:
        case.ended(run, "failed", 0 if case.agent == "gemini" else 1)
        assert len(case.finals()) == 1
        # Gemini CLI says again what it has said already, and not that it does.
        assert [bool(texts(case)), bool(case.retries())] == ([True, False] if case.agent == "gemini" else [False, True])
    else:  # it tells of its second try, by beginning a step anew, only if it had seen the step begin before
        case.ended(run, "success", 0)
        assert case.finals() == []
        assert texts(case) == ["This connection drops in the mid"]
    asked = [request for request in case.model.requests if request.get("tools")]
    assert len(asked) > 1


def test_a_time_out_in_the_middle_of_a_command(case: RealRun) -> None:
    seconds = {"gemini": 20, "opencode": 30}.get(case.agent, 12)  # by how long they take to start
    with case.start("hangtool", "--timeout", f"{seconds}s") as run:
        tree = case.await_command(run, seconds)
        assert run.wait(RUN_S) == 124
    case.ended(run, "timeout", tree=tree)
    the_command_was_cut_off(case)


def test_ctrl_c_in_the_middle_of_a_command(case: RealRun) -> None:
    with case.start("hangtool") as run:
        tree = case.await_command(run)
        os.killpg(run.pid, signal.SIGINT)  # as a terminal does it: to all in the foreground
        assert run.wait(RUN_S) == 130
    case.ended(run, "cancelled", tree=tree)
    the_command_was_cut_off(case)


def test_an_agent_that_is_killed_in_the_middle_of_a_command(case: RealRun) -> None:
    """Gemini CLI starts itself once more, and only the first of the two is killed here."""
    with case.start("hangtool") as run:
        tree = case.await_command(run)
        tree.agent.kill()
        assert run.wait(RUN_S) == 1
    case.ended(run, "failed", 137, tree)
    the_command_was_cut_off(case)


def test_a_run_that_is_killed_in_the_middle_of_a_command(case: RealRun) -> None:
    with case.start("hangtool") as run:
        tree = case.await_command(run)
        run.process.kill()
        assert run.wait() == -signal.SIGKILL
    case.nothing_is_left(tree)
    types = [event["type"] for event in case.events]
    assert types[0] == "prompt_sent"
    assert {"completed", "unknown", "malformed"}.isdisjoint(types)
    assert not (case.cell / "proof.json").exists()
    os.utime(case.cell / LOCK_NAME, (0, 0))  # nobody gives signs of life any more: as if that had been long ago
    (listed,) = map(json.loads, workcast("ls", "--root", str(case.root), "--json").stdout.splitlines())
    assert (listed["status"], listed["open_calls"]) == ("lost", [])


def the_command_was_cut_off(case: RealRun) -> None:
    """Its call, where the agent has told of it, is closed by an error: the agent's own words, or else ours."""
    results = case.of("tool_result")
    assert len(results) == (0 if case.agent == "opencode" else 1)
    assert all(result["error"] for result in results)
    if case.agent != "claude" or case.events[-1]["status"] == "failed":
        assert all(result["error"] == NO_RESULT for result in results)
