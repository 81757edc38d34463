from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from support.recorded import CLAUDE, CODEX, RECORDED, START, of, recorded_events
from workcast.events.codec import dump
from workcast.events.cut_line import CutLine, size_of
from workcast.events.models import (
    Completed,
    PromptSent,
    ResponseComplete,
    Started,
    ToolCall,
    ToolResult,
    Unknown,
    UsageEvent,
)
from workcast.producer.errors import RecordingError
from workcast.producer.replay import CANCELLED, RECORDINGS, Recording, converse, recordings, relabel, replay

from .conftest import Sink, stop_at


class Clock:
    """A clock that advances only by sleeps."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.slept.append(seconds)


def timings(recording: Recording, folder: Path) -> list[tuple[float, int]]:
    return [(at, size) for at, size in json.loads((folder / f"{recording.name}.timing.json").read_text())]


@pytest.mark.parametrize("name", RECORDED)
async def test_a_replay_writes_the_events_of_the_run_at_its_pace(name: str, sink: Sink) -> None:
    recording, clock = RECORDED[name], Clock()
    ended = await replay(recording, sink, prompt="Again.", sleep=clock.sleep, clock=lambda: START)
    first, *played = sink.events
    assert isinstance(first, PromptSent)
    # Gemini's echo of the prompt is an event of its own where the prompt is not known already.
    expected = [event.type for event in recorded_events(recording) if not isinstance(event, PromptSent)]
    assert [event.type for event in played] == expected
    assert sum(clock.slept) == pytest.approx(recording.lines[-1].due)
    assert (ended.exit_code, ended.duration_ms) == (recording.exit.exit_code, recording.exit.duration_ms)
    assert json.loads(dump(played[-1]))["status"] == ended.status


async def test_a_faster_replay_sleeps_less(sink: Sink) -> None:
    clock = Clock()
    await replay(CLAUDE["basic"], sink, prompt="Again.", speed=4.0, sleep=clock.sleep)
    assert sum(clock.slept) == pytest.approx(CLAUDE["basic"].lines[-1].due / 4)


async def test_a_replay_that_is_cancelled_closes_its_calls_and_completes(sink: Sink) -> None:
    in_a_call = stop_at(sink, "tool_call")
    playing = asyncio.ensure_future(replay(CLAUDE["tools"], sink, prompt="Again."))
    await in_a_call.wait()
    playing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await playing
    (call,), (closed,) = of(ToolCall, sink.events), of(ToolResult, sink.events)
    assert closed.call_id == call.call_id
    completed = sink.events[-1]
    assert isinstance(completed, Completed)
    assert (completed.status, completed.exit_code) == ("cancelled", CANCELLED)


CONVERSABLE = {name: recording for name, recording in CLAUDE.items() if recording.exit.exit_code == 0}


@pytest.mark.parametrize("name", CONVERSABLE)
async def test_a_conversation_is_one_run_however_many_rounds_it_has(name: str, sink: Sink) -> None:
    recording, clock, rounds = CONVERSABLE[name], Clock(), iter([True, True, False])
    ended = await converse(
        recording, sink, prompt="Watch.", go_on=lambda: next(rounds), pause=5.0, sleep=clock.sleep, clock=lambda: START
    )
    once, events = recorded_events(recording), sink.events
    assert [event.type for event in events if event.type in {"prompt_sent", "started", "completed"}] == [
        "prompt_sent", "started", "completed",
    ]  # fmt: skip
    repeated = [event.type for event in once if not isinstance(event, Started | Completed)]
    assert [event.type for event in events if event.type in repeated] == repeated * 3
    calls = [call.call_id for call in of(ToolCall, events)]
    assert len(calls) == len(set(calls)) == 3 * len(of(ToolCall, once))
    assert [result.call_id for result in of(ToolResult, events)] == [
        f"{result.call_id}{turn}" for turn in ("", ".2", ".3") for result in of(ToolResult, once)
    ]
    parents = {call.parent_call_id for call in of(ToolCall, events)} - {None}
    assert parents <= set(calls)
    assert len({event.message_id for event in of(ResponseComplete, events)}) == 3 * len(
        {event.message_id for event in of(ResponseComplete, once)}
    )
    assert len(of(Unknown, events)) == 3 * len(of(Unknown, once))
    assert sum(usage.usage.output_tokens for usage in of(UsageEvent, events)) == 3 * sum(
        usage.usage.output_tokens for usage in of(UsageEvent, once)
    )
    assert ended.status == of(Completed, once)[0].status
    assert sum(clock.slept) == pytest.approx(3 * recording.lines[-1].due + 2 * 5.0)


async def test_only_an_agent_that_can_be_kept_open_converses(sink: Sink) -> None:
    with pytest.raises(RecordingError, match="expected a recording of claude"):
        await converse(CODEX["basic"], sink, prompt="Watch.", go_on=lambda: False, pause=0)
    assert sink.events == []


@pytest.mark.parametrize(
    ("line", "third"),
    [
        (b'{"id":"toolu_ab12","of":["msg_1"]}', b'{"id":"toolu_ab12.3","of":["msg_1.3"]}'),
        (b'{"text":"toolu_1 and \\"msg_2\\", toolu_"}', b'{"text":"toolu_1 and \\"msg_2\\", toolu_"}'),
        (b'{"session_id":"c5","uuid":"msg-1"}', b'{"session_id":"c5","uuid":"msg-1"}'),
    ],
)
def test_relabelling_changes_the_ids_of_calls_and_messages_and_nothing_else(line: bytes, third: bytes) -> None:
    assert relabel(line, 1) == line
    assert relabel(line, 3) == third
    cut = relabel(CutLine(line, 1000), 3)
    assert (cut, size_of(cut)) == (third, 1000 + len(third) - len(line))


@pytest.mark.parametrize("path", recordings(), ids=lambda path: path.stem)
def test_a_line_is_due_at_the_time_of_the_piece_that_ended_it(path: Path) -> None:
    recording = Recording.load(path)
    pieces = timings(recording, RECORDINGS)
    dues = [timed.due for timed in recording.lines]
    assert dues == sorted(dues)
    assert set(dues) <= {at for at, _ in pieces}
    if len(pieces) == len(dues):  # one write a line: nothing to guess
        assert dues == [at for at, _ in pieces]


def test_the_package_contains_the_recordings_of_the_demo() -> None:
    assert [path.stem for path in recordings()] == [
        "claude-2.1.330-badtool", "claude-2.1.330-basic", "claude-2.1.330-e529", "claude-2.1.330-flaky",
        "claude-2.1.330-hangtext-sigterm", "claude-2.1.330-nasty", "claude-2.1.330-subagent-foreground",
        "claude-2.1.330-tools", "codex-0.169.0-basic", "codex-0.169.0-nasty", "codex-0.169.0-tools",
        "gemini-0.61.0-basic", "gemini-0.61.0-tools", "opencode-1.18.33-basic", "opencode-1.18.33-tools",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("timing", "meta"),
    [
        (None, {"tool": "claude", "exit_code": 0, "duration_s": 1}),
        ([[0, 1]], None),
        ([[0, 1]], {"tool": "claude"}),
        ([[0]], {"tool": "claude", "exit_code": 0, "duration_s": 1}),
    ],
)
def test_an_incomplete_recording_is_refused(tmp_path: Path, timing: object, meta: object) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"{}\n")
    if timing is not None:
        path.with_suffix(".timing.json").write_text(json.dumps(timing))
    if meta is not None:
        path.with_suffix(".meta.json").write_text(json.dumps(meta))
    with pytest.raises(RecordingError, match="expected"):
        Recording.load(path)
