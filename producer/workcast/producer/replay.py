"""Plays a recording of an agent through its adapter, at the pace at which it was made."""

from __future__ import annotations

import asyncio
import json
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from pathlib import Path
from typing import Final

from workcast.broker.event import BaseEvent, Completed, now
from workcast.producer.adapters import adapter_for
from workcast.producer.adapters.base import Adapter, Command, Exit, read_line
from workcast.producer.adapters.fields import as_list, as_object, get_list, get_number, get_text
from workcast.producer.errors import RecordingError
from workcast.producer.lines import Line, LineSplitter
from workcast.producer.runner import EventSink, RunResult

RECORDINGS: Final = Path(__file__).parent / "recordings"
"""The recordings that come with workcast."""


@dataclass(frozen=True, slots=True)
class TimedLine:
    """A line and when it came."""

    due: float
    """Seconds since the start."""
    line: Line


@dataclass(frozen=True, slots=True)
class Recording:
    """What an agent printed, when, and how it ended."""

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
    """The recordings in a folder, by name."""
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

    Args:
        recording: what to play.
        writer: gets the events.
        prompt: what ``prompt_sent`` is to say.
        speed: 2.0 plays in half the time.
        sleep: waits for so many seconds.
        clock: what time it is.
    """
    adapter = adapter_for(recording.agent)(recording.command)
    _write_all(writer, adapter.begin(prompt, clock()))
    played = 0.0
    for timed in recording.lines:
        await sleep((timed.due - played) / speed)
        played = timed.due
        _write_all(writer, read_line(adapter, timed.line, clock()))
    return _finish(adapter, writer, recording.exit, clock())


def _finish(adapter: Adapter, writer: EventSink, exit_: Exit, at: datetime) -> RunResult:
    ending = adapter.end(exit_, at)
    _write_all(writer, ending)
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
    """Each line is due when the piece came that held its end.

    Recordings have had their paths rewritten after the pieces were measured, so positions are scaled to fit; the
    few bytes of difference are less than any line, so none is taken for another's.
    """
    ends = list(accumulate(size for _, size in pieces))
    total = ends[-1] if ends else 0
    scale, slack = total / max(1, len(output)), abs(total - len(output))
    splitter = LineSplitter()
    lines = [*splitter.feed(output), *splitter.drain()]
    timed: list[TimedLine] = []
    position = 0
    for line in lines:
        position = min(position + line.size + 1, len(output))
        piece = min(bisect_left(ends, position * scale - slack), len(pieces) - 1)
        timed.append(TimedLine(pieces[piece][0] if pieces else 0.0, line))
    return timed
