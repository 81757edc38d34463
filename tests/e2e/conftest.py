"""A headless Chromium, and a page that fails the test on console errors and policy violations."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from support.browser import FLAGS, find
from support.processes import Up
from support.waiting import DEADLINE
from workcast.broker.root import Root

expect.set_options(timeout=DEADLINE * 1000)


@dataclass
class Complaints:
    """A page's console errors, and the URLs that it requested."""

    messages: list[str] = field(default_factory=list[str])
    requests: list[str] = field(default_factory=list[str])

    def watch(self, page: Page) -> None:
        page.on("console", self._add_message)
        page.on("pageerror", lambda error: self.messages.append(str(error)))
        page.on("request", self._add_request)

    def _add_message(self, message: ConsoleMessage) -> None:
        # Some tests take the gateway away, and the browser reports each failed connection.
        outage = "net::ERR_" in message.text or "WebSocket connection to" in message.text
        if message.type in ("error", "warning") and not outage:
            self.messages.append(message.text)

    def _add_request(self, request: Request) -> None:
        self.requests.append(request.url)


@pytest.fixture(scope="module")  # not longer: Playwright keeps an event loop running, and other tests have their own
def browser() -> Generator[Browser]:
    program = find()
    assert program, "no Chromium found: run `make browser`"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def complaints() -> Complaints:
    return Complaints()


@pytest.fixture
def page(browser: Browser, complaints: Complaints, tmp_path: Path) -> Generator[Page]:
    """An empty page; the test fails on a console error or a violation of the content security policy."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    page = context.new_page()
    page.set_default_timeout(20_000)
    complaints.watch(page)
    yield page
    page.screenshot(path=tmp_path / "page.png")
    context.close()
    assert complaints.messages == []


@pytest.fixture
def up(root: Root) -> Generator[Up]:
    """A ``workcast up`` of the test's root."""
    with Up(root.directory) as up:
        yield up
