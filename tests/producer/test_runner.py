"""The runner with small programs as agents, each of which behaves badly in one way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from support.recorded import CLAUDE, of, recorded_events
from support.waiting import DEADLINE
from workcast.events.models import BaseEvent, Completed, ErrorEvent, PromptSent, ResponseComplete, Unknown
from workcast.producer.errors import AgentNotInstalledError, EmptyPromptError, UnknownAgentError
from workcast.producer.lines import MAX_LINE_BYTES
from workcast.producer.runner import RunResult, run_agent

from .conftest import Sink, stop_at

FakeClaude = Callable[[str], dict[str, str]]

TOOLS = """
import json, os, signal, subprocess, sys, time

def say(text):
    block = {"type": "text", "text": str(text)}
    line = json.dumps({"type": "assistant", "message": {"id": "m", "content": [block]}})
    os.write(1, line.encode() + b"\\n")  # a signal's handler may say something too

def done(**fields):
    print(json.dumps({"type": "result", "subtype": "success", "is_error": False, **fields}), flush=True)

def sleeper(**how):
    return subprocess.Popen(["sleep", "600"], start_new_session=True, **how).pid

def orphan(program="sleep 600"):
    "The pid of a process whose parent is gone, in a session of its own."
    out = subprocess.run([sys.executable, "-ISc", f'''
import subprocess
print(subprocess.Popen(["sh", "-c", {program!r}], start_new_session=True, stdout=subprocess.DEVNULL).pid)
'''], stdout=subprocess.PIPE, check=True)
    return int(out.stdout)

def forever():
    while True:
        time.sleep(60)
