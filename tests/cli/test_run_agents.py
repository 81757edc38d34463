"""``workcast run`` with the real agents, where they are hard to please."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.agents import CODEX_CONFIG, claude_env, codex_env, install_claude, install_codex
from support.processes import workcast, working_in
from support.scripted_model import ScriptedModel

pytestmark = [pytest.mark.agent, pytest.mark.timeout(700)]  # the first run on a machine installs them

LONG = "[[scenario:plain]] " + "word " * 200_000
ALLOWED = {
    "claude": ["--permission-mode", "bypassPermissions"],
    "codex": ["--dangerously-bypass-approvals-and-sandbox"],
}


@dataclass(frozen=True)
class Place:
    """A root, and a home for the agents."""

    root: Path
    home: Path

    def run(
        self, agent: str, *words: str, env: dict[str, str], stdin: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        options = ("--root", str(self.root), "--workcell", "wc", "--timeout", "50s")
        return workcast("run", agent, *options, "--", *words, env=env, stdin=stdin)

    @property
    def cell(self) -> Path:
        return self.root / ".workcells" / "wc"

    def ended(self, status: str, exit_code: int) -> list[dict[str, Any]]:
        """The run's events, after a look at all that it is to leave behind, and not to."""
        events = [json.loads(line) for line in (self.cell / "telemetry.jsonl").read_bytes().splitlines()]
        proof = json.loads((self.cell / "proof.json").read_bytes())
        last = events[-1]
        assert (last["type"], last["status"], last["exit_code"]) == ("completed", status, exit_code)
        assert (proof["status"], proof["exit_code"]) == (status, exit_code)
        assert [event["timestamp"] for event in events] == sorted(event["timestamp"] for event in events)
        assert working_in(self.root) == []
        return events


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path / "root", tmp_path / "home")
    place.root.mkdir()
    place.home.mkdir()
    return place


def errors(events: list[dict[str, Any]]) -> list[str]:
    return [event["error"] for event in events if event["type"] == "error" and not event["retryable"]]


def logged_out_claude(place: Place, model: ScriptedModel) -> dict[str, str]:
    env = claude_env(model.url, place.home, install_claude())
    del env["ANTHROPIC_API_KEY"]
    return env


def codex_without_a_key(place: Place, model: ScriptedModel) -> dict[str, str]:
    env = codex_env(model.url, place.home, install_codex())
    del env["SCRIPTED_KEY"]
    return env


def logged_out_codex(place: Place, model: ScriptedModel) -> dict[str, str]:
    """The agent sends its request all the same, and the server refuses it."""
    model.scenario = "e401"
    env = codex_without_a_key(place, model)
    config = CODEX_CONFIG.format(url=model.url).replace('env_key = "SCRIPTED_KEY"', "requires_openai_auth = true")
    (place.home / ".codex" / "config.toml").write_text(config)
    return env


@pytest.mark.parametrize(
    ("agent", "environment", "sentence"),
    [
        ("claude", logged_out_claude, "Not logged in · Please run /login"),
        ("codex", codex_without_a_key, "Missing environment variable: `SCRIPTED_KEY`."),
        ("codex", logged_out_codex, "401 Unauthorized"),
    ],
    ids=["claude", "codex without a key", "codex"],
)
def test_an_agent_that_is_not_logged_in_says_so(
    place: Place, model: ScriptedModel, agent: str, environment: Callable[[Place, ScriptedModel], dict[str, str]],
    sentence: str,
) -> None:  # fmt: skip
    done = place.run(agent, "Hello.", env=environment(place, model))
    assert done.returncode == 1
    (error,) = errors(place.ended("failed", 1))
    assert sentence in error
    assert done.stderr.decode().splitlines()[-1].endswith(f"exit code 1: {error}")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is refused")
def test_claudes_refusal_to_run_as_root_is_reported(place: Place, model: ScriptedModel) -> None:
    env = claude_env(model.url, place.home, install_claude())
    del env["IS_SANDBOX"]
    done = place.run("claude", "--dangerously-skip-permissions", "Hello.", env=env)
    assert done.returncode == 1
    events = place.ended("failed", 1)
    assert [event["type"] for event in events] == ["prompt_sent", "error", "completed"]
    assert "cannot be used with root/sudo privileges" in errors(events)[0]
    assert done.stderr.decode().splitlines()[-1].endswith(errors(events)[0])
    assert model.requests == []


@pytest.mark.parametrize("agent", ["claude", "codex"])
def test_a_prompt_of_a_megabyte_reaches_the_model_whole(place: Place, model: ScriptedModel, agent: str) -> None:
    env = (
        claude_env(model.url, place.home, install_claude())
        if agent == "claude"
        else codex_env(model.url, place.home, install_codex())
    )
    done = place.run(agent, *ALLOWED[agent], "-", env=env, stdin=LONG.encode())
    assert done.returncode == 0, done.stderr
    assert LONG.strip() in {text.strip() for text in texts_of(agent, model.requests[-1])}
    prompt = place.ended("success", 0)[0]
    assert (prompt["type"], prompt["prompt"]) == ("prompt_sent", LONG)
    assert (place.cell / "prompt.md").read_text() == LONG
    proof = json.loads((place.cell / "proof.json").read_bytes())
    assert proof["prompt_sha256"] == hashlib.sha256(LONG.encode()).hexdigest()


def texts_of(agent: str, request: dict[str, Any]) -> list[str]:
    """The conversation so far, as a request contains it."""
    messages: list[dict[str, Any]] = request["messages" if agent == "claude" else "input"]
    parts: list[dict[str, str]] = []
    for message in messages:
        content: str | list[dict[str, str]] = message.get("content") or ""
        parts += [{"text": content}] if isinstance(content, str) else content
    return [part["text"] for part in parts if "text" in part]
