"""Sessions of real agents that no run started are shown live, each event once, with and without hooks."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.agents import claude_env, codex_env, install_claude, install_codex
from support.processes import PROGRAM, Up, environment
from support.scripted_model import ScriptedModel
from support.transcripts import logged
from support.waiting import wait_until
from workcast.broker.root import Root

pytestmark = [pytest.mark.agent, pytest.mark.accept, pytest.mark.timeout(700)]

DOCS = Path(__file__).parents[2] / "docs" / "sessions.md"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    directory = tmp_path / "work"
    directory.mkdir()
    (directory / "README.md").write_text("# scratch\n")
    return directory


def start(env: dict[str, str], work: Path, *words: str | Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        words, cwd=work, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def finish(agent: subprocess.Popen[bytes], code: int = 0) -> None:
    _, stderr = agent.communicate(timeout=60)
    assert agent.returncode == code, stderr


def types(root: Root, workcell: str) -> list[str]:
    return [event["type"] for event in logged(root, workcell)]


def only_cell(root: Root) -> str:
    return wait_until(root.ids)[0]


def check_once(events: list[dict[str, Any]]) -> None:
    """Check that no fact was written twice."""
    facts = [
        (event["type"], event.get("call_id") or event.get("message_id") or event.get("prompt"), event.get("block"))
        for event in events
        if event["type"] in {"prompt_sent", "tool_call", "tool_result", "usage", "response_complete", "started"}
    ]
    assert [fact for fact, count in Counter(facts).items() if count > 1 and fact[1] is not None] == []


def test_a_session_of_claude_code_is_shown_while_it_goes_on(
    root: Root, model: ScriptedModel, tmp_path: Path, work: Path
) -> None:
    env = claude_env(model.url, tmp_path / "home", install_claude())
    with Up(root.directory, "--watch", env={"CLAUDE_CONFIG_DIR": env["CLAUDE_CONFIG_DIR"]}) as up:
        words = ("-p", "--permission-mode", "bypassPermissions")
        agent = start(env, work, install_claude(), *words, "[[scenario:hangtool]] Give me a tour.")
        cell = only_cell(root)
        wait_until(lambda: types(root, cell)[-1:] == ["bash_command"], what=str(types(root, cell)))
        up.show(cell, len(types(root, cell)))
        shown = httpx.get(f"{up.url}/api/workcells/{cell}").json()["summary"]
        assert (shown["status"], shown["agent"], [call["tool"] for call in shown["open_calls"]]) == (
            "running", "claude", ["Bash"],
        )  # fmt: skip
        agent.terminate()
        finish(agent, 143)
        tour = start(env, work, install_claude(), *words, "--continue", "[[scenario:basic]] Go on.")
        finish(tour)
        wait_until(lambda: types(root, cell).count("completed") >= 1 and types(root, cell)[-1] == "completed")
    events = logged(root, cell)
    check_once(events)
    assert [event["prompt"] for event in events if event["type"] == "prompt_sent"] == [
        "[[scenario:hangtool]] Give me a tour.", "[[scenario:basic]] Go on.",
    ]  # fmt: skip
    assert "unknown" not in types(root, cell)
    assert {"started", "response_complete", "tool_call", "tool_result", "usage", "completed"} <= set(types(root, cell))


def test_a_session_of_codex_is_shown_while_it_goes_on(
    root: Root, model: ScriptedModel, tmp_path: Path, work: Path
) -> None:
    env = codex_env(model.url, tmp_path / "home", install_codex())
    words = ("exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox")
    with Up(root.directory, "--watch", env={"CODEX_HOME": env["CODEX_HOME"]}) as up:
        model.gate.clear()
        agent = start(env, work, install_codex(), *words, "[[scenario:basic]] Give me a tour.")
        cell = only_cell(root)
        wait_until(lambda: "prompt_sent" in types(root, cell))
        model.gate.set()
        finish(agent)
        wait_until(lambda: types(root, cell)[-1:] == ["completed"])
        up.show(cell, len(types(root, cell)))
        assert httpx.get(f"{up.url}/api/workcells/{cell}").json()["summary"]["status"] == "success"
    check_once(logged(root, cell))
    assert "unknown" not in types(root, cell)
    assert [types(root, cell).count(kind) for kind in ("tool_call", "tool_result", "file_write", "usage")] == [
        3,
        3,
        1,
        4,
    ]


def hooked(env: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """Return an environment in which Claude Code uses the settings from the documentation."""
    snippet = re.search(r"```json\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert snippet is not None
    settings = Path(env["CLAUDE_CONFIG_DIR"]) / "settings.json"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(json.dumps(json.loads(snippet.group(1))))
    return {**env, "PATH": f"{PROGRAM.parent}:{env['PATH']}"}


@pytest.mark.parametrize("watch", [False, True])
def test_the_documented_hooks_record_a_session(
    root: Root, model: ScriptedModel, tmp_path: Path, work: Path, *, watch: bool
) -> None:
    env = hooked(claude_env(model.url, tmp_path / "home", install_claude()), tmp_path)
    place = root.directory / "src"
    shutil.copytree(work, place)
    with Up(root.directory, *(("--watch",) if watch else ()), env={"CLAUDE_CONFIG_DIR": env["CLAUDE_CONFIG_DIR"]}):
        words = ("-p", "--permission-mode", "bypassPermissions", "[[scenario:basic]] Give me a tour.")
        finish(start(env, place, install_claude(), *words))
        cell = only_cell(root)
        wait_until(lambda: "completed" in types(root, cell))
        if watch:
            wait_until(lambda: types(root, cell)[-1:] == ["completed"])
    events = logged(root, cell)
    check_once(events)
    assert [types(root, cell).count(kind) for kind in ("started", "prompt_sent", "tool_call", "tool_result")] == [
        1,
        1,
        3,
        3,
    ]
    assert types(root, cell).count("usage") == (4 if watch else 0)
    assert types(root, cell).count("completed") == 1
    by_hook = [event for event in events if event["type"] == "tool_result" and event["source"] == "hook"]
    assert len(by_hook) == 3
    assert all(event["duration_ms"] >= 0 for event in by_hook)


def test_a_run_is_not_shown_a_second_time(root: Root, model: ScriptedModel, tmp_path: Path) -> None:
    env = hooked(claude_env(model.url, tmp_path / "home", install_claude()), tmp_path)
    with Up(root.directory, "--watch", env={"CLAUDE_CONFIG_DIR": env["CLAUDE_CONFIG_DIR"]}):
        words = ("run", "--root", str(root.directory), "--workcell", "mine", "claude", "--")
        options = ("--permission-mode", "bypassPermissions", "[[scenario:basic]] Give me a tour.")
        done = subprocess.run(
            [PROGRAM, *words, *options], check=False, capture_output=True, timeout=60, env={**environment(), **env}
        )
        assert done.returncode == 0, done.stderr
        own = tmp_path / "own"
        own.mkdir()
        finish(start(env, own, install_claude(), "-p", "[[scenario:plain]] Hello."))
        wait_until(lambda: len(root.ids()) > 1)
        other = next(cell for cell in root.ids() if cell != "mine")
        wait_until(lambda: types(root, other)[-1:] == ["completed"])
    assert len(root.ids()) == 2
    assert types(root, "mine").count("prompt_sent") == 1
    assert [event["prompt"] for event in logged(root, other) if "prompt" in event] == ["[[scenario:plain]] Hello."]
