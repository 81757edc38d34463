"""The page over a real gateway: following, scrolling back, permalinks, replaced logs, hostile text."""

from __future__ import annotations

import asyncio
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from playwright.sync_api import Page, Request, Route, WebSocket, expect

from support.logs import write_log
from support.processes import Up
from support.waiting import wait_until
from workcast.broker.root import Root
from workcast.producer import TelemetryWriter
from workcast.producer.replay import RECORDINGS, Recording, replay

from .conftest import Complaints
from .timeline import events, numbered, read, wait_for

pytestmark = pytest.mark.browser


def play(root: Root, workcell: str, recording: str) -> Path:
    """Replay a recorded run without its pauses."""

    async def no_wait(_: float) -> None:
        await asyncio.sleep(0)

    found = Recording.load(RECORDINGS / f"{recording}.jsonl")
    with (
        TelemetryWriter(root.log(workcell), {"workcell_id": workcell, "toolchain": "claude"}) as writer,
        ThreadPoolExecutor() as threads,  # Playwright's own event loop runs in this one
    ):
        threads.submit(asyncio.run, replay(found, writer, prompt="Do it.", sleep=no_wait)).result()
    return root.log(workcell)


_FIRST_IN_VIEW = """async () => {
  const top = document.querySelector('[data-testid=timeline]').getBoundingClientRect().top;
  const first = () => [...document.querySelectorAll('[data-testid=item]')]
    .find((row) => row.getBoundingClientRect().top > top);
  let row, place, still = 0;
  while (still < 20) { // scrolling by the wheel takes a few frames to settle
    const now = first(), at = now.getBoundingClientRect().top;
    still = now === row && at === place ? still + 1 : 0;
    [row, place] = [now, at];
    await new Promise(requestAnimationFrame);
  }
  return row.dataset.offset;
}"""


def test_the_fleet_shows_new_workcells_and_their_activity(page: Page, root: Root, up: Up) -> None:
    page.goto(up.url)
    for name in ("wc-b", "wc-a"):
        with TelemetryWriter(root.log(name), {"workcell_id": name}) as writer:
            writer.started("claude", "opus", "ISSUE-7")
            writer.bash_command("make test")
    card = page.locator('[data-workcell="wc-a"]')
    expect(card).to_contain_text("$ make test")
    expect(card).to_contain_text("ISSUE-7")
    expect(page.get_by_test_id("workcell-card")).to_have_count(2)
    with TelemetryWriter(root.log("wc-a"), {"workcell_id": "wc-a"}) as writer:
        writer.completed("failed", 3, 10)
    expect(card).to_have_attribute("data-status", "failed")


def test_answers_thinking_and_calls_grow_while_the_agent_works(page: Page, root: Root, up: Up) -> None:
    with TelemetryWriter(root.log("wc"), {"workcell_id": "wc"}) as writer:
        writer.response_complete("This **one** was there.", message_id="m0", block=0)
        page.goto(f"{up.url}/#/w/wc")
        expect(page.locator("[data-testid=item] strong")).to_have_text("one")  # Markdown is loaded by now
        for kind in ("answer", "thinking"):
            item = page.locator(f"[data-testid=item][data-kind={kind}]").last
            text = ""
            for piece in ("One ", "two ", "three "):
                text += piece
                if kind == "answer":
                    writer.response_chunk(piece, message_id="m1", block=0)
                else:
                    writer.thinking(piece, partial=True, message_id="m1", block=1)
                expect(item).to_contain_text(text.strip())
            if kind == "answer":
                writer.response_complete(text + "and the end.", message_id="m1", block=0)
                expect(item).to_contain_text("and the end.")
        writer.tool_call("Bash", {"command": "make"}, call_id="c1")
        writer.bash_command("make", call_id="c1")
        call = page.locator("[data-testid=item][data-kind=call]")
        expect(call).to_have_attribute("data-open", "true")
        writer.bash_output("all is well", 0, call_id="c1")
        writer.tool_result("Bash", "all is well", call_id="c1")
        expect(call).to_have_attribute("data-open", "false")
        expect(call).to_contain_text("all is well")


def test_a_run_whose_log_lacks_events_says_so_at_its_end(page: Page, root: Root, up: Up) -> None:
    with TelemetryWriter(root.log("wc"), {"workcell_id": "wc"}) as writer:
        writer.completed("success", 0, 10, unwritten_events=1234)
    page.goto(f"{up.url}/#/w/wc")
    outcome = page.locator("[data-testid=item][data-kind=outcome]")
    expect(outcome).to_contain_text("1,234 events could not be written")


