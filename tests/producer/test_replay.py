from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.recorded import CLAUDE, RECORDED, START, recorded_events
from workcast.broker.event import PromptSent, dump
from workcast.producer.errors import RecordingError
from workcast.producer.replay import RECORDINGS, Recording, recordings, replay

from .conftest import Sink


class Clock:
    """A clock that goes on only when somebody sleeps."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.slept.append(seconds)


def timings(recording: Recording, folder: Path) -> list[tuple[float, int]]:
    return [(at, size) for at, size in json.loads((folder / f"{recording.name}.timing.json").read_text())]


@pytest.mark.parametrize("name", RECORDED)
async def test_a_replay_writes_what_the_run_wrote_and_takes_as_long(name: str, sink: Sink) -> None:
    recording, clock = RECORDED[name], Clock()
    ended = await replay(recording, sink, prompt="Again.", sleep=clock.sleep, clock=lambda: START)
    first, *played = sink.events
    assert isinstance(first, PromptSent)
    expected = recorded_events(recording)
    assert [event.type for event in played] == [event.type for event in expected]
    assert sum(clock.slept) == pytest.approx(recording.lines[-1].due)
    assert (ended.exit_code, ended.duration_ms) == (recording.exit.exit_code, recording.exit.duration_ms)
    assert json.loads(dump(played[-1]))["status"] == ended.status


async def test_a_faster_replay_sleeps_less(sink: Sink) -> None:
    clock = Clock()
    await replay(CLAUDE["basic"], sink, prompt="Again.", speed=4.0, sleep=clock.sleep)
    assert sum(clock.slept) == pytest.approx(CLAUDE["basic"].lines[-1].due / 4)


@pytest.mark.parametrize("path", recordings(), ids=lambda path: path.stem)
def test_a_line_is_due_when_the_piece_came_that_ended_it(path: Path) -> None:
    recording = Recording.load(path)
    pieces = timings(recording, RECORDINGS)
    dues = [timed.due for timed in recording.lines]
    assert dues == sorted(dues)
    assert set(dues) <= {at for at, _ in pieces}
    if len(pieces) == len(dues):  # one write a line: nothing to guess
        assert dues == [at for at, _ in pieces]


def test_the_recordings_of_the_demo_come_with_the_package() -> None:
    assert [path.stem.replace("2.1.330-", "").replace("0.169.0-", "") for path in recordings()] == [
        "claude-badtool", "claude-basic", "claude-e529", "claude-flaky", "claude-hangtext-sigterm", "claude-nasty",
        "claude-subagent-foreground", "claude-tools", "codex-basic", "codex-nasty", "codex-tools",
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
def test_a_recording_that_lacks_something_says_so(tmp_path: Path, timing: object, meta: object) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"{}\n")
    if timing is not None:
        path.with_suffix(".timing.json").write_text(json.dumps(timing))
    if meta is not None:
        path.with_suffix(".meta.json").write_text(json.dumps(meta))
    with pytest.raises(RecordingError, match="expected"):
        Recording.load(path)
