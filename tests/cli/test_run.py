from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.logs import event_line, write_log
from support.processes import PROGRAM, Program, Up, refusal, workcast
from support.waiting import wait_until
from workcast.broker.root import Root
from workcast.producer.replay import RECORDINGS
from workcast.producer.writer import TelemetryWriter, read_telemetry_events

BASIC = RECORDINGS / "claude-2.1.330-basic.jsonl"


def fake_claude(directory: Path, script: str) -> dict[str, str]:
    """A PATH whose only ``claude`` is a shell script."""
    directory.mkdir()
    program = directory / "claude"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return {"PATH": f"{directory}:/usr/bin:/bin"}


def log_of(root: Path, workcell: str = "*") -> list[dict[str, Any]]:
    (path,) = (root / ".workcells").glob(f"{workcell}/telemetry.jsonl")
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty root."""
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def test_an_agent_that_is_not_installed_is_127_and_nothing_is_written(place: Path) -> None:
    env = {"PATH": "/nowhere"}
    text = refusal(workcast("run", "claude", "--root", str(place), "--", "hello", env=env), 127)
    assert "npm install -g @anthropic-ai/claude-code" in text
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "sentence", "code"),
    [
        (("../clod",), "expected one of claude", 2),
        (("claude", "--workcell", "../x"), "expected a workcell id", 2),
        (("claude", "--root", "/no/such/root"), "does not exist", 1),
    ],
)
def test_a_run_that_cannot_start_is_refused_in_one_sentence_and_writes_nothing(
    place: Path, tmp_path: Path, arguments: tuple[str, ...], sentence: str, code: int
) -> None:
    env = fake_claude(tmp_path / "bin", "exit 0")
    assert sentence in refusal(workcast("run", *arguments, "--", "hello", cwd=place, env=env), code)
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("run", "claude"), "Missing argument '-- PROMPT'; expected: workcast run [OPTIONS] AGENT -- PROMPT..."),
        (("run", "claude", "--max-turns", "3", "--", "hi"), "--max-turns"),
        (("run", "claude", "--max-turns", "3", "--", "hi"), "options for the agent go after --"),
        (("runn",), "No such command 'runn'"),
        (("ls", "--rot", "x"), "expected: workcast ls [OPTIONS]"),
        (("up", "--port", "http"), "--port"),
        (("demo", "--only-agents"), "expected --root with --only-agents"),
    ],
)
def test_wrong_usage_is_refused_in_one_sentence(place: Path, words: tuple[str, ...], sentence: str) -> None:
    assert sentence in refusal(workcast(*words, cwd=place), 2)
    assert list(place.iterdir()) == []


def test_an_agents_run_is_in_the_log_from_prompt_to_completed(place: Path, tmp_path: Path) -> None:
    env = fake_claude(tmp_path / "bin", f'echo "$@" > {tmp_path}/arguments; cat {BASIC}')
    done = workcast(
        "run", "claude", "--root", str(place), "--workcell", "wc-1", "--issue", "X-1", "--model", "m-1",
        "--", "--max-turns", "3", "Say hello.", env=env,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == b""
    assert b"wc-1: success" in done.stderr
    events = log_of(place)
    assert (events[0]["type"], events[0]["prompt"]) == ("prompt_sent", "Say hello.")
    assert (events[-1]["type"], events[-1]["status"], events[-1]["exit_code"]) == ("completed", "success", 0)
    assert {event["workcell_id"] for event in events} == {"wc-1"}
    assert {event["issue_id"] for event in events} == {"X-1"}
    parsed = [json.loads(line) for line in workcast("parse", "claude", str(BASIC)).stdout.splitlines()]
    assert [event["type"] for event in events[1:]] == [event["type"] for event in parsed]
    given = (tmp_path / "arguments").read_text()
    assert "--max-turns 3" in given
    assert "--model m-1" in given
    assert (place / ".workcells/wc-1/prompt.md").read_text() == "Say hello."


def test_the_exit_code_shows_how_the_run_ended(place: Path, tmp_path: Path) -> None:
    env = fake_claude(tmp_path / "bin", '[ "$#" -gt 0 ] && case "$*" in *slow*) exec sleep 60;; esac; exit 3')
    assert workcast("run", "claude", "--root", str(place), "--", "fail", env=env).returncode == 1
    assert log_of(place)[-1]["status"] == "failed"
    second = place.with_name("second")
    second.mkdir()
    options = ("run", "claude", "--root", str(second), "--timeout", "300ms", "--", "slow")
    assert workcast(*options, env=env).returncode == 124
    assert log_of(second)[-1]["status"] == "timeout"


def test_ctrl_c_is_130_and_completed_says_cancelled(place: Path, tmp_path: Path) -> None:
    env = fake_claude(tmp_path / "bin", f"head -n 2 {BASIC}; exec sleep 60")
    with Program("run", "claude", "--root", str(place), "--", "go", env=env) as run:
        wait_until(lambda: list(place.glob(".workcells/*/telemetry.jsonl")) and len(log_of(place)) > 1)
        run.interrupt()
        assert run.wait() == 130
        assert "Traceback" not in run.err
        assert "cancelled" in run.err
    assert (log_of(place)[-1]["type"], log_of(place)[-1]["status"]) == ("completed", "cancelled")


def test_two_runs_that_begin_together_have_workcells_of_their_own(place: Path, tmp_path: Path) -> None:
    env = fake_claude(tmp_path / "bin", "exit 0")
    arguments = ("run", "claude", "--root", str(place), "--", "go")
    with Program(*arguments, env=env) as one, Program(*arguments, env=env) as other:
        one.wait()
        other.wait()
    assert len(list(place.glob(".workcells/*/telemetry.jsonl"))) == 2


def test_it_says_where_to_watch_and_the_gateway_shows_it(place: Path, tmp_path: Path) -> None:
    env = fake_claude(tmp_path / "bin", f"cat {BASIC}")
    write_log(Root(place), "before", [event_line(0)])
    with Up(place) as up:
        done = workcast("run", "claude", "--root", str(place), "--workcell", "wc-1", "--", "go", env=env)
        assert f"wc-1: {up.url}/#/w/wc-1" in done.stderr.decode()
        up.show("wc-1", len(log_of(place, "wc-1")))
        assert httpx.get(f"{up.url}/api/workcells/wc-1").json()["summary"]["status"] == "success"


def git(directory: Path, *arguments: str) -> str:
    env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    author = ("-c", "user.name=dev", "-c", "user.email=dev")
    done = subprocess.run(["git", *author, *arguments], cwd=directory, env=env, check=True, capture_output=True)
    return done.stdout.decode()


@pytest.fixture
def repository(place: Path) -> Path:
    """The root, as a repository with one commit."""
    git(place, "init", "--quiet")
    git(place, "commit", "--quiet", "--allow-empty", "-m", "first")
    return place


def test_git_status_shows_what_the_agent_made_and_no_workcells(repository: Path) -> None:
    done = workcast("run", "exec", "--root", str(repository), "--", "touch", "new.txt")
    assert done.returncode == 0, done.stderr
    assert git(repository, "status", "--porcelain") == "?? new.txt\n"


def test_git_status_shows_no_workcells_of_an_up_or_a_library(repository: Path) -> None:
    with Up(repository):
        assert git(repository, "status", "--porcelain") == ""
    (repository / ".workcells" / ".gitignore").unlink()
    with TelemetryWriter(repository / ".workcells" / "wc" / "telemetry.jsonl") as writer:
        writer.emit("response_chunk", {"content": "Hello.", "role": "assistant"})
    assert git(repository, "status", "--porcelain") == ""


def test_git_status_in_a_worktree_shows_what_the_agent_made_there(repository: Path) -> None:
    script = "touch new.txt && git status --porcelain"
    done = workcast(
        "run", "exec", "--root", str(repository), "--workcell", "wc", "--worktree", "--", "sh", "-c", script
    )
    assert done.returncode == 0, done.stderr
    assert [event["output"] for event in log_of(repository) if event["type"] == "bash_output"] == ["?? new.txt\n"]
    assert "?? new.txt\n" in git(repository / ".workcells" / "wc", "status", "--porcelain")
    assert git(repository, "status", "--porcelain") == ""
    git(repository / ".workcells" / "wc", "add", "new.txt")  # git needs no --force


def test_a_gitignore_that_is_there_is_left_alone(repository: Path) -> None:
    ignore = repository / ".workcells" / ".gitignore"
    ignore.parent.mkdir()
    ignore.write_text("telemetry.jsonl\n")
    assert workcast("run", "exec", "--root", str(repository), "--workcell", "wc", "--", "true").returncode == 0
    assert ignore.read_text() == "telemetry.jsonl\n"
    assert "?? .workcells/" in git(repository, "status", "--porcelain")


def test_a_gitignore_that_cannot_be_written_breaks_nothing(repository: Path) -> None:
    (repository / ".workcells" / ".gitignore").mkdir(parents=True)  # in the way, for root too
    assert workcast("run", "exec", "--root", str(repository), "--", "true").returncode == 0
    assert log_of(repository)[-1]["status"] == "success"


def test_a_workcell_that_cannot_be_written_is_refused_in_one_sentence(place: Path, tmp_path: Path) -> None:
    env = fake_claude(tmp_path / "bin", "exit 0")
    (place / ".workcells").write_text("in the way")
    done = workcast("run", "claude", "--root", str(place), "--", "go", env=env)
    assert "cannot write to" in refusal(done)


@pytest.mark.skipif(sys.platform != "linux", reason="sets the limit of another process")
def test_a_run_whose_files_cannot_grow_goes_on_and_completes_once_they_can(root: Root) -> None:
    """The limit on a file's size fails a write as a full disk does."""
    script = "yes filler | head -c 200000 >> .workcells/w/telemetry.jsonl; echo second; touch ended"
    command = [str(PROGRAM), "run", "exec", "--workcell", "w", "--", "sh", "-c", script]
    limited = ["prlimit", "--fsize=65536:unlimited", *command]
    env = {**os.environ, "WORKCAST_ROOT": str(root.directory)}
    with subprocess.Popen(limited, env=env, cwd=root.directory, stderr=subprocess.PIPE) as run:
        assert run.stderr is not None
        seen = b""
        while b"waiting for it" not in seen:
            line = run.stderr.readline()
            assert line, seen
            seen += line
        assert (root.directory / "ended").exists()
        assert "completed" not in [event["type"] for event in read_telemetry_events(root.log("w"))]
        resource.prlimit(run.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert run.wait() == 0
    *_, report, end = read_telemetry_events(root.log("w"))
    assert (end["type"], end["status"]) == ("completed", "success")
    assert end["unwritten_events"] >= 1
    assert report["kind"] == "unwritten"
    assert json.loads((root.workcell("w") / "proof.json").read_bytes())["status"] == "success"