def test_a_panel_closes_by_escape_back_and_a_click_outside(page: Page, root: Root, up: Up) -> None:
    write_log(root, "wc", numbered(3))
    page.goto(up.url)
    card = page.locator('[data-workcell="wc"]')
    timeline = page.get_by_test_id("timeline")
    for close in (
        lambda: page.keyboard.press("Escape"),
        page.go_back,
        lambda: page.mouse.click(20, 500),
    ):
        card.click()
        expect(timeline).to_be_visible()
        close()
        expect(timeline).to_have_count(0)


def test_a_long_log_opens_at_its_tail_with_a_bounded_window_and_scrolls_back_to_the_start(
    page: Page, root: Root, up: Up
) -> None:
    write_log(root, "wc", numbered(30_000))
    page.goto(f"{up.url}/#/w/wc")
    seen = wait_for(page, head=30_000)
    assert seen.hi - seen.lo <= 6_000  # it was opened while the log was being relayed
    assert len(seen.items) < 200
    assert seen.items[-1].offset == 29_999
    page.get_by_test_id("timeline").focus()
    page.keyboard.press("Home")
    page.wait_for_selector('[data-testid=item][data-offset="0"]')
    seen = read(page)
    assert seen.hi - seen.lo <= 6_000
    write_log(root, "wc", numbered(5, 30_000))
    page.get_by_test_id("to-end").click()
    assert wait_for(page, head=30_005).items[-1].offset == 30_004


def test_a_view_scrolled_up_stays_in_place_and_counts_new_events(page: Page, root: Root, up: Up) -> None:
    write_log(root, "wc", numbered(300))
    page.goto(f"{up.url}/#/w/wc")
    wait_for(page, head=300)
    page.mouse.move(900, 500)
    page.mouse.wheel(0, -1500)
    expect(page.get_by_test_id("to-end")).to_be_visible()
    offset = page.evaluate(_FIRST_IN_VIEW)
    row = page.locator(f'[data-testid=item][data-offset="{offset}"]')
    place = row.bounding_box()
    write_log(root, "wc", numbered(40, 300))
    expect(page.get_by_test_id("to-end")).to_contain_text("40")
    assert row.bounding_box() == place
    page.get_by_test_id("to-end").click()
    assert wait_for(page, head=340).items[-1].offset == 339


def test_a_permalink_opens_the_log_at_its_offset(page: Page, root: Root, up: Up) -> None:
    write_log(root, "wc", numbered(20_000))
    page.goto(f"{up.url}/#/w/wc?o=7777")
    expect(page.locator('[data-testid=item][data-offset="7777"]')).to_be_in_viewport()
    expect(page.locator('[data-testid=item][data-offset="7777"]')).to_contain_text("chunk 7777")


def test_a_permalink_to_an_event_in_the_window_scrolls_to_it(page: Page, root: Root, up: Up) -> None:
    write_log(root, "wc", numbered(200))
    page.goto(f"{up.url}/#/w/wc")
    wait_for(page, head=200)
    for offset in (20, 150, 40):
        page.evaluate("offset => { location.hash = `#/w/wc?o=${offset}`; }", offset)
        expect(page.locator(f'[data-testid=item][data-offset="{offset}"]')).to_be_in_viewport()
    assert read(page).lo == 0


def test_of_two_quick_jumps_the_second_is_shown_even_if_the_first_is_answered_last(
    page: Page, root: Root, up: Up
) -> None:
    write_log(root, "wc", numbered(20_000))
    page.goto(f"{up.url}/#/w/wc")
    wait_for(page, head=20_000)
    held: list[Route] = []
    ended: list[Request] = []

    def hold_first(route: Route) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    def note(request: Request) -> None:
        ended.append(request)

    def has_ended() -> bool:
        page.evaluate("new Promise(requestAnimationFrame)")
        return held[0].request in ended

    page.on("requestfinished", note)
    page.on("requestfailed", note)
    page.route("**/api/workcells/wc/events?**", hold_first)
    page.evaluate("location.hash = '#/w/wc?o=5000'")
    wait_until(lambda: page.title() and held, what="the first request")
    page.evaluate("location.hash = '#/w/wc?o=12000'")
    row = page.locator('[data-testid=item][data-offset="12000"]')
    expect(row).to_be_in_viewport()
    second = read(page)
    held[0].continue_()
    wait_until(has_ended, what="the end of the first request")
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    expect(row).to_be_in_viewport()
    seen = read(page)
    assert (seen.lo, seen.hi) == (second.lo, second.hi)


