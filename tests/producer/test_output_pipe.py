"""The pipe between an agent and its reader."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.recorded import of
from workcast.events.models import ResponseComplete
from workcast.producer.runner import run_agent

from .conftest import Sink

HASTY = """
import json, os
line = {"type": "message", "role": "assistant", "content": "x" * 900_000}
os.set_blocking(1, False)
os.write(1, json.dumps(line).encode() + b"\\n" + b'{"type":"result","status":"success"}\\n')
"""
"""Node does not wait for its reader either; what does not fit into the pipe is lost with the process."""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a pipe be widened")
async def test_an_agent_that_does_not_wait_for_its_reader_loses_nothing(
    tmp_path: Path, sink: Sink, fake_agent: Callable[[str, str], dict[str, str]]
) -> None:
    ended = await run_agent(
        "gemini", "Talk.", workcell_dir=tmp_path / "cell", cwd=tmp_path, writer=sink, env=fake_agent("gemini", HASTY)
    )
    assert ended.status == "success"
    assert [len(event.content) for event in of(ResponseComplete, sink.events)] == [900_000]
