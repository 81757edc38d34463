"""The page's keys, addresses and layout: what moves the focus and the view, and what must stay in place."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from support.logs import write_log
from support.processes import Up
from workcast.broker.root import Root
from workcast.producer import TelemetryWriter

from .timeline import numbered, wait_for

pytestmark = pytest.mark.browser

_FOCUSED = "document.activeElement.dataset.workcell ?? document.activeElement.type ?? document.activeElement.tagName"


def fleet(root: Root, *names: str) -> None:
    """Write the logs of running workcells, each started a second after the one before."""
    for second, name in enumerate(names):
        write_log(root, name, [b'{"type":"started","timestamp":"2026-01-01T00:00:0%dZ"}' % second])


def focused(page: Page, what: str) -> None:
    page.wait_for_function(f"what => ({_FOCUSED}) === what", arg=what)


def test_escape_closes_the_help_then_the_workcell_and_never_leaves_the_site(page: Page, root: Root, up: Up) -> None:
    write_log(root, "wc", numbered(3))
    timeline, keys = page.get_by_test_id("timeline"), page.get_by_role("complementary", name="Keys")
    page.goto(up.url)
    page.locator('[data-workcell="wc"]').click()
    expect(timeline).to_be_focused()
    for _ in range(2):
        page.keyboard.press("?")
        expect(keys).to_be_visible()
        page.keyboard.press("Escape")
        expect(keys).to_have_count(0)
    expect(timeline).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    expect(timeline).to_have_count(0)
    page.evaluate("new Promise(requestAnimationFrame)")
    assert page.url.startswith(up.url)
    focused(page, "wc")


def test_a_workcell_opened_by_its_address_closes_to_the_fleet_also_after_going_back(
    page: Page, root: Root, up: Up
) -> None:
    write_log(root, "wc", numbered(3))
    timeline = page.get_by_test_id("timeline")
    page.goto(f"{up.url}/#/w/wc")
    for _ in range(2):
        expect(timeline).to_be_visible()
        page.keyboard.press("Escape")
        expect(timeline).to_have_count(0)
        expect(page).to_have_url(f"{up.url}/#/")
        page.go_back()
    # Opened from the fleet, then a link to an event: closing goes back over both.
    page.goto(up.url)
    page.locator('[data-workcell="wc"]').click()
    page.locator("[data-testid=item] .permalink").last.click()
    expect(page).to_have_url(f"{up.url}/#/w/wc?o=2")
    page.keyboard.press("Escape")
    expect(timeline).to_have_count(0)
    page.go_forward()
    expect(timeline).to_be_visible()


def test_page_and_arrow_keys_scroll_a_workcell(page: Page, root: Root, up: Up) -> None:
    write_log(root, "wc", numbered(300))
    page.goto(f"{up.url}/#/w/wc")
    wait_for(page, head=300)
    timeline = page.get_by_test_id("timeline")
    place = "element => element.scrollTop"
    at: int = timeline.evaluate(place)
    for key, sign, least in (
        ("PageUp", -1, 500), ("PageUp", -1, 500), ("ArrowUp", -1, 40), ("ArrowDown", 1, 40), ("PageDown", 1, 500)
    ):  # fmt: skip
        page.keyboard.press(key)
        page.wait_for_function(
            "([at, least]) => (document.querySelector('[data-testid=timeline]').scrollTop - at) * Math.sign(least) >="
            " Math.abs(least)",
            arg=[at, sign * least],
        )
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        now: int = timeline.evaluate(place)
        assert (now - at) * sign >= least, key
        at = now
    expect(timeline).to_have_attribute("data-following", "false")
    page.keyboard.press("PageDown")
    page.keyboard.press("PageDown")
    expect(timeline).to_have_attribute("data-following", "true")


def test_keys_select_expand_and_collapse_items_and_go_to_both_ends_of_a_log(page: Page, root: Root, up: Up) -> None:
    thinking = b'{"type":"thinking","timestamp":"2026-01-01T00:00:00Z","content":"first\\nsecond","message_id":"t"}'
    write_log(root, "wc", [thinking, *numbered(200)])
    page.goto(f"{up.url}/#/w/wc")
    wait_for(page, head=201)
    selected = page.locator("[data-testid=item][aria-current=true]")
    page.keyboard.press("Home")
    first = page.locator('[data-testid=item][data-offset="0"]')
    expect(first).to_be_in_viewport()
    for key, offset in (("j", "0"), ("j", "1"), ("j", "2"), ("k", "1"), ("k", "0"), ("k", "0")):
        page.keyboard.press(key)
        expect(selected).to_have_attribute("data-offset", offset)
    toggle = first.get_by_role("button")
    for expanded in ("true", "false"):
        page.keyboard.press("Enter")
        expect(toggle).to_have_attribute("aria-expanded", expanded)
    toggle.click()
    expect(first).to_contain_text("second")
    page.keyboard.press("End")
    expect(page.locator('[data-testid=item][data-offset="200"]')).to_be_in_viewport()
    expect(page.get_by_test_id("timeline")).to_have_attribute("data-following", "true")
    expect(selected).to_have_count(0)
    page.keyboard.press("k")
    expect(selected).to_be_in_viewport()


def test_the_button_to_the_end_covers_no_row(page: Page, root: Root, up: Up) -> None:
    write_log(root, "wc", numbered(300))
    page.goto(f"{up.url}/#/w/wc")
    wait_for(page, head=300)
    expect(page.locator(".facts")).to_contain_text("300 events")  # the head has its final height
    height = page.get_by_test_id("timeline").bounding_box()
    page.keyboard.press("PageUp")
    button = page.get_by_test_id("to-end").bounding_box()
    assert page.get_by_test_id("timeline").bounding_box() == height
    assert button is not None
    assert height is not None
    assert button["y"] >= height["y"] + height["height"]


def test_keys_walk_open_and_search_the_fleet(page: Page, root: Root, up: Up) -> None:
    fleet(root, "wc-c", "wc-b", "wc-a")
    for name in ("wc-a", "wc-b", "wc-c"):
        up.show(name, 1)  # a new workcell is sorted below the others
    page.goto(up.url)
    expect(page.get_by_test_id("workcell-card")).to_have_count(3)
    for key, name in (
        ("j", "wc-a"), ("j", "wc-b"), ("k", "wc-a"), ("k", "wc-a"), ("End", "wc-c"), ("j", "wc-c"), ("Home", "wc-a")
    ):  # fmt: skip
        page.keyboard.press(key)
        focused(page, name)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("timeline")).to_be_visible()
    expect(page).to_have_url(f"{up.url}/#/w/wc-b")
    page.keyboard.press("Escape")
    focused(page, "wc-b")

    page.keyboard.press("/")
    focused(page, "search")
    page.keyboard.type("wc-cj?")
    box = page.get_by_role("searchbox")
    expect(box).to_have_value("wc-cj?")
    page.keyboard.press("Escape")
    expect(box).to_have_value("")
    focused(page, "search")
    expect(page.get_by_test_id("workcell-card")).to_have_count(3)
    page.keyboard.press("Escape")
    focused(page, "BODY")
    page.keyboard.press("?")
    expect(page.get_by_role("complementary", name="Keys")).to_contain_text("next, previous workcell")
    page.keyboard.press("Escape")
    expect(page.get_by_role("complementary", name="Keys")).to_have_count(0)


def test_a_moving_row_keeps_the_focus_and_a_seen_status_keeps_its_button(page: Page, root: Root, up: Up) -> None:
    fleet(root, "wc-c", "wc-b", "wc-a")
    page.goto(up.url)
    expect(page.get_by_test_id("workcell-card")).to_have_count(3)
    names = "[...document.querySelectorAll('.card')].map((card) => card.dataset.workcell)"
    page.keyboard.press("j")
    for name in ("wc-c", "wc-b"):
        write_log(root, name, numbered(1))
        up.show(name, 2)
        expect(page.locator(f'[data-workcell="{name}"] .figure-events')).to_contain_text("2")
        assert page.evaluate(names) == ["wc-a", "wc-b", "wc-c"]
    write_log(root, "wc-a", [b'{"type":"completed","status":"success","timestamp":"2026-01-01T01:00:00Z"}'])
    page.wait_for_function(f"() => ({names}).at(-1) === 'wc-a'")
    focused(page, "wc-a")
    for name in ("wc-b", "wc-c"):
        write_log(root, name, [b'{"type":"completed","status":"success","timestamp":"2026-01-01T01:00:00Z"}'])
    expect(page.get_by_role("button", name="running 0")).to_be_visible()


def test_an_empty_or_unknown_workcell_says_so_in_one_sentence(page: Page, root: Root, up: Up) -> None:
    write_log(root, "empty", [])
    for address, words in (("unknown", "There is no workcell with this name."), ("empty", "No events yet.")):
        page.goto(f"{up.url}/#/w/{address}")
        expect(page.get_by_role("feed")).to_contain_text(words)
        expect(page.get_by_test_id("item")).to_have_count(0)
        expect(page.locator(".panel-foot")).to_have_text("")


def test_a_permalink_beyond_the_end_shows_the_end_and_says_so(page: Page, root: Root, up: Up) -> None:
    write_log(root, "wc", numbered(40))
    page.goto(f"{up.url}/#/w/wc?o=99999999")
    expect(page.get_by_text("there is no event #99999999: the log ends at #39")).to_be_visible()
    expect(page.locator('[data-testid=item][data-offset="39"]')).to_be_in_viewport()
    expect(page.get_by_test_id("range")).to_contain_text("#39 of 40")


def test_an_invalid_address_is_replaced_by_the_fleets(page: Page, root: Root, up: Up) -> None:
    write_log(root, "wc", numbered(1))
    for address in ("#/w/wc?o=abc", "#/foo", "#/w/"):
        page.goto("about:blank")
        page.goto(f"{up.url}/{address}")
        expect(page).to_have_url(f"{up.url}/#/")
        expect(page.get_by_test_id("workcell-card")).to_be_visible()
        page.evaluate("address => { location.hash = address; }", address)
        expect(page).to_have_url(f"{up.url}/#/")


def test_without_a_gateway_the_page_shows_the_lost_connection_and_what_it_has(page: Page, root: Root) -> None:
    write_log(root, "a-workcell", numbered(3))
    page.set_viewport_size({"width": 390, "height": 800})
    with Up(root.directory) as up:
        page.goto(f"{up.url}/#/w/a-workcell")
        wait_for(page, head=3)
    connection = page.get_by_test_id("connection")
    expect(connection).to_have_count(1)
    expect(connection).not_to_have_attribute("data-state", "open")
    expect(page.get_by_role("button", name="try now")).to_be_visible()
    expect(page.locator(".panel-foot")).to_have_text(re.compile("^events #0.#2 of 3$"))
    assert page.evaluate("(({scrollWidth, clientWidth}) => scrollWidth <= clientWidth)(document.querySelector('h2'))")


def test_a_failed_call_shows_its_exit_code_and_duration_and_stderr_is_marked(page: Page, root: Root, up: Up) -> None:
    with TelemetryWriter(root.log("wc"), {"workcell_id": "wc"}) as writer:
        writer.tool_call("Bash", {"command": "make"}, call_id="c1")
        writer.bash_output("\n".join(str(number) for number in range(30)), 7, call_id="c1")
        writer.tool_result("Bash", None, error="Exit code 7", call_id="c1", duration_ms=323)
        writer.bash_output("x" * 9_000, stream="stderr")
    page.goto(f"{up.url}/#/w/wc")
    expect(page.locator("[data-kind=call] .call-state")).to_have_text("failed · exit 7 · 323 ms")
    expect(page.locator("[data-kind=output] .word")).to_have_text("stderr")
    expect(page.locator("[data-kind=output]")).to_contain_text("show all (1 line, 9,000 characters)")


def test_rows_have_one_height_and_an_issue_is_cut_before_the_id(page: Page, root: Root, up: Up) -> None:
    for name, issue in (("fix-the-checkout", "ISSUE-" + "9" * 90), ("plain", None)):
        with TelemetryWriter(root.log(name), {"workcell_id": name}) as writer:
            writer.started("claude", "a-model-with-a-name-that-does-not-fit-on-one-line", issue)
            writer.tool_call("Bash", {"command": "make"}, call_id="c1")
    with TelemetryWriter(root.log("done"), {"workcell_id": "done"}) as writer:
        writer.completed("success", 0, 10)
    page.goto(up.url)
    expect(page.get_by_test_id("workcell-card")).to_have_count(3)
    expect(page.locator(".status-success")).to_have_count(1)
    whole = "({scrollWidth, clientWidth}) => scrollWidth <= clientWidth"
    for width in (1440, 1024, 768, 390):
        page.set_viewport_size({"width": width, "height": 800})
        heights = page.evaluate(
            "[...document.querySelectorAll('.card')].map((card) => card.getBoundingClientRect().height)"
        )
        assert len(set(heights)) == 1
        card = page.locator('[data-workcell="fix-the-checkout"]')
        assert card.locator("strong").evaluate(whole)
        main, chip = card.locator(".card-main").bounding_box(), card.locator(".chip-issue").bounding_box()
        assert main is not None
        assert chip is not None
        assert chip["x"] + chip["width"] <= main["x"] + main["width"] + 0.5
        assert page.locator("html").evaluate(whole)
    assert page.evaluate("document.getAnimations().length") == 0  # the browser requests reduced motion
