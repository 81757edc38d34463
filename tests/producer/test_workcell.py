"""Holding a workcell: the lock, the worktree, and the proof."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.processes import Program, refusal, workcast
from support.recorded import CLAUDE, CODEX
from support.waiting import wait_until
from workcast.broker.errors import WorkcellRunningError
from workcast.broker.names import RUN_LOCK_FILE
from workcast.broker.removal import remove_records
from workcast.broker.root import Root
from workcast.events.models import BaseEvent, Completed
from workcast.producer.errors import WorkcellBusyError, WorktreeError
from workcast.producer.runner import run_agent
from workcast.producer.workcell import OUR_FILES, add_worktree, hold_workcell
from workcast.producer.writer import TelemetryWriter

from .conftest import Sink, stop_at

FakeAgent = Callable[[str, str], dict[str, str]]

GIT_ENV = {
    **{key: value for key, value in os.environ.items() if not key.startswith("GIT_")},
    **{f"GIT_{who}_{what}": "dev" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}


def git(directory: Path, *arguments: str, **env: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=directory, env=GIT_ENV | env, check=True, capture_output=True)
    return done.stdout.decode().strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit."""
    path = tmp_path / "repository"
    path.mkdir()
    git(path, "init", "--quiet")
    (path / "README.md").write_text("# scratch\n")
    git(path, "add", "README.md")
    git(path, "commit", "--quiet", "-m", "first")
    return path


def prints(agent: str) -> str:
    """A program that prints what the agent once did."""
    recording = (CLAUDE if agent == "claude" else CODEX)["tools"]
    output = b"".join(timed.line + b"\n" for timed in recording.lines)
    return f"import sys; sys.stdout.buffer.write({output!r})"


def written_in(directory: Path) -> dict[Path, int]:
    """All files, and when they were last written; but for a lock, whose time is its heartbeat."""
    return {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.name != RUN_LOCK_FILE}


def proof_in(cell: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((cell / "proof.json").read_bytes())
    return found


# ── the lock ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_second_run_in_a_workcell_is_refused_and_writes_nothing(tmp_path: Path, sink: Sink) -> None:
    other, speaks = Sink(), stop_at(sink, "bash_output")
    stop = asyncio.Event()
    options: dict[str, Any] = {"workcell_dir": tmp_path / "cell", "cwd": tmp_path}
    first = asyncio.create_task(
        run_agent("exec", "echo; sleep 600", options=["sh", "-c"], writer=sink, stop=stop, **options)
    )
    await speaks.wait()
    before = written_in(tmp_path)
    with pytest.raises(WorkcellBusyError, match=rf"workcell cell to be free.*process {os.getpid()}"):
        await run_agent("exec", "true", writer=other, **options)
    assert other.events == []
    assert written_in(tmp_path) == before
    stop.set()
    await first
    assert (await run_agent("exec", "true", writer=other, **options)).status == "success"


def test_the_lock_is_released_when_its_process_ends(tmp_path: Path) -> None:
    with Program("run", "exec", "--root", str(tmp_path), "--workcell", "wc", "--", "sleep", "600") as run:
        wait_until((tmp_path / ".workcells" / "wc" / "telemetry.jsonl").exists)
        busy = workcast("run", "exec", "--root", str(tmp_path), "--workcell", "wc", "--", "true")
        assert "expected the workcell wc to be free" in refusal(busy)
        run.process.kill()
        run.process.wait()
    wait_until(
        lambda: workcast("run", "exec", "--root", str(tmp_path), "--workcell", "wc", "--", "true").returncode == 0
    )


# ── the worktree ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_worktree_is_the_workcell_on_a_branch_of_its_name(repository: Path) -> None:
    done = workcast("run", "exec", "--root", str(repository), "--workcell", "fix-1", "--worktree", "--", "pwd")
    assert done.returncode == 0, done.stderr
    cell = repository / ".workcells" / "fix-1"
    assert git(cell, "branch", "--show-current") == "workcast/fix-1"
    assert (cell / "README.md").read_text() == "# scratch\n"
    events = [json.loads(line) for line in (cell / "telemetry.jsonl").read_bytes().splitlines()]
    assert [event["output"] for event in events if event["type"] == "bash_output"] == [f"{cell}\n"]
    again = workcast("run", "exec", "--root", str(repository), "--workcell", "fix-1", "--", "pwd")
    assert again.returncode == 0
    assert (cell / "telemetry.jsonl").read_text().count(f'"output":"{cell}\\n"') == 2


def test_workcasts_files_in_a_worktree_are_not_committed_with_the_agents_work(repository: Path, tmp_path: Path) -> None:
    ignored = tmp_path / "ignored"
    ignored.write_text("*.pyc")
    script = "touch new.txt old.pyc && git add --all && git -c user.name=a -c user.email=a commit -qm work"
    env = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "user.signingKey", "GIT_CONFIG_VALUE_0": "x"}
    git(repository, "config", "core.excludesFile", str(ignored))
    options = ("--root", str(repository), "--workcell", "fix-1", "--worktree")
    done = workcast("run", "exec", *options, "--", "sh", "-c", script, env=env)
    assert done.returncode == 0, done.stderr
    cell = repository / ".workcells" / "fix-1"
    assert git(cell, "show", "--name-only", "--format=") == "new.txt"
    assert {path.name for path in cell.iterdir()} >= {"telemetry.jsonl", "proof.json", "run.lock"}
    assert {name.rstrip("/") for name in OUR_FILES} >= {
        path.name for path in cell.iterdir() if path.name not in {".git", "README.md", "new.txt", "old.pyc"}
    }


