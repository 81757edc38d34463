"""``make screenshots``: the README's pictures, taken from the demo in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from playwright.sync_api import Page, ViewportSize, sync_playwright

from support.browser import FLAGS, find
from support.processes import Up

DOCS = Path(__file__).parents[2] / "docs"
VIEW: Final[ViewportSize] = {"width": 1280, "height": 1190}


def take(page: Page, address: str) -> None:
    """Take the fleet once every status is shown, and an ended run with one of its edits unfolded."""
    page.goto(address)
    for status in ("success", "failed", "cancelled"):
        page.locator(f'[data-workcell][data-status="{status}"]').first.wait_for(timeout=60_000)
    page.locator('[data-workcell="tour-gemini"][data-status="success"]').wait_for(timeout=60_000)
    page.screenshot(path=DOCS / "fleet.png")
    page.goto(f"{address}/#/w/readme-title-claude")
    page.locator("[data-testid=timeline][data-live=true]").wait_for()
    page.locator("[data-testid=item][data-kind=outcome]").last.wait_for()
    page.locator("[data-testid=item]", has_text="Edit").last.get_by_role("button").click()
    page.screenshot(path=DOCS / "workcell.png")


def main() -> None:
    with (
        Up(Path(), verb="demo") as demo,
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=find(), args=FLAGS) as browser,
    ):
        take(browser.new_page(viewport=VIEW, reduced_motion="reduce"), demo.url)
        demo.interrupt()
        demo.wait()


if __name__ == "__main__":
    main()
