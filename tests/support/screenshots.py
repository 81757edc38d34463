"""``make screenshots``: the README's pictures, taken from the demo in a real browser."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from support.browser import FLAGS, find
from support.processes import Up

DOCS = Path(__file__).parents[2] / "docs"
WIDE = {"width": 1280, "height": 800}


def take(page: Page, address: str) -> None:
    """The fleet once all acts have played, and one workcell in the middle of a run."""
    page.goto(address)
    page.locator('[data-workcell="wc-cancelled"][data-status="cancelled"]').wait_for(timeout=60_000)
    page.screenshot(path=DOCS / "fleet.png")
    page.goto(f"{address}/#/w/wc-tour")
    page.locator("[data-testid=timeline][data-live=true]").wait_for()
    page.locator("[data-testid=item][data-kind=outcome]").last.wait_for()
    page.screenshot(path=DOCS / "workcell.png")


def main() -> None:
    with (
        Up(Path(), verb="demo") as demo,
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=find(), args=FLAGS) as browser,
    ):
        take(browser.new_page(viewport=WIDE, reduced_motion="reduce"), demo.url)  # type: ignore[arg-type]
        demo.interrupt()
        demo.wait()


if __name__ == "__main__":
    main()
