"""A lost run, as shown by a page that is open meanwhile."""

from __future__ import annotations

import os

import pytest
from playwright.sync_api import Page, expect

from support.processes import Up
from workcast.broker.names import RUN_LOCK_FILE
from workcast.broker.root import Root
from workcast.broker.run_lock import hold_lock
from workcast.producer import TelemetryWriter

pytestmark = pytest.mark.browser


def test_a_lost_run_is_shown_as_lost_and_its_calls_as_ended(page: Page, root: Root) -> None:
    with Up(root.directory) as up:
        with TelemetryWriter(root.log("wc"), {"workcell_id": "wc"}) as writer, hold_lock(root.workcell("wc")):
            writer.started("claude", "opus")
            writer.tool_call("Bash", {"command": "make"}, call_id="c1")
            page.goto(f"{up.url}/#/w/wc")
            call = page.locator('[data-testid=item][data-kind="call"]')
            expect(call).to_contain_text("running")
        os.utime(root.workcell("wc") / RUN_LOCK_FILE, (0, 0))
        expect(call).to_contain_text("no result: the agent ended")
        expect(page.locator(".status-lost").first).to_be_visible()
        page.goto(f"{up.url}/#/")
        expect(page.locator('[data-workcell="wc"]')).to_have_attribute("data-status", "lost")
