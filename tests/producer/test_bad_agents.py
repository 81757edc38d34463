"""Agents that go wrong in the ways in which agents do, each under both names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from support.processes import refusal, workcast
from support.recorded import CLAUDE, CODEX, of
from workcast.broker.event import Completed, ErrorEvent, Unknown
from workcast.producer.errors import AgentNotInstalledError, EmptyPromptError
from workcast.producer.runner import run_agent

from .conftest import Sink

FakeAgent = Callable[[str, str], dict[str, str]]

agents = pytest.mark.parametrize("agent", ["claude", "codex"])
TWENTY_MB = 20_000_000


def success(agent: str) -> str:
    """A program's statement that prints a run which went well."""
    recording = (CLAUDE if agent == "claude" else CODEX)["basic"]
    output = b"".join(timed.line.data + b"\n" for timed in recording.lines)
    return f"import os, sys, time\nos.write(1, {output!r})\n"


@agents
@pytest.mark.parametrize(
    ("source", "exit_code", "error"),
    [
        ("import sys; sys.exit('Not logged in. Please run: login')", 1, "Not logged in. Please run: login"),
        ("import sys; sys.exit('cannot be used with root/sudo privileges')", 1, "cannot be used with root"),
        ("", 0, "ended with exit code 0 and told neither a result nor an error"),
        ("import os; os._exit(70)", 70, "ended with exit code 70"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", 139, "ended with exit code 139"),
        ("import os, sys; os.write(1, b'{\"type\":\"thread.started\"}\\n'); sys.exit('panicked')", 1, "panicked"),
    ],
    ids=["not logged in", "refuses root", "prints nothing", "dies at once", "crashes", "crashes later"],
)
async def test_a_run_that_goes_wrong_says_why(
    tmp_path: Path, sink: Sink, fake_agent: FakeAgent, agent: str, source: str, exit_code: int, error: str
) -> None:
    env = fake_agent(agent, source)
    ended = await run_agent(agent, "Go.", workcell_dir=tmp_path / "cell", cwd=tmp_path, writer=sink, env=env)
    assert (ended.status, ended.exit_code) == ("failed", exit_code)
    assert [error in event.error for event in of(ErrorEvent, sink.events)] == [True]
    assert len(of(Completed, sink.events)) == 1
    assert sink.types[-1] == "completed"


@agents
async def test_twenty_megabytes_in_a_line_are_one_unknown_and_the_run_goes_on(
    tmp_path: Path, sink: Sink, fake_agent: FakeAgent, agent: str
) -> None:
    source = f"import os, sys\nsys.stdout.write('x' * {TWENTY_MB} + '\\n'); sys.stdout.flush()\n" + success(agent)
    env = fake_agent(agent, source)
    ended = await run_agent(agent, "Go.", workcell_dir=tmp_path / "cell", cwd=tmp_path, writer=sink, env=env)
    assert ended.status == "success"
    assert [event.model_extra for event in of(Unknown, sink.events)] == [{"truncated": {"bytes": TWENTY_MB}}]


@agents
async def test_an_agent_that_closes_its_stdout_is_waited_for(
    tmp_path: Path, sink: Sink, fake_agent: FakeAgent, agent: str
) -> None:
    source = success(agent) + "os.close(1); time.sleep(0.2); open('later', 'w').close(); os._exit(0)"
    env = fake_agent(agent, source)
    ended = await run_agent(agent, "Go.", workcell_dir=tmp_path / "cell", cwd=tmp_path, writer=sink, env=env)
    assert ended.status == "success"
    assert (tmp_path / "later").exists()


@agents
async def test_an_agent_that_is_not_installed_says_how_to_install_it(tmp_path: Path, sink: Sink, agent: str) -> None:
    env = {"PATH": str(tmp_path)}
    with pytest.raises(AgentNotInstalledError, match=f"{agent!r} on PATH.*npm install -g @"):
        await run_agent(agent, "Go.", workcell_dir=tmp_path / "cell", cwd=tmp_path, writer=sink, env=env)
    assert sink.events == []
    assert not (tmp_path / "cell").exists()


@agents
@pytest.mark.parametrize("prompt", ["", " \n"])
async def test_an_empty_prompt_is_refused(tmp_path: Path, sink: Sink, agent: str, prompt: str) -> None:
    with pytest.raises(EmptyPromptError, match=f"expected a prompt for {agent}, got an empty one"):
        await run_agent(agent, prompt, workcell_dir=tmp_path / "cell", cwd=tmp_path, writer=sink)
    assert sink.events == []
    assert not (tmp_path / "cell").exists()


def test_an_empty_prompt_is_wrong_usage(tmp_path: Path) -> None:
    assert "got an empty one" in refusal(workcast("run", "codex", "--root", str(tmp_path), "--", ""), 2)
    assert list(tmp_path.iterdir()) == []


@agents
def test_a_prompt_of_a_megabyte_comes_and_goes_through_stdin(tmp_path: Path, fake_agent: FakeAgent, agent: str) -> None:
    prompt = "a megabyte " * 100_000
    env = fake_agent(agent, "import sys\nopen('prompt', 'w').write(sys.stdin.read())\n" + success(agent))
    options = ("--root", str(tmp_path), "--workcell", "wc")
    done = workcast("run", agent, *options, "--", "-", stdin=prompt.encode(), env=env)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "prompt").read_text() == prompt
    cell = tmp_path / ".workcells" / "wc"
    assert (cell / "prompt.md").read_text() == prompt
    first = json.loads((cell / "telemetry.jsonl").read_bytes().partition(b"\n")[0])
    assert (first["type"], first["prompt"]) == ("prompt_sent", prompt)
