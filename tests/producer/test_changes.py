"""The files changed in a repository during a run, according to git, however the agent changed them."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from workcast.events.models import Completed, FileWrite
from workcast.producer.changes import Changes
from workcast.producer.proof import ProofKeeper
from workcast.producer.runner import run_agent

from .conftest import Sink

GIT_ENV = {
    **{key: value for key, value in os.environ.items() if not key.startswith("GIT_")},
    **{f"GIT_{who}_{what}": "dev" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}


def git(directory: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=directory, env=GIT_ENV, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with some files, and a name that a shell would not like."""
    path = tmp_path / "repository"
    path.mkdir()
    git(path, "init", "--quiet")
    for name in ("kept", "edited", "removed", "dirty", "committed", "sub/inner"):
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text(f"{name}\n")
    (path / ".gitignore").write_text("ignored\n")
    git(path, "add", ".")
    git(path, "commit", "--quiet", "-m", "first")
    return path


async def proof_of(repository: Path, script: str, sink: Sink, cwd: Path | None = None) -> dict[str, Any]:
    cell = repository / ".workcells" / "wc"
    await run_agent(
        "exec", script, options=["sh", "-c"], workcell_dir=cell, cwd=cwd or repository, writer=sink, env=GIT_ENV
    )
    proof: dict[str, Any] = json.loads((cell / "proof.json").read_bytes())
    return proof


async def changed(repository: Path, script: str, sink: Sink) -> list[str]:
    proof = await proof_of(repository, script, sink)
    assert proof["status"] == "success"
    assert proof["files_changed_note"] is None
    return [str(Path(path).relative_to(repository)) for path in proof["files_changed"]]


async def test_files_that_a_shell_command_created_edited_removed_and_committed_are_in_the_proof(
    repository: Path, sink: Sink
) -> None:
    script = (
        "echo new > 'new \"file\"\n2'; echo more >> edited; rm removed; touch ignored kept; echo x > sub/inner;"
        "echo more > committed && git add committed && git commit -qm work"
    )
    assert await changed(repository, script, sink) == [
        "committed", "edited", 'new "file"\n2', "removed", "sub/inner",
    ]  # fmt: skip


async def test_files_that_were_dirty_at_the_start_count_only_if_the_agent_changed_them(
    repository: Path, sink: Sink
) -> None:
    (repository / "dirty").write_text("mine\n")
    (repository / "mine").write_text("mine\n")
    (repository / "mine too").write_text("mine\n")
    (repository / "edited").write_text("mine\n")
    git(repository, "add", "edited")
    script = "echo agent >> 'mine too'; git checkout -q HEAD -- dirty; git add mine && git commit -qm mine"
    assert await changed(repository, script, sink) == ["dirty", "mine too"]


async def test_the_first_commit_of_a_repository_counts(tmp_path: Path, sink: Sink) -> None:
    git(tmp_path, "init", "--quiet")
    assert await changed(tmp_path, "echo > one; git add one; git commit -qm one; echo > two", sink) == ["one", "two"]


async def test_a_worktree_reports_its_own_changes_and_none_of_workcasts_files(repository: Path, sink: Sink) -> None:
    cell = repository / ".workcells" / "wc-1"
    await run_agent(
        "exec", "echo > new; mkdir logs2; echo > logs2/x", options=["sh", "-c"], workcell_dir=cell, cwd=cell,
        writer=sink, repository=repository, env=GIT_ENV,
    )  # fmt: skip
    listed = json.loads((cell / "proof.json").read_bytes())["files_changed"]
    assert listed == [str(cell / "logs2" / "x"), str(cell / "new")]


async def test_outside_of_a_repository_only_events_count(tmp_path: Path, sink: Sink) -> None:
    assert await changed(tmp_path, "echo > new", sink) == []


async def test_a_repository_that_git_refuses_is_noted_and_does_not_fail_the_run(repository: Path, sink: Sink) -> None:
    (repository / ".git" / "HEAD").write_text("nonsense\n")
    proof = await proof_of(repository, "echo > new", sink)
    assert (proof["status"], proof["files_changed"]) == ("success", [])
    assert proof["files_changed_note"].startswith("git refused (")


def test_the_wait_for_git_is_bounded(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = tmp_path / "bin" / "git"
    hanging.parent.mkdir()
    hanging.write_text("#!/bin/sh\nexec sleep 600\n")
    hanging.chmod(0o755)
    monkeypatch.setenv("PATH", f"{hanging.parent}:{os.environ['PATH']}")
    looking = Changes(repository, repository / ".workcells" / "wc", seconds=0.2)
    looking.begin()
    assert str(looking.end().note).startswith("git took too long: ")


def test_a_file_that_an_event_reported_is_not_listed_twice(repository: Path) -> None:
    at, cell = datetime(2026, 1, 1, tzinfo=UTC), repository / ".workcells" / "wc"
    cell.mkdir(parents=True)
    looking, keeper = Changes(repository, cell), ProofKeeper(cell, repository, "gemini", None, at)
    looking.begin()
    (repository / "edited").write_text("new\n")
    (repository / "kept").write_text("new\n")
    keeper.add(FileWrite(timestamp=at, path="edited"))
    keeper.add_changed(looking.end())
    keeper.write(Completed(timestamp=at, status="success"))
    assert json.loads((cell / "proof.json").read_bytes())["files_changed"] == [str(repository / "kept"), "edited"]