def test_a_replaced_log_is_shown_from_its_start(page: Page, root: Root, up: Up) -> None:
    write_log(root, "wc", numbered(50))
    page.goto(f"{up.url}/#/w/wc")
    before = wait_for(page, head=50)
    root.log("wc").unlink()
    write_log(root, "wc", numbered(4, 900))
    seen = wait_for(page, head=4)
    assert seen.epoch != before.epoch
    assert [item.offset for item in seen.items] == [0, 1, 2, 3]
    assert "chunk 900" in seen.items[0].text


def test_lines_that_are_not_events_or_of_an_unknown_type_are_shown_raw(page: Page, root: Root, up: Up) -> None:
    write_log(root, "wc", [b"<b>rubbish</b>", b'{"type":"tomorrow","x":1}', b'{"type":"unknown","raw":"odd line"}'])
    page.goto(f"{up.url}/#/w/wc")
    seen = wait_for(page, head=3)
    assert [item.offset for item in seen.items] == [0, 1, 2]
    assert "tomorrow" in seen.items[1].text
    assert page.locator("[data-testid=item] b").count() == 0
    page.get_by_text("1 unknown line", exact=True).wait_for()


@pytest.mark.parametrize("recording", ["nasty", "tools", "subagent-foreground"])
def test_a_recorded_run_is_shown_completely_and_its_text_has_no_effect(
    page: Page, root: Root, up: Up, complaints: Complaints, recording: str
) -> None:
    page.set_viewport_size({"width": 1280, "height": 8000})
    path = play(root, "wc", f"claude-2.1.330-{recording}")
    lines = events(path)
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    page.goto(f"{up.url}/#/w/wc")
    seen = wait_for(page, head=len(lines))
    kinds = seen.kinds()
    assert kinds.count("call") == sum(line["type"] == "tool_call" for line in lines)
    assert kinds.count("answer") == sum(line["type"] == "response_complete" for line in lines)
    assert kinds.count("outcome") == 1
    assert dialogs == []
    assert [url for url in complaints.requests if not url.startswith(up.url)] == []
    foreign = "[...document.querySelectorAll('[data-testid=timeline] :is(img, iframe, object, embed, script, form)')]"
    assert page.evaluate(f"{foreign}.map((node) => node.outerHTML)") == []


def test_runs_with_the_same_message_ids_are_kept_apart(page: Page, root: Root, up: Up) -> None:
    page.set_viewport_size({"width": 1280, "height": 6000})
    play(root, "wc", "claude-2.1.330-basic")
    path = play(root, "wc", "claude-2.1.330-basic")
    page.goto(f"{up.url}/#/w/wc")
    seen = wait_for(page, head=len(events(path)))
    answers = [item.text for item in seen.of("answer")]
    assert len(answers) == 6
    assert "Done. I listed the directory" in answers[2]
    assert "and found that does-not-exist.txt is missing" in answers[5]


def test_a_silent_gateway_that_answers_probes_stays_live_and_one_that_is_stopped_does_not(
    page: Page, root: Root, up: Up
) -> None:
    frames: list[str | bytes] = []

    def note(frame: str | bytes) -> None:
        frames.append(frame)

    def watch(socket: WebSocket) -> None:
        socket.on("framesent", note)
        socket.on("framereceived", note)

    def step_until(op: str, count: int, step_ms: int) -> None:
        """Let the page's clock run in steps until so many frames with this op have passed."""

        def passed() -> bool:
            page.clock.run_for(step_ms)
            return frames.count(f'{{"op":"{op}"}}') >= count

        wait_until(passed, what=f"{count} x {op}")

    page.on("websocket", watch)
    page.clock.install()
    page.goto(up.url)
    connection = page.get_by_test_id("connection")
    expect(connection).to_have_attribute("data-state", "open")
    for count in (1, 2):
        step_until("ping", count, 1_000)
        step_until("pong", count, 0)
    expect(connection).to_have_attribute("data-state", "open")
    os.kill(up.pid, signal.SIGSTOP)
    try:
        page.clock.run_for(20_000)
        expect(connection).not_to_have_attribute("data-state", "open")
    finally:
        os.kill(up.pid, signal.SIGCONT)
    expect(connection).to_have_attribute("data-state", "open")
