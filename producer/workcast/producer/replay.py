"""Plays a recording of an agent through its adapter, at its original pace."""

from __future__ import annotations

import asyncio
import json
import re
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate, count
from pathlib import Path
from typing import Final

from workcast.events.cut_line import CutLine, size_of
from workcast.events.models import BaseEvent, Completed
from workcast.events.timestamp import now
from workcast.producer.adapters import adapter_for
from workcast.producer.adapters.base import Command, Exit, milliseconds_between
from workcast.producer.errors import RecordingError
from workcast.producer.fields import as_list, as_object, get_list, get_number, get_text
from workcast.producer.lines import LineSplitter
from workcast.producer.recorder import EventSink
from workcast.producer.runner import RunResult

RECORDINGS: Final = Path(__file__).parent / "recordings"
"""The recordings that workcast includes."""
CANCELLED: Final = 128 + 15
"""The exit code of a replay that is cancelled: that of an agent ended by SIGTERM."""

_IDS: Final = re.compile(rb'"((?:toolu|msg)_[A-Za-z0-9]+)"')
"""The ids of Claude Code that name a call or a message."""


@dataclass(frozen=True, slots=True)
class TimedLine:
    """A line and its time."""

    due: float
    """Seconds since the start."""
    line: bytes


@dataclass(frozen=True, slots=True)
class Recording:
    """An agent's output with its times, and how the agent ended."""

    name: str
    agent: str
    command: Command
    lines: tuple[TimedLine, ...]
    exit: Exit

    @classmethod
    def load(cls, path: Path) -> Recording:
        """Read ``NAME.jsonl`` with ``NAME.timing.json`` and ``NAME.meta.json`` beside it.

        Raises:
            RecordingError: one of the three is missing or cannot be read.
        """
        try:
            output = path.read_bytes()
            timing: object = json.loads(path.with_suffix(".timing.json").read_bytes())
            meta = as_object(json.loads(path.with_suffix(".meta.json").read_bytes()))
        except (OSError, ValueError) as error:
            raise RecordingError(f"expected {path} with its .timing.json and .meta.json; {error}") from error
        agent, code, duration = get_text(meta, "tool"), meta.get("exit_code"), get_number(meta, "duration_s")
        if agent is None or not isinstance(code, int) or duration is None:
            raise RecordingError(f"expected 'tool', 'exit_code' and 'duration_s' in {path.with_suffix('.meta.json')}")
        exit_ = Exit(128 - code if code < 0 else code, duration_ms=round(duration * 1000))
        command = Command(tuple(word for word in get_list(meta, "argv") if isinstance(word, str)))
        return cls(path.stem, agent, command, tuple(_timed(output, _pieces(timing))), exit_)


def recordings(folder: Path = RECORDINGS) -> list[Path]:
    """Return the recordings in a folder, by name."""
    return sorted(path for path in folder.glob("*.jsonl") if path.with_suffix(".meta.json").exists())


async def replay(
    recording: Recording,
    writer: EventSink,
    *,
    prompt: str,
    speed: float = 1.0,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    clock: Callable[[], datetime] = now,
) -> RunResult:
    """Write the recorded run as if it happened now: ``prompt_sent`` first, ``completed`` last.

    A replay that is cancelled completes too, as ``cancelled``.

    Args:
        recording: what to play.
        writer: gets the events.
        prompt: for ``prompt_sent``.
        speed: 2.0 plays in half the time.
        sleep: waits for a number of seconds.
        clock: returns the current time.
    """
    stage = _Stage(recording, writer, speed, sleep, clock)
    with stage.run(prompt):
        await stage.play(recording.lines)
    return stage.finish(recording.exit)


