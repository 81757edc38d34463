"""The four real agents, each in every way a run can go wrong, through the real ``workcast run``.

What an agent does not print cannot become an event: where agents differ, the tests state what each of them does.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Final

import pytest

from support.agents import AGENTS
from support.processes import workcast
from support.real_runs import NO_RESULT, RealRun
from support.scripted_model import ScriptedModel
from workcast.broker.names import RUN_LOCK_FILE

pytestmark = [pytest.mark.accept, pytest.mark.agent, pytest.mark.timeout(700)]  # the first run installs them

RUN_S: Final = 90
"""How long a run may take. Gemini CLI waits 5 s and 10 s before it retries, and no setting shortens that."""
SHELL_TOOL: Final = {
    "claude": "Bash",
    "codex": "command_execution",
    "gemini": "run_shell_command",
    "opencode": "bash",
}


@pytest.fixture(scope="session", params=AGENTS)
def agent(request: pytest.FixtureRequest) -> str:
    """The name of an installed agent."""
    AGENTS[request.param].install()
    return str(request.param)


@pytest.fixture
def case(agent: str, tmp_path: Path, model: ScriptedModel) -> RealRun:
    return RealRun(agent, tmp_path, model)


def texts(case: RealRun, parent: str | None = None) -> list[str]:
    """Return the texts of the agent itself, or of the sub-agent that a call started."""
    return [text["content"] for text in case.of("response_complete") if text.get("parent_call_id") == parent]


def test_a_sub_agent(case: RealRun) -> None:
    """Only Claude Code prints what its sub-agents do. Codex prints only that it waits for them, with a model that has
    sub-agents; Gemini CLI and opencode print the call, and opencode also the report."""
    codex = case.agent == "codex"
    with case.start("team" if codex else "subagent", model="gpt-6-sol" if codex else None) as run:
        assert run.wait(RUN_S) == 0
    case.check_ended(run, "success", 0)
    assert case.of("error") == []
    first, *others = case.of("tool_call")
    result = case.of("tool_result")[0]
    assert result["call_id"] == first["call_id"]
    assert result.get("error") is None
    assert ("The team is done." if codex else "The sub-agent reported back.") in texts(case)
    children = [request for request in case.model.requests if "echo from the child" in json.dumps(request)]
    assert children, "the sub-agent did nothing"
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
    """Gemini CLI prints neither the exit code of a command nor that it failed."""
    with case.start("fails") as run:
        assert run.wait(RUN_S) == 0
    case.check_ended(run, "success", 0)
    (call,) = case.of("tool_call")
    (result,) = case.of("tool_result")
    (output,) = case.of("bash_output")
    assert call["tool"] == result["tool"] == SHELL_TOOL[case.agent]
    assert [command["call_id"] for command in case.of("bash_command")] == [call["call_id"]]
    assert output["output"].strip() == "two"
    code = None if case.agent == "gemini" else 7
    assert (result.get("exit_code"), output.get("exit_code")) == (code, code)
    assert (result.get("error") is None) == (code is None)
    assert texts(case) == ["A command that fails.", "It failed."]
    assert case.finals() == []


def test_an_overloaded_model_that_recovers(case: RealRun) -> None:
    """Gemini CLI and opencode print nothing when they retry; Codex prints only its second attempt."""
    with case.start("overloaded") as run:
        assert run.wait(RUN_S) == 0
    case.check_ended(run, "success", 0)
    assert texts(case) == ["Fine after two failures."]
    assert case.finals() == []
    assert ["529" in error for error in case.retries()] == [True] * {"claude": 2, "codex": 1}.get(case.agent, 0)
    asked = [request for request in case.model.requests if request.get("tools")]
    assert len(asked) == 3


def test_a_key_that_is_refused(case: RealRun) -> None:
    with case.start("e401") as run:
        assert run.wait(RUN_S) == 1
    case.check_ended(run, "failed", 145 if case.agent == "gemini" else 1)  # 145 is 401, in a byte
    (error,) = case.finals()
    text = {"claude": "Invalid API key", "codex": "401 Unauthorized"}.get(case.agent, "invalid x-api-key")
    assert text in error
    assert run.err.splitlines()[-1].endswith(error)
    assert texts(case) == []


def test_a_stream_that_is_dropped(case: RealRun) -> None:
    """A stream that is always dropped fails the run, though Gemini CLI exits with 0. Only opencode retries for ever:
    for it the stream is dropped once."""
    for_ever = case.agent != "opencode"
    with case.start("drop" if for_ever else "drop-once") as run:
        assert run.wait(RUN_S) == (1 if for_ever else 0)
    if for_ever:
        case.check_ended(run, "failed", 0 if case.agent == "gemini" else 1)
        assert len(case.finals()) == 1
        # Gemini CLI repeats its text, and does not print that it retries.
        assert [bool(texts(case)), bool(case.retries())] == ([True, False] if case.agent == "gemini" else [False, True])
    else:  # it prints its second attempt, by beginning the step again, only if it had printed the first beginning
        case.check_ended(run, "success", 0)
        assert case.finals() == []
        assert texts(case) == ["This connection drops in the mid"]
    asked = [request for request in case.model.requests if request.get("tools")]
    assert len(asked) > 1


def test_a_time_out_in_the_middle_of_a_command(case: RealRun) -> None:
    seconds = {"gemini": 20, "opencode": 30}.get(case.agent, 12)  # they take different times to start
    with case.start("hangtool", "--timeout", f"{seconds}s") as run:
        tree = case.await_command(run, seconds)
        assert run.wait(RUN_S) == 124
    case.check_ended(run, "timeout", tree=tree)
    check_the_command_was_cut_off(case)


def test_ctrl_c_in_the_middle_of_a_command(case: RealRun) -> None:
    with case.start("hangtool") as run:
        tree = case.await_command(run)
        os.killpg(run.pid, signal.SIGINT)  # like a terminal: to the whole foreground group
        assert run.wait(RUN_S) == 130
    case.check_ended(run, "cancelled", tree=tree)
    check_the_command_was_cut_off(case)


def test_an_agent_that_is_killed_in_the_middle_of_a_command(case: RealRun) -> None:
    """Gemini CLI starts itself again, and only the first of the two processes is killed here."""
    with case.start("hangtool") as run:
        tree = case.await_command(run)
        tree.agent.kill()
        assert run.wait(RUN_S) == 1
    case.check_ended(run, "failed", 137, tree)
    check_the_command_was_cut_off(case)


def test_a_run_that_is_killed_in_the_middle_of_a_command(case: RealRun) -> None:
    with case.start("hangtool") as run:
        tree = case.await_command(run)
        run.process.kill()
        assert run.wait() == -signal.SIGKILL
    case.await_all_gone(tree)
    types = [event["type"] for event in case.events]
    assert types[0] == "prompt_sent"
    assert {"completed", "unknown", "malformed"}.isdisjoint(types)
    assert not (case.cell / "proof.json").exists()
    os.utime(case.cell / RUN_LOCK_FILE, (0, 0))  # the last heartbeat was long ago
    (listed,) = map(json.loads, workcast("ls", "--root", str(case.root), "--json").stdout.splitlines())
    assert (listed["status"], listed["open_calls"]) == ("lost", [])


def check_the_command_was_cut_off(case: RealRun) -> None:
    """Check that the call, if the agent reported it, is closed by an error: the agent's own, or else workcast's."""
    results = case.of("tool_result")
    assert len(results) == (0 if case.agent == "opencode" else 1)
    assert all(result["error"] for result in results)
    if case.agent != "claude" or case.events[-1]["status"] == "failed":
        assert all(result["error"] == NO_RESULT for result in results)