"""


class Run:
    """A run in directories of its own."""

    def __init__(self, path: Path, sink: Sink) -> None:
        self.sink = sink
        self.cell = path / "cell"
        self.cwd = path / "work"
        self.cwd.mkdir()

    async def __call__(self, env: dict[str, str], prompt: str = "Give me a tour.", **options: Any) -> RunResult:
        return await run_agent(
            "claude", prompt, workcell_dir=self.cell, cwd=self.cwd, writer=self.sink, env=env, **options
        )

    def printed(self) -> list[str]:
        return [event.content for event in of(ResponseComplete, self.sink.events)]

    def pids(self) -> list[int]:
        """The ids of the processes that the fake agent started."""
        return [int(text) for text in self.printed()]

    def log(self, kind: str) -> bytes:
        (path,) = (self.cell / "logs").glob(f"claude-*.{kind}")
        return path.read_bytes()


@pytest.fixture
def run(tmp_path: Path, sink: Sink) -> Run:
    return Run(tmp_path, sink)


def lives(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


async def test_a_run_writes_the_prompt_then_the_agents_events_then_its_end(run: Run, fake_claude: FakeClaude) -> None:
    recording = CLAUDE["tools"]
    output = b"".join(timed.line + b"\n" for timed in recording.lines)
    (run.cwd / "output").write_bytes(output)
    env = fake_claude("import sys; sys.stdout.buffer.write(open('output', 'rb').read())")
    ended = await run(env)
    assert run.sink.types == ["prompt_sent", *(event.type for event in recorded_events(recording))]
    assert (ended.status, ended.exit_code) == ("success", 0)
    completed = of(Completed, run.sink.events)[0]
    assert (completed.status, completed.exit_code, completed.duration_ms) == ("success", 0, ended.duration_ms)
    assert of(PromptSent, run.sink.events)[0].prompt == "Give me a tour."
    assert (run.cell / "prompt.md").read_text() == "Give me a tour."
    assert run.log("stdout") == output
    assert run.log("stderr") == b""


async def test_timestamps_never_go_back(run: Run, fake_claude: FakeClaude) -> None:
    await run(fake_claude(TOOLS + "say(1)\nsay(2)\ndone()"))
    times = [event.timestamp for event in run.sink.events]
    assert times == sorted(times)


async def test_the_agent_gets_its_options_its_model_and_an_empty_stdin(run: Run, fake_claude: FakeClaude) -> None:
    env = fake_claude(TOOLS + "say(json.dumps(sys.argv[1:]))\nsay(repr(sys.stdin.read()))\nsay(os.getcwd())\ndone()")
    await run(env, prompt="--help", model="opus", options=["--max-turns", "3"])
    argv, stdin, cwd = run.printed()
    assert json.loads(argv)[-6:] == ["--model", "opus", "--max-turns", "3", "--", "--help"]
    assert stdin == "''"
    assert cwd == str(run.cwd)


async def test_pwd_is_the_agents_own_directory(run: Run, fake_claude: FakeClaude) -> None:
    await run({**fake_claude(TOOLS + "say(os.environ['PWD'])\ndone()"), "PWD": "/somewhere/else"})
    assert run.printed() == [str(run.cwd)]


async def test_a_long_prompt_goes_through_stdin(run: Run, fake_claude: FakeClaude) -> None:
    env = fake_claude(TOOLS + "say(len(sys.stdin.read()))\ndone()")
    assert (await run(env, prompt="x" * 300_000)).status == "success"
    assert run.printed() == ["300000"]


async def test_an_agent_leads_a_session_of_its_own(run: Run, fake_claude: FakeClaude) -> None:
    await run(fake_claude(TOOLS + "say(os.getsid(0) == os.getpid())\ndone()"))
    assert run.printed() == ["True"]


async def test_a_run_that_fails_silently_reports_the_end_of_its_stderr(run: Run, fake_claude: FakeClaude) -> None:
    env = fake_claude("import sys; sys.exit('x' * 10_000 + ' cannot be used with root')")
    ended = await run(env)
    assert (ended.status, ended.exit_code) == ("failed", 1)
    assert run.sink.types == ["prompt_sent", "error", "completed"]
    error = of(ErrorEvent, run.sink.events)[0].error
    assert error.endswith("cannot be used with root")
    assert len(error) <= 4096


async def test_a_run_that_reports_its_error_does_not_report_its_stderr_too(run: Run, fake_claude: FakeClaude) -> None:
    env = fake_claude(TOOLS + "done(is_error=True, result='failed')\nsys.exit('noise')")
    assert (await run(env)).status == "failed"
    assert [event.error for event in of(ErrorEvent, run.sink.events)] == ["failed"]


async def test_a_successful_run_does_not_report_its_stderr(run: Run, fake_claude: FakeClaude) -> None:
    await run(fake_claude(TOOLS + "print('warning', file=sys.stderr)\ndone()"))
    assert run.sink.types == ["prompt_sent", "completed"]
    assert run.log("stderr") == b"warning\n"


async def test_an_agent_that_prints_nothing_has_failed(run: Run, fake_claude: FakeClaude) -> None:
    assert (await run(fake_claude(""))).status == "failed"
    assert run.sink.types == ["prompt_sent", "error", "completed"]
    assert "exit code 0" in of(ErrorEvent, run.sink.events)[0].error


async def test_a_death_by_signal_has_a_shells_exit_code(run: Run, fake_claude: FakeClaude) -> None:
    ended = await run(fake_claude("import os, signal; os.kill(os.getpid(), signal.SIGKILL)"))
    assert (ended.status, ended.exit_code) == ("failed", 137)


@pytest.mark.parametrize("deaf", [False, True])
async def test_a_timeout_ends_the_agent_and_its_hidden_processes(
    run: Run, fake_claude: FakeClaude, *, deaf: bool
) -> None:
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" if deaf else ""
    env = fake_claude(TOOLS + ignore + "say(os.getpid())\nsay(sleeper())\nsay(orphan())\nforever()")
    ended = await run(env, timeout=2.0, grace=0.3)
    assert (ended.status, ended.exit_code) == ("timeout", 137 if deaf else 143)
    assert ended.duration_ms >= 2000
    assert len(run.pids()) == 3
    assert not any(map(lives, run.pids()))
    assert run.sink.types[-1] == "completed"


async def test_a_command_that_clears_its_environment_is_ended_with_the_agent(run: Run, fake_claude: FakeClaude) -> None:
    env = fake_claude(TOOLS + "say(sleeper(env={'PATH': os.environ['PATH']}))\nforever()")
    await run(env, stop=stop_at(run.sink, "response_complete"))
    assert not any(map(lives, run.pids()))


async def test_leftovers_get_a_grace_in_which_they_can_clean_up(run: Run, fake_claude: FakeClaude) -> None:
    program = "trap 'echo done > tidy; exit' TERM; echo > ready; while :; do sleep 0.01; done"
    source = f"say(orphan({program!r}))\nwhile not os.path.exists('ready'): time.sleep(0.01)\ndone()"
    assert (await run(fake_claude(TOOLS + source))).status == "success"
    assert (run.cwd / "tidy").read_text() == "done\n"
    assert not any(map(lives, run.pids()))


async def test_output_of_an_agent_that_is_being_ended_is_kept(run: Run, fake_claude: FakeClaude) -> None:
    last = "signal.signal(signal.SIGTERM, lambda *_: (say('last words'), os._exit(143)))\nsay('ready')\nforever()"
    ended = await run(fake_claude(TOOLS + last), stop=stop_at(run.sink, "response_complete"))
    assert (ended.status, ended.exit_code) == ("cancelled", 143)
    assert run.printed() == ["ready", "last words"]


async def test_an_order_to_stop_cancels_the_run(run: Run, fake_claude: FakeClaude) -> None:
    env = fake_claude(TOOLS + "say(sleeper())\nforever()")
    ended = await run(env, stop=stop_at(run.sink, "response_complete"))
    assert ended.status == "cancelled"
    assert run.sink.types == ["prompt_sent", "response_complete", "completed"]
    assert not any(map(lives, run.pids()))


async def test_a_cancelled_task_ends_the_agent_and_reports_it_before_it_is_cancelled(
    run: Run, fake_claude: FakeClaude
) -> None:
    speaks = stop_at(run.sink, "response_complete")
    task = asyncio.create_task(run(fake_claude(TOOLS + "say(sleeper())\nforever()")))
    await speaks.wait()
    task.cancel()
    await asyncio.wait({task}, timeout=0)
    task.cancel()  # an impatient user
    with pytest.raises(asyncio.CancelledError):
        await task
    assert of(Completed, run.sink.events)[0].status == "cancelled"
    assert not any(map(lives, run.pids()))


async def test_an_agent_that_closes_its_stdout_and_lives_on_is_waited_for(run: Run, fake_claude: FakeClaude) -> None:
    source = "done()\nos.close(1)\ntime.sleep(0.3)\nopen('later', 'w').close()\nos._exit(0)"
    assert (await run(fake_claude(TOOLS + source))).status == "success"
    assert (run.cwd / "later").exists()


async def test_a_closed_stdout_does_not_disarm_the_timeout(run: Run, fake_claude: FakeClaude) -> None:
    ended = await run(fake_claude(TOOLS + "os.close(1)\nforever()"), timeout=0.5, grace=0.3)
    assert ended.status == "timeout"


async def test_a_grandchild_that_holds_the_pipe_does_not_hold_up_the_run(run: Run, fake_claude: FakeClaude) -> None:
    env = fake_claude(TOOLS + "say(sleeper(stdout=1))\ndone()")
    ended = await asyncio.wait_for(run(env), DEADLINE)
    assert ended.status == "success"
    assert not any(map(lives, run.pids()))


async def test_a_hidden_grandchild_does_not_hold_up_the_run_either(run: Run, fake_claude: FakeClaude) -> None:
    env = fake_claude(TOOLS + "say(sleeper(stdout=1, env={'PATH': os.environ['PATH']}))\ndone()")
    assert (await asyncio.wait_for(run(env), DEADLINE)).status == "success"
    assert not any(map(lives, run.pids()))


async def test_a_line_that_is_too_long_is_an_unknown_with_its_size(run: Run, fake_claude: FakeClaude) -> None:
    size = MAX_LINE_BYTES + 5
    ended = await run(fake_claude(TOOLS + f"print('x' * {size}, flush=True)\nsay('after')\ndone()"))
    assert ended.status == "success"
    unknown = of(Unknown, run.sink.events)[0]
    assert unknown.raw == "x" * 4096
    assert unknown.model_extra == {"truncated": {"bytes": size}}
    assert run.printed() == ["after"]


async def test_lines_that_are_not_json_and_a_torn_tail_are_kept(run: Run, fake_claude: FakeClaude) -> None:
    source = "sys.stdout.buffer.write(b'what?\\n\\xff\\n')\ndone()\nprint('{\"type\":\"assis', end='', flush=True)"
    assert (await run(fake_claude(TOOLS + source))).status == "success"
    assert [event.raw for event in of(Unknown, run.sink.events)] == ["what?", "\\xff", '{"type":"assis']


async def test_an_agent_that_is_not_installed_leaves_no_trace(run: Run, tmp_path: Path) -> None:
    with pytest.raises(AgentNotInstalledError, match=r"'claude' on PATH.*npm install -g @anthropic-ai/claude-code"):
        await run({"PATH": str(tmp_path)})
    assert run.sink.events == []
    assert not run.cell.exists()


@pytest.mark.parametrize("prompt", ["", " \n"])
async def test_an_empty_prompt_is_refused_and_leaves_no_trace(run: Run, fake_claude: FakeClaude, prompt: str) -> None:
    with pytest.raises(EmptyPromptError, match="expected a prompt for claude, got an empty one"):
        await run(fake_claude(""), prompt=prompt)
    assert run.sink.events == []
    assert not run.cell.exists()


async def test_an_unknown_agent_is_refused(tmp_path: Path, sink: Sink) -> None:
    with pytest.raises(UnknownAgentError, match="expected one of claude"):
        await run_agent("hal", "open the door", workcell_dir=tmp_path, cwd=tmp_path, writer=sink)


async def test_an_agent_that_cannot_be_started_is_a_failed_run(run: Run, fake_claude: FakeClaude) -> None:
    env = fake_claude("")
    run.cwd.rmdir()
    ended = await run(env)
    assert (ended.status, ended.exit_code) == ("failed", 126)
    assert run.sink.types == ["prompt_sent", "error", "completed"]
    assert "cannot be started" in of(ErrorEvent, run.sink.events)[0].error


async def test_an_agent_is_ended_when_its_log_cannot_be_written(run: Run, fake_claude: FakeClaude) -> None:
    def full(event: BaseEvent) -> None:
        if event.type == "response_complete":
            raise OSError("no space left on device")

    run.sink.watch = full
    with pytest.raises(OSError, match="no space left"):
        await run(fake_claude(TOOLS + "say(os.getpid())\nforever()"))
    assert not any(map(lives, run.pids()))
