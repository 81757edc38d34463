"""The output of any command as events: the adapter alone, then with real commands."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.recorded import START, events_from, of
from workcast.events.models import BaseEvent, BashCommand, BashOutput, Completed, ErrorEvent, Started
from workcast.producer.adapters.base import Command, Exit
from workcast.producer.adapters.exec import HOLD, MAX_CHARS, ExecAdapter
from workcast.producer.adapters.output import STREAMS, Stream
from workcast.producer.errors import AgentNotInstalledError
from workcast.producer.runner import RunResult, run_agent

from .conftest import Sink, stop_at

Execute = Callable[..., Awaitable[RunResult]]
MOMENT = timedelta(milliseconds=1)


def output(events: Sequence[object]) -> list[tuple[str | None, str]]:
    return [(event.stream, event.output) for event in events if isinstance(event, BashOutput)]


@given(st.lists(st.tuples(st.binary(max_size=40) | st.just(b"x" * 20_000), st.sampled_from(STREAMS))))
def test_the_outputs_of_a_stream_joined_are_all_that_was_written_to_it(pieces: list[tuple[bytes, Stream]]) -> None:
    adapter, at = ExecAdapter(), START
    events: list[BaseEvent] = []
    for piece, stream in pieces:
        at += timedelta(milliseconds=30)
        events += adapter.feed_output(piece, stream, at)
    events += adapter.end(Exit(0), at)
    for stream in STREAMS:
        written = b"".join(piece for piece, name in pieces if name == stream)
        assert "".join(text for name, text in output(events) if name == stream) == written.decode(errors="replace")
    assert all(0 < len(text) <= MAX_CHARS for _, text in output(events))


def test_a_command_that_writes_byte_by_byte_makes_few_events() -> None:
    adapter, at = ExecAdapter(), START
    events: list[BaseEvent] = []
    for _ in range(1000):
        at += MOMENT
        events += adapter.feed_output(b".", "stdout", at)
        events += adapter.flush_output(at)
    events += adapter.end(Exit(0), at)
    assert len(output(events)) <= 11


def test_held_output_is_emitted_in_time_though_nothing_follows() -> None:
    adapter = ExecAdapter()
    assert adapter.due is None
    assert adapter.feed_output(b"Password: ", "stderr", START) == []
    assert adapter.due == START + HOLD
    assert adapter.flush_output(START + HOLD - MOMENT) == []
    assert output(adapter.flush_output(START + HOLD)) == [("stderr", "Password: ")]
    assert adapter.due is None


def test_the_streams_are_emitted_in_the_order_in_which_they_came() -> None:
    adapter = ExecAdapter()
    events = [
        *adapter.feed_output(b"1\n", "stdout", START),
        *adapter.feed_output(b"2\n", "stdout", START),
        *adapter.feed_output(b"oh\n", "stderr", START),
        *adapter.feed_output(b"3\n", "stdout", START),
        *adapter.end(Exit(0), START),
    ]
    assert output(events) == [("stdout", "1\n2\n"), ("stderr", "oh\n"), ("stdout", "3\n")]


def test_a_flood_is_cut_after_whole_lines() -> None:
    adapter = ExecAdapter()
    events = adapter.feed_output(b"a line of the flood\n" * 5000, "stdout", START)
    assert len(events) >= 5
    assert all(text.endswith("\n") for _, text in output(events))


def test_colours_are_kept_and_invalid_text_is_replaced() -> None:
    adapter = ExecAdapter()
    adapter.feed_output("\x1b[31mž".encode()[:-1], "stdout", START)
    adapter.feed_output("ž\x1b[0m".encode()[1:] + b"\xff\0", "stdout", START)
    assert output(adapter.end(Exit(0), START)) == [("stdout", "\x1b[31mž\x1b[0m\ufffd\0")]


@pytest.mark.parametrize(
    ("exit_", "status"),
    [
        (Exit(0), "success"),
        (Exit(None), "success"),
        (Exit(2), "failed"),
        (Exit(137), "failed"),
        (Exit(143), "cancelled"),
        (Exit(143, "timeout"), "timeout"),
        (Exit(0, "cancelled"), "cancelled"),
    ],
)
def test_the_exit_code_decides(exit_: Exit, status: str) -> None:
    completed = of(Completed, events_from("exec", [], exit_))
    assert [(event.status, event.exit_code) for event in completed] == [(status, exit_.exit_code)]


def test_lines_from_a_file_are_output_too() -> None:
    events = events_from("exec", [b"one", b"two"])
    assert output(events) == [("stdout", "one\ntwo\n")]
    assert events[-1].type == "completed"


def test_a_command_is_shown_as_typed() -> None:
    command = ExecAdapter.command("two words", ["grep", "-r"])
    begun = ExecAdapter(command).begin("two words", START)
    assert [event.command for event in of(BashCommand, begun)] == ["grep -r 'two words'"]
    assert command == Command(("grep", "-r", "two words"))


# ── with real commands ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def execute(tmp_path: Path, sink: Sink) -> Execute:
    def run(*words: str, **how: Any) -> Awaitable[RunResult]:
        place = tmp_path / "cell"
        return run_agent("exec", words[-1], options=words[:-1], workcell_dir=place, cwd=tmp_path, writer=sink, **how)

    return run


async def test_a_command_runs_from_its_words_to_its_exit_code(execute: Execute, sink: Sink, tmp_path: Path) -> None:
    ended = await execute("sh", "-c", "echo out; echo err >&2; exit 3")
    assert (ended.status, ended.exit_code) == ("failed", 3)
    assert sink.types[:2] == ["bash_command", "started"]
    assert sink.types[-1] == "completed"
    assert sorted(output(sink.events)) == [("stderr", "err\n"), ("stdout", "out\n")]
    assert of(ErrorEvent, sink.events) == []  # its exit code and its stderr contain it
    (command,) = of(BashCommand, sink.events)
    assert {event.call_id for event in of(BashOutput, sink.events)} == {command.call_id}
    assert [event.toolchain for event in of(Started, sink.events)] == ["exec"]
    logs = {path.suffix: path.read_bytes() for path in (tmp_path / "cell" / "logs").iterdir()}
    assert logs == {".stdout": b"out\n", ".stderr": b"err\n"}
    assert not (tmp_path / "cell" / "prompt.md").exists()


async def test_output_is_emitted_while_the_command_runs(execute: Execute, sink: Sink) -> None:
    ended = await execute("sh", "-c", "printf 'no newline'; sleep 600", stop=stop_at(sink, "bash_output"))
    assert ended.status == "cancelled"
    assert output(sink.events) == [("stdout", "no newline")]


async def test_output_is_emitted_though_the_other_stream_is_closed(execute: Execute, sink: Sink) -> None:
    ended = await execute("sh", "-c", "exec 2>&-; echo on; sleep 600", stop=stop_at(sink, "bash_output"))
    assert ended.status == "cancelled"


async def test_a_flood_arrives_whole(execute: Execute, sink: Sink) -> None:
    assert (await execute("seq", "1", "200000")).status == "success"
    assert "".join(text for _, text in output(sink.events)) == "".join(f"{n}\n" for n in range(1, 200_001))


async def test_an_empty_last_argument_is_passed_on(execute: Execute, sink: Sink) -> None:
    assert (await execute("printf", "[%s]", "")).status == "success"
    assert output(sink.events) == [("stdout", "[]")]


async def test_what_a_command_leaves_behind_ends_with_it(execute: Execute, sink: Sink) -> None:
    source = "import subprocess; print(subprocess.Popen(['sleep', '600'], start_new_session=True).pid)"
    assert (await execute(sys.executable, "-c", source)).status == "success"
    (pid,) = [int(text) for _, text in output(sink.events)]
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


async def test_a_script_is_found_where_it_will_run(execute: Execute, sink: Sink, tmp_path: Path) -> None:
    script = tmp_path / "hello.sh"
    script.write_text("#!/bin/sh\npwd\n")
    script.chmod(0o755)
    assert (await execute("./hello.sh")).status == "success"
    assert output(sink.events) == [("stdout", f"{tmp_path}\n")]


@pytest.mark.parametrize("name", ["./no-such-script", "no-such-program", f"{os.devnull}"])
async def test_a_missing_command_leaves_no_trace(execute: Execute, tmp_path: Path, name: str) -> None:
    with pytest.raises(AgentNotInstalledError, match="expected the program"):
        await execute(name)
    assert not (tmp_path / "cell").exists()
