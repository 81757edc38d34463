"""``parse``: an adapter between stdin and stdout."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from io import FileIO
from pathlib import Path

from workcast.events.codec import dump
from workcast.events.errors import WorkcastError
from workcast.events.models import BaseEvent
from workcast.events.timestamp import now
from workcast.producer.adapters import adapter_for
from workcast.producer.adapters.base import Exit
from workcast.producer.lines import LineSplitter


class InputError(WorkcastError):
    """The agent's output cannot be read."""


def parse_output(agent: str, file: Path | None, exit_code: int | None) -> int:
    """Print the events of an agent's output, ``completed`` last; return how many lines match no rule.

    Raises:
        UnknownAgentError: no adapter has this name.
        InputError: the file cannot be read.
    """
    adapter, lines, unknown = adapter_for(agent)(), LineSplitter(), 0
    try:
        # Unbuffered: an event is printed as soon as its line is complete, not when a buffer is full.
        source = FileIO(str(file)) if file else FileIO(0, closefd=False)
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from error
    with source:
        while piece := source.read(1 << 16):
            for line in lines.feed(piece):
                unknown += _print(adapter.feed(line, now()))
    for line in lines.drain():
        unknown += _print(adapter.feed(line, now()))
    return unknown + _print(adapter.end(Exit(exit_code), now()))


def _print(events: Iterable[BaseEvent]) -> int:
    unknown = 0
    for event in events:
        unknown += event.type == "unknown"
        sys.stdout.buffer.write(dump(event) + b"\n")
    sys.stdout.buffer.flush()
    return unknown
