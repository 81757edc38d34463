"""What the tests of the producer share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from workcast.broker.event import BaseEvent


class Sink:
    """A writer that keeps the events, and lets a test wait for one."""

    def __init__(self) -> None:
        self.events: list[BaseEvent] = []
        self.watch: Callable[[BaseEvent], None] = lambda _: None

    def write(self, event: BaseEvent) -> None:
        """Keep the event."""
        self.events.append(event)
        self.watch(event)

    @property
    def types(self) -> list[str]:
        """The types of the events, in order."""
        return [event.type for event in self.events]


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def fake_claude(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """Writes a Python program that is found as ``claude``; answers the environment to run it in."""

    def write(source: str) -> dict[str, str]:
        program = tmp_path / "bin" / "claude"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!{sys.executable} -IS\n{source}")
        program.chmod(0o755)
        return {"PATH": f"{program.parent}:{os.defpath}", "LANG": "C.UTF-8"}

    return write