def test_workcells_are_not_committed_by_an_agent_in_the_root(repository: Path) -> None:
    script = "touch new.txt && git add --all && git -c user.name=a -c user.email=a commit -qm work"
    done = workcast("run", "exec", "--root", str(repository), "--", "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    assert git(repository, "show", "--name-only", "--format=") == "new.txt"


def test_no_worktree_is_made_for_a_missing_program(repository: Path) -> None:
    done = workcast("run", "exec", "--root", str(repository), "--workcell", "fix-1", "--worktree", "--", "no-such")
    assert "expected the program 'no-such'" in refusal(done, 127)
    assert not (repository / ".workcells").exists()
    assert "workcast" not in git(repository, "branch", "--list")


def test_a_worktree_that_cannot_be_made_is_refused_in_one_sentence(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def why(root: Path, name: str = "wc") -> str:
        with pytest.raises(WorktreeError) as caught:
            add_worktree(root, root / ".workcells" / name)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "expected a git repository" in why(tmp_path)
    (repository / "sub").mkdir()
    assert f"is inside of {repository}" in why(repository / "sub")
    (repository / ".workcells" / "there").mkdir(parents=True)
    assert "exists already" in why(repository, "there")
    git(repository, "branch", "workcast/taken")
    assert "taken" in why(repository, "taken")
    assert "git could not make" in why(repository, "wc..1")
    empty = tmp_path / "empty"
    empty.mkdir()
    git(empty, "init", "--quiet")
    assert "git could not make" in why(empty)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "expected git on PATH" in why(repository)


# ── the proof ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("agent", ["claude", "codex"])
async def test_a_run_leaves_a_proof(tmp_path: Path, sink: Sink, fake_agent: FakeAgent, agent: str) -> None:
    cell = tmp_path / "cell"

    def proof_is_there(event: BaseEvent) -> None:
        assert (cell / "proof.json").exists() == (event.type == "completed")

    sink.watch = proof_is_there
    env = fake_agent(agent, prints(agent))
    for _ in range(2):  # the proof of an earlier run is not that of this one
        await run_agent(agent, "Žluť.", workcell_dir=cell, cwd=tmp_path, writer=sink, env=env, model="m-1")
    proof, completed = proof_in(cell), [event for event in sink.events if isinstance(event, Completed)][-1]
    assert completed.usage is not None
    assert proof == {
        "workcell_id": "cell",
        "agent": agent,
        "model": "claude-opus-5-5" if agent == "claude" else "m-1",
        "session_id": proof["session_id"],
        "prompt_sha256": hashlib.sha256("Žluť.".encode()).hexdigest(),
        "status": "success",
        "reason": None,
        "exit_code": 0,
        "duration_ms": completed.duration_ms,
        "usage": completed.usage.model_dump(),
        "cost_usd": completed.cost_usd,
        "files_changed": [f"/home/dev/workcells/{agent}-tools/README.md"],
        "files_changed_note": None,
        "started": proof["started"],
        "ended": completed.model_dump(mode="json")["timestamp"],
    }
    assert len(proof["session_id"]) == 36
    assert proof["started"] < proof["ended"]
    assert [path.name for path in cell.iterdir() if "proof" in path.name] == ["proof.json"]


async def test_a_run_that_could_not_start_has_a_proof(tmp_path: Path, sink: Sink, fake_agent: FakeAgent) -> None:
    env = fake_agent("codex", "")
    await run_agent("codex", "Go.", workcell_dir=tmp_path / "cell", cwd=tmp_path / "none", writer=sink, env=env)
    assert (proof_in(tmp_path / "cell")["status"], proof_in(tmp_path / "cell")["exit_code"]) == ("failed", 126)


async def test_a_run_completes_although_its_proof_cannot_be_written(tmp_path: Path, sink: Sink) -> None:
    def in_the_way(event: BaseEvent) -> None:
        if event.type == "started":
            (tmp_path / "cell" / "proof.json").mkdir()
            (tmp_path / "cell" / "proof.json" / "file").touch()

    sink.watch = in_the_way
    with pytest.raises(OSError, match="proof"):
        await run_agent("exec", "true", workcell_dir=tmp_path / "cell", cwd=tmp_path, writer=sink)
    assert sink.types[-1] == "completed"


def test_a_workcell_is_never_removed_under_the_run_that_holds_it(tmp_path: Path) -> None:
    """Runs begin and end in a workcell, as fast as they can, that is removed as fast as it can be."""
    root = Root(tmp_path)
    root.prepare()
    cell, over = root.workcell("wc"), threading.Event()
    removals, problems = [0], list[str]()

    def remove() -> None:
        while not over.is_set():
            try:
                removals[0] += bool(remove_records(root, "wc").files)
            except WorkcellRunningError:
                continue

    def run() -> None:
        for number in range(100):
            with hold_workcell(cell, wait=20) as lock, TelemetryWriter(root.log("wc"), relay=False) as writer:
                for step in range(3):
                    writer.response_chunk(f"{threading.get_ident()} {number} {step}")
                held = (cell / RUN_LOCK_FILE).stat()
                if not os.path.samestat(held, os.fstat(lock)):
                    problems.append("another lock file has the name")
                found = [json.loads(line)["content"] for line in root.log("wc").read_bytes().splitlines()]
                if found[-3:] != [f"{threading.get_ident()} {number} {step}" for step in range(3)]:
                    problems.append(f"its events are {found[-3:]}")

    threads = [threading.Thread(target=remove), threading.Thread(target=remove)]
    runs = [threading.Thread(target=run), threading.Thread(target=run)]
    for thread in threads + runs:
        thread.start()
    for thread in runs:
        thread.join()
    over.set()
    for thread in threads:
        thread.join()
    assert problems == []
    assert removals[0] > 0
