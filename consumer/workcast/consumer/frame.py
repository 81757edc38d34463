"""Frames: ``events`` messages made of the lines' own bytes, built once and sent to every viewer at that position."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Frame:
    """The events from ``offset`` up to ``end``, and the message that carries them."""

    offset: int
    end: int
    lines: tuple[bytes, ...]
    text: str


def build_frame(workcell: str, epoch: int, offset: int, head: int, lines: Sequence[bytes]) -> Frame:
    """One message for all of ``lines``, which are valid JSON objects already (see ``wire``) and are not looked into."""
    start = f'{{"op":"events","workcell":{json.dumps(workcell)},"epoch":{epoch},"offset":{offset},"head":{head}'
    text = f'{start},"events":[{b",".join(lines).decode()}]}}'
    return Frame(offset, offset + len(lines), tuple(lines), text)


def split(lines: Sequence[bytes], max_bytes: int) -> Iterator[Sequence[bytes]]:
    """Cut ``lines`` into runs of at most ``max_bytes`` (with a comma each), or of one line that is longer."""
    start = size = 0
    for at, line in enumerate(lines):
        if at > start and size + len(line) + 1 > max_bytes:
            yield lines[start:at]
            start, size = at, 0
        size += len(line) + 1
    if start < len(lines):
        yield lines[start:]
