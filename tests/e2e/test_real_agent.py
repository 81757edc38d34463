"""The main job, seen with a person's eyes: a real Claude Code at work, on the page while it works."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from playwright.sync_api import Page, expect

from support.agents import claude_env, install_claude
from support.processes import Program, Up
from support.scripted_model import ScriptedModel
from workcast.broker.root import Root

from .timeline import events, read, wait_for

pytestmark = [pytest.mark.agent, pytest.mark.browser, pytest.mark.timeout(700)]  # the first run installs the agent


@pytest.fixture
def model() -> Generator[ScriptedModel]:
    """Holds its first word until the test opens the gate."""
    with ScriptedModel("basic", delay=0.02) as model:
        model.gate.clear()
        yield model


def run_claude(root: Path, home: Path, model: ScriptedModel, workcell: str, *options: str) -> Program:
    words = ["--permission-mode", "bypassPermissions", "Give me a tour."]
    return Program(
        "run", "--root", str(root), "--workcell", workcell, *options, "claude", "--", *words,
        env=claude_env(model.url, home, install_claude()),
    )  # fmt: skip


def test_a_run_appears_while_it_happens_and_survives_a_reload_and_a_killed_up(
    page: Page, root: Root, tmp_path_factory: pytest.TempPathFactory, model: ScriptedModel
) -> None:
    page.set_viewport_size({"width": 1280, "height": 3000})
    install_claude()
    log = root.log("wc-1")
    with Up(root.directory) as up:
        page.goto(up.url)
        expect(page.get_by_test_id("connection").first).to_have_attribute("data-state", "open")
        assert page.get_by_test_id("workcell-card").count() == 0
        with run_claude(root.directory, tmp_path_factory.mktemp("home"), model, "wc-1", "--issue", "DOCS-1") as run:
            card = page.locator('[data-testid=workcell-card][data-workcell="wc-1"]')
            expect(card).to_have_attribute("data-status", "running")
            expect(card).to_contain_text("DOCS-1")
            card.click()
            expect(page.locator("[data-testid=item][data-kind=prompt]")).to_contain_text("Give me a tour.")
            expect(page.locator("[data-testid=item][data-kind=started]")).to_contain_text("claude-opus-5-5")
            assert run.process.poll() is None

            # The model speaks: its text appears while the agent still waits for the rest of it.
            model.gate.set()
            answer = page.locator("[data-testid=item][data-kind=answer]").first
            expect(answer).to_contain_text("I'll start by looking at")
            model.gate.clear()
            assert run.process.poll() is None
            assert "outcome" not in read(page).kinds()

            page.reload()
            expect(answer).to_contain_text("I'll start by looking at")
            before = read(page)
            assert before.lo == 0

            # up dies without a word; the agent goes on, and its log with it.
            os.kill(up.pid, signal.SIGKILL)
            expect(page.get_by_test_id("connection").first).not_to_have_attribute("data-state", "open")
            model.gate.set()
            assert run.wait(60) == 0
        lines = events(log)
        assert lines[-1]["type"] == "completed"

        port = str(urlsplit(up.url).port)
        with Up(root.directory, "--port", port):
            seen = wait_for(page, head=len(lines))  # by itself: nobody touched the page

    assert (seen.epoch, seen.lo) == (before.epoch, 0)
    offsets = [item.offset for item in seen.items]
    assert offsets == sorted(set(offsets))
    assert [item.text for item in seen.of("prompt")] != []
    answers = [event["content"] for event in lines if event["type"] == "response_complete"]
    assert len(seen.of("answer")) == len(answers) == 3
    for item, text in zip(seen.of("answer"), answers, strict=True):
        plain = text.replace("`", "")
        assert item.text.count(plain[:30]) == 1
        assert plain[-20:] in item.text.replace("`", "")  # Markdown is drawn a little later
    calls = [event for event in lines if event["type"] == "tool_call"]
    assert len(seen.of("call")) == len(calls) == 3
    bash, write, missing = seen.of("call")
    assert "echo hello && ls" in bash.text
    assert "hello.txt" in write.text
    assert "does-not-exist.txt" in missing.text
    assert "failed" in missing.text
    assert len(seen.of("thinking")) == 2
    (outcome,) = seen.of("outcome")
    assert "success" in outcome.text
    assert "exit 0" in outcome.text


def test_ctrl_c_ends_the_agent_and_the_page_says_cancelled(
    page: Page, root: Root, tmp_path_factory: pytest.TempPathFactory, model: ScriptedModel
) -> None:
    model.scenario = "hangtool"
    model.gate.set()
    with (
        Up(root.directory) as up,
        run_claude(root.directory, tmp_path_factory.mktemp("home"), model, "wc-2") as run,
    ):
        page.goto(f"{up.url}/#/w/wc-2")
        call = page.locator("[data-testid=item][data-kind=call]")
        expect(call).to_have_attribute("data-open", "true")
        run.interrupt()
        assert run.wait(30) == 130
        expect(page.locator("[data-testid=item][data-kind=outcome]")).to_contain_text("cancelled")
        expect(call).not_to_have_attribute("data-open", "true")
    assert [
        process for process in psutil.process_iter(["cmdline"]) if process.info["cmdline"] == ["sleep", "600"]
    ] == []
