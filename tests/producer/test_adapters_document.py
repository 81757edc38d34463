"""The worked example of docs/adapters.md, extracted from there and run as an adapter."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workcast.events.models import BaseEvent, Completed, ToolCall, ToolResult, Unknown
from workcast.producer import TelemetryWriter, adapters, read_telemetry_events
from workcast.producer.adapters import adapter_for
from workcast.producer.adapters.base import Adapter, Exit
from workcast.producer.runner import run_agent

DOCUMENT = (Path(__file__).parents[2] / "docs" / "adapters.md").read_text()
LINES = [line.encode() for line in re.findall(r"^\{.*\}$", DOCUMENT, re.MULTILINE)]
MODULE, REGISTRATION = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
AT = datetime(2026, 1, 1, tzinfo=UTC)


def _registered() -> Mapping[str, type[Adapter]]:
    """Return the registry with the example's line added."""
    names: dict[str, Any] = {"__name__": "parrot"}
    exec(compile(MODULE, "docs/adapters.md", "exec"), names)
    return MappingProxyType({**adapters.ADAPTERS, **eval(f"{{{REGISTRATION}}}", names)})


REGISTRY = _registered()


def read(lines: list[bytes], exit_: Exit) -> list[BaseEvent]:
    adapter = REGISTRY["parrot"]()
    events = [event for line in lines for event in adapter.feed(line, AT)]
    return [*events, *adapter.end(exit_, AT), *adapter.end(exit_, AT)]


def test_the_examples_lines_become_events() -> None:
    events = read(LINES, Exit(0))
    assert [event.type for event in events] == [
        "started", "response_complete", "tool_call", "bash_command", "bash_output", "tool_result", "completed",
    ]  # fmt: skip
    last = events[-1]
    assert isinstance(last, Completed)
    assert last.usage is not None
    assert (last.status, last.usage.input_tokens, last.usage.output_tokens) == ("success", 120, 30)


@given(st.lists(st.sampled_from(LINES) | st.binary(max_size=60), max_size=12), st.sampled_from([0, 1, 143, None]))
def test_the_example_keeps_the_promises_of_every_adapter(lines: list[bytes], code: int | None) -> None:
    events = read(lines, Exit(code))
    calls = [event.call_id for event in events if isinstance(event, ToolCall)]
    assert sorted(map(str, calls)) == sorted(str(event.call_id) for event in events if isinstance(event, ToolResult))
    assert [event for event in events if isinstance(event, Completed)] == events[-1:]
    unknown = [event.raw.encode() for event in events if isinstance(event, Unknown)]
    assert len(unknown) <= len(lines)


def test_unknown_lines_of_the_example_are_kept_whole() -> None:
    odd = [b'{"type":"sings"}', b"no json", b'{"type":"says"}', b'{"type":"ran","id":7}']
    assert [event.raw.encode() for event in read(odd, Exit(0)) if isinstance(event, Unknown)] == odd


async def test_the_registered_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapters, "ADAPTERS", REGISTRY)
    assert adapter_for("parrot").name == "parrot"
    program = tmp_path / "bin" / "parrot"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\ncat <<'END'\n" + b"\n".join(LINES).decode() + "\nEND\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    log = tmp_path / "telemetry.jsonl"
    with TelemetryWriter(log) as writer:
        result = await run_agent("parrot", "Look around.", workcell_dir=tmp_path, cwd=tmp_path, writer=writer)
    assert result.status == "success"
    events = read_telemetry_events(log)
    assert [events[0]["type"], events[0]["prompt"]] == ["prompt_sent", "Look around."]
    assert json.loads((tmp_path / "proof.json").read_bytes())["status"] == "success"
