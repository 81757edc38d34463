"""The main use: the page shows real agents while they work."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from support.agents import claude_env, codex_env, install_claude, install_codex
from support.processes import Program, Up, working_in
from support.scripted_model import ScriptedModel
from support.waiting import wait_until
from workcast.broker.root import Root

from .timeline import Timeline, events, read, wait_for

pytestmark = [pytest.mark.agent, pytest.mark.browser, pytest.mark.timeout(700)]  # the first run installs the agents


@dataclass(frozen=True)
class Agent:
    """A real agent, and what the page shows of its run."""

    name: str
    install: Callable[[], Path]
    env: Callable[[str, Path, Path], dict[str, str]]
    options: Sequence[str]
    started: str
    """Its name in the first item."""
    calls: Sequence[Sequence[str]]
    """Texts that the page shows in each of its calls."""
    thoughts: int


AGENTS = {
    "claude": Agent(
        "claude",
        install_claude,
        claude_env,
        ["--permission-mode", "bypassPermissions"],
        "claude-opus-5-5",
        [["echo hello && ls", "hello"], ["notes/hello.txt"], ["does-not-exist.txt", "failed"]],
        thoughts=2,
    ),
    "codex": Agent(
        "codex",
        install_codex,
        codex_env,
        ["--dangerously-bypass-approvals-and-sandbox"],
        "codex",
        [["echo hello && ls", "hello"], ["notes/hello.txt"], ["does-not-exist.txt", "exit 1"]],
        thoughts=2,
    ),
}


@pytest.fixture(params=AGENTS)
def agent(request: pytest.FixtureRequest) -> Agent:
    return AGENTS[request.param]


@pytest.fixture
def model() -> Generator[ScriptedModel]:
    """A model that answers nothing until the test releases a turn."""
    with ScriptedModel("basic") as model:
        model.hold(0)
        yield model


@pytest.fixture
def start(
    agent: Agent, root: Root, model: ScriptedModel, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Program]:
    """Return a function that starts a run in a workcell."""
    env = agent.env(model.url, tmp_path_factory.mktemp("home"), agent.install())

    def start(workcell: str, *options: str) -> Program:
        place = ("--root", str(root.directory), "--workcell", workcell)
        return Program("run", *place, *options, agent.name, "--", *agent.options, "Give me a tour.", env=env)

    return start


def test_a_run_appears_while_it_happens_and_survives_a_reload_and_a_killed_up(
    page: Page, root: Root, agent: Agent, model: ScriptedModel, start: Callable[..., Program]
) -> None:
    page.set_viewport_size({"width": 1280, "height": 3000})
    log = root.log("wc-1")
    item = page.locator("[data-testid=item]")
    with Up(root.directory) as up:
        page.goto(up.url)
        expect(page.get_by_test_id("connection").first).to_have_attribute("data-state", "open")
        assert page.get_by_test_id("workcell-card").count() == 0
        with start("wc-1", "--issue", "DOCS-1") as run:
            card = page.locator('[data-testid=workcell-card][data-workcell="wc-1"]')
            expect(card).to_have_attribute("data-status", "running")
            expect(card).to_contain_text("DOCS-1")
            card.click()
            expect(page.locator("[data-testid=item][data-kind=prompt]")).to_contain_text("Give me a tour.")
            expect(page.locator("[data-testid=item][data-kind=started]")).to_contain_text(agent.started)

            # The model's first turn: its text, a command and the command's output, while the agent waits for the next.
            model.hold(1)
            expect(page.locator("[data-testid=item][data-kind=answer]")).to_contain_text("I'll start by looking at")
            call = page.locator("[data-testid=item][data-kind=call]")
            for text in agent.calls[0]:
                expect(call).to_contain_text(text)
            expect(call).not_to_have_attribute("data-open", "true")
            assert "outcome" not in read(page).kinds()

            page.reload()
            expect(call).to_contain_text("echo hello")
            before = read(page)
            assert before.lo == 0

            # up is killed; the agent continues, and so does its log.
            os.kill(up.pid, signal.SIGKILL)
            expect(page.get_by_test_id("connection").first).not_to_have_attribute("data-state", "open")
            model.hold(2)
            wait_until(lambda: any(event["type"] == "file_write" for event in events(log)))

            # It is restarted in mid-run, without any action on the page.
            with Up(root.directory, "--port", str(urlsplit(up.url).port)):
                expect(item.filter(has_text="notes/hello.txt").first).to_be_visible()
                assert run.process.poll() is None
                assert "outcome" not in read(page).kinds()
                model.hold(None)
                expect(page.locator("[data-testid=item][data-kind=outcome]")).to_be_visible()
                assert run.wait(60) == 0
                lines = events(log)
                seen = wait_for(page, head=len(lines))
    assert (seen.epoch, seen.lo) == (before.epoch, 0)
    assert [event["type"] for event in (lines[0], lines[-1])] == ["prompt_sent", "completed"]
    assert_shown_once(seen, lines, agent)


def assert_shown_once(seen: Timeline, lines: Sequence[dict[str, Any]], agent: Agent) -> None:
    """Check that the page shows the whole run, each part of it once."""
    offsets = [item.offset for item in seen.items]
    assert offsets == sorted(set(offsets))
    assert len(seen.of("prompt")) == 1
    answers = [event["content"] for event in lines if event["type"] == "response_complete"]
    assert len(seen.of("answer")) == len(answers) == 3
    for item, text in zip(seen.of("answer"), answers, strict=True):
        plain = text.replace("`", "")
        assert item.text.count(plain[:30]) == 1
        assert plain[-20:] in item.text.replace("`", "")  # Markdown is rendered a little later
    calls = seen.of("call")
    assert len(calls) == len([event for event in lines if event["type"] == "tool_call"])
    for item, texts in zip(calls, agent.calls, strict=True):
        assert [text for text in texts if text not in item.text] == []
    assert len(seen.of("thinking")) == agent.thoughts
    (outcome,) = seen.of("outcome")
    assert "success" in outcome.text
    assert "exit 0" in outcome.text


def test_ctrl_c_ends_the_agent_and_the_page_says_cancelled(
    page: Page, root: Root, model: ScriptedModel, start: Callable[..., Program]
) -> None:
    model.scenario = "hangtool"
    model.hold(None)
    with Up(root.directory) as up, start("wc-2") as run:
        page.goto(f"{up.url}/#/w/wc-2")
        call = page.locator("[data-testid=item][data-kind=call]")
        expect(call).to_have_attribute("data-open", "true")
        run.interrupt()
        assert run.wait(30) == 130
        expect(page.locator("[data-testid=item][data-kind=outcome]")).to_contain_text("cancelled")
        expect(call).not_to_have_attribute("data-open", "true")
    assert working_in(root.directory) == []


@pytest.mark.parametrize("agent", ["claude"], indirect=True)  # Codex prints an answer only when it is complete
def test_an_answer_is_shown_while_it_is_written(
    page: Page, root: Root, model: ScriptedModel, start: Callable[..., Program]
) -> None:
    model.scenario = "hangtext"
    model.hold(None)
    with Up(root.directory) as up, start("wc-3") as run:
        page.goto(f"{up.url}/#/w/wc-3")
        expect(page.locator("[data-testid=item][data-kind=answer]")).to_contain_text("talk forever. and on and on")
        assert "response_complete" not in {event["type"] for event in events(root.log("wc-3"))}
        run.interrupt()
        assert run.wait(30) == 130