async def converse(
    recording: Recording,
    writer: EventSink,
    *,
    prompt: str,
    go_on: Callable[[], bool],
    pause: float,
    speed: float = 1.0,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    clock: Callable[[], datetime] = now,
) -> RunResult:
    """Play the recording round after round as the turns of one run, which completes once ``go_on`` returns False.

    A Claude Code that is kept open prints the lines of each turn in this way, ``init`` and ``result`` included, but
    with new ids: see :func:`relabel`. It is cancelled like :func:`replay`.

    Args:
        recording: the turn to play; of Claude Code, because the others end with their first turn.
        writer: gets the events.
        prompt: for ``prompt_sent``, which is sent once.
        go_on: returns, after each round, whether to play another.
        pause: seconds between two rounds, at speed 1.
        speed: 2.0 plays in half the time.
        sleep: waits for a number of seconds.
        clock: returns the current time.

    Raises:
        RecordingError: the recording is of another agent.
    """
    if recording.agent != "claude":
        raise RecordingError(f"expected a recording of claude to play as a conversation, got one of {recording.agent}")
    stage = _Stage(recording, writer, speed, sleep, clock)
    with stage.run(prompt):
        for number in count(1):
            await stage.play([TimedLine(timed.due, relabel(timed.line, number)) for timed in recording.lines])
            if not go_on():
                break
            await stage.wait(pause)
    return stage.finish(recording.exit)


def relabel(line: bytes, number: int) -> bytes:
    """Return a line of Claude Code as it would be in turn ``number`` of a conversation; unchanged for the first.

    Calls and messages have other ids in each turn: ``"toolu_1"`` becomes ``"toolu_1.2"`` in the second one, wherever
    it occurs, so that calls, results and sub-agents still match. The rest of the line is unchanged.
    """
    if number == 1:
        return line
    data = _IDS.sub(rb'"\1.%d"' % number, line)
    return CutLine(data, line.size + len(data) - len(line)) if isinstance(line, CutLine) else data


class _Stage:
    """The adapter, the writer and the time of one played run."""

    def __init__(
        self,
        recording: Recording,
        writer: EventSink,
        speed: float,
        sleep: Callable[[float], Awaitable[object]],
        clock: Callable[[], datetime],
    ) -> None:
        self._adapter = adapter_for(recording.agent)(recording.command)
        self._writer, self._speed, self._sleep, self._clock = writer, speed, sleep, clock

    @contextmanager
    def run(self, prompt: str) -> Generator[None]:
        """Begin with the prompt; if the context is cancelled, complete the run as cancelled."""
        began = self._clock()
        _write_all(self._writer, self._adapter.begin(prompt, began))
        try:
            yield
        except asyncio.CancelledError:
            self.finish(Exit(CANCELLED, "cancelled", milliseconds_between(began, self._clock())))
            raise

    async def play(self, lines: Sequence[TimedLine]) -> None:
        """Play one turn."""
        played = 0.0
        for timed in lines:
            await self.wait(timed.due - played)
            played = timed.due
            _write_all(self._writer, self._adapter.feed(timed.line, self._clock()))

    async def wait(self, seconds: float) -> None:
        """Wait for a span of recorded time."""
        await self._sleep(seconds / self._speed)

    def finish(self, exit_: Exit) -> RunResult:
        """Complete the run."""
        ending = self._adapter.end(exit_, self._clock())
        _write_all(self._writer, ending)
        completed = next(event for event in ending if isinstance(event, Completed))
        return RunResult(completed.status, exit_.exit_code, exit_.duration_ms or 0)


def _write_all(writer: EventSink, events: Sequence[BaseEvent]) -> None:
    for event in events:
        writer.write(event)


def _pieces(timing: object) -> list[tuple[float, int]]:
    """``[[seconds since the start, bytes], …]``"""
    pieces: list[tuple[float, int]] = []
    for piece in map(as_list, as_list(timing)):
        match piece:
            case [int() | float() as seconds, int() as size]:
                pieces.append((seconds, size))
            case _:
                raise RecordingError(f"expected [seconds, bytes] in the timing, got {piece!r}")
    return pieces


def _timed(output: bytes, pieces: Sequence[tuple[float, int]]) -> list[TimedLine]:
    """Return each line with the time of the piece that held its end.

    The paths in recordings were rewritten after the pieces had been measured, so positions are scaled to fit; the
    difference of a few bytes is less than any line, so no line gets another's time.
    """
    ends = list(accumulate(size for _, size in pieces))
    total = ends[-1] if ends else 0
    scale, slack = total / max(1, len(output)), abs(total - len(output))
    splitter = LineSplitter()
    lines = [*splitter.feed(output), *splitter.drain()]
    timed: list[TimedLine] = []
    position = 0
    for line in lines:
        position = min(position + size_of(line) + 1, len(output))
        piece = min(bisect_left(ends, position * scale - slack), len(pieces) - 1)
        timed.append(TimedLine(pieces[piece][0] if pieces else 0.0, line))
    return timed
