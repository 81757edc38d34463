"""The recordings of real agents, and the events that the adapters produce from them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

from workcast.events.models import BaseEvent
from workcast.producer.adapters import adapter_for
from workcast.producer.adapters.base import Command, Exit
from workcast.producer.replay import Recording, recordings

START: Final = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
"""The time at which tests let recordings begin."""
RECORDED: Final = {
    path.stem: Recording.load(path)
    for path in (*recordings(), *recordings(Path(__file__).parent.parent / "recordings"))
}
"""By name: the recordings in the package, and those only for tests."""
BY_AGENT: Final[Mapping[str, Mapping[str, Recording]]] = {
    agent: {name.split("-", 2)[2]: recording for name, recording in RECORDED.items() if recording.agent == agent}
    for agent in ("claude", "codex", "gemini", "opencode")
}
"""By agent and scenario."""
CLAUDE, CODEX, GEMINI, OPENCODE = BY_AGENT.values()

E = TypeVar("E", bound=BaseEvent)


def line(**fields: Any) -> bytes:
    """Return a line as an agent prints it: one JSON object."""
    return json.dumps(fields).encode()


def events_from(
    agent: str, lines: Iterable[bytes], exit_: Exit | None = None, command: Command | None = None
) -> list[BaseEvent]:
    """Return the events that an agent's adapter produces from lines one millisecond apart."""
    adapter = adapter_for(agent)(command)
    events: list[BaseEvent] = []
    at = START
    for line in lines:
        at += timedelta(milliseconds=1)
        events += adapter.feed(line, at)
    return [*events, *adapter.end(exit_ or Exit(0), at + timedelta(milliseconds=1))]


def claude_events(lines: Iterable[bytes], exit_: Exit | None = None) -> list[BaseEvent]:
    """Return the events that Claude Code's adapter produces from lines."""
    return events_from("claude", lines, exit_)


def recorded_events(recording: Recording) -> list[BaseEvent]:
    """Return the events that the adapter produces from a recording, at the recorded times."""
    adapter = adapter_for(recording.agent)(recording.command)
    events: list[BaseEvent] = []
    for timed in recording.lines:
        events += adapter.feed(timed.line, START + timedelta(seconds=timed.due))
    over = START + timedelta(milliseconds=recording.exit.duration_ms or 0)
    return [*events, *adapter.end(recording.exit, over)]


def of(kind: type[E], events: Sequence[BaseEvent]) -> list[E]:
    """Return the events of one class."""
    return [event for event in events if isinstance(event, kind)]
