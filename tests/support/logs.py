"""Logs for tests, written as another program might write them."""

from __future__ import annotations

import json
from pathlib import Path

from workcast.broker.root import Root


def event_line(number: int, text: str = "") -> bytes:
    """Return a valid event, different for each number."""
    event = {"type": "response_chunk", "timestamp": "2026-01-01T00:00:00.000Z", "content": text or f"chunk {number}"}
    return json.dumps(event).encode()


def write_log(root: Root, workcell: str, lines: list[bytes], mode: str = "ab") -> Path:
    """Append complete lines to a workcell's log (mode ``wb``: replace its content in place)."""
    path = root.log(workcell)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open(mode) as file:
        file.write(b"".join(line + b"\n" for line in lines))
    return path
