"""The timeline as the page shows it, to be compared with the log."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

_READ = """() => {
  const timeline = document.querySelector('[data-testid=timeline]');
  const items = [...document.querySelectorAll('[data-testid=item]')].map((item) => ({
    kind: item.dataset.kind, offset: Number(item.dataset.offset), text: item.innerText,
  }));
  return { ...timeline.dataset, items };
}"""


@dataclass(frozen=True)
class Item:
    kind: str
    offset: int
    text: str


@dataclass(frozen=True)
class Timeline:
    """The page's window over the log, and the items that it draws."""

    epoch: int
    lo: int
    hi: int
    head: int
    live: bool
    items: tuple[Item, ...]

    def kinds(self) -> list[str]:
        return [item.kind for item in self.items]

    def of(self, kind: str) -> list[Item]:
        return [item for item in self.items if item.kind == kind]


def read(page: Page) -> Timeline:
    """Return the timeline as it is drawn now."""
    seen: dict[str, Any] = page.evaluate(_READ)
    return Timeline(
        epoch=int(seen["epoch"]),
        lo=int(seen["lo"]),
        hi=int(seen["hi"]),
        head=int(seen["head"]),
        live=seen["live"] == "true",
        items=tuple(Item(**item) for item in seen["items"]),
    )


def wait_for(page: Page, *, head: int) -> Timeline:
    """Wait until the timeline is live and shows everything up to ``head``; return it."""
    page.wait_for_selector(f'[data-testid=timeline][data-live=true][data-hi="{head}"][data-head="{head}"]')
    return read(page)


def events(path: Path) -> list[dict[str, Any]]:
    """Return the events of a log."""
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def numbered(count: int, start: int = 0) -> list[bytes]:
    """Return events that are one item each."""
    complete = b'{"type":"response_complete","timestamp":"2026-01-01T00:00:00Z","content":"chunk %d","message_id":"%d"}'
    return [complete % (number, number) for number in range(start, start + count)]
