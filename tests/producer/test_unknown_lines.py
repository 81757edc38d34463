"""Lines of agents that no rule reads, or that say nothing."""

from __future__ import annotations

from itertools import product

import pytest

from support.recorded import events_from, line
from workcast.events.models import Completed, Unknown

OF_ANY_AGENT = [
    b"not json",
    b"[]",
    b"\xff\xfe",
    b"{}",
    b'{"type":null}',
    b'{"type":"brand.new"}',
    b"[" * 100_000,
]
OF_ONE_AGENT: dict[str, list[bytes]] = {
    "claude": [
        b'"text"',
        b"null",
        b'{"type":"system","subtype":"init"',
        b'{"a":NaN}',
        b'{"type":["system"]}',
        b'{"type":"system"}',
        b'{"type":"system","subtype":"brand_new"}',
        b'{"type":"stream_event"}',
        b'{"type":"stream_event","event":{"type":"brand_new"}}',
        b'{"type":"stream_event","event":{"type":"content_block_delta","delta":{"type":"brand_new"}}}',
        b'{"type":"stream_event","event":{"type":"content_block_delta","delta":{"type":"text_delta","text":7}}}',
        b'{"type":"assistant"}',
        b'{"type":"assistant","message":{"content":"text"}}',
        b'{"type":"assistant","message":{"content":[{"type":"brand_new"}]}}',
        b'{"type":"assistant","message":{"content":[7]}}',
        b'{"type":"user","message":{"content":[{"type":"image"}]}}',
        b'{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"unknown call"}]}}',
    ],
    "codex": [
        b'{"type":"item.started"}',
        b'{"type":"item.completed","item":7}',
        b'{"type":"item.completed","item":{"id":"item_0"}}',
        b'{"type":"error"}',
        b'{"type": "item.started", "item": {"id": "item_0", "type": "brand_new"}}',
        b'{"type": "item.completed", "item": {"id": "item_0", "type": "brand_new", "text": "x"}}',
        b'{"type": "item.completed", "item": {"id": "item_0", "type": "agent_message"}}',
        b'{"type": "item.completed", "item": {"id": "item_0", "type": "agent_message", "text": 7}}',
        b'{"type": "item.started", "item": {"id": "item_0", "type": "agent_message", "text": "half"}}',
        b'{"type": "item.updated", "item": {"id": "item_0", "type": "command_execution", "aggregated_output": "half"}}',
        b'{"type": "item.started", "item": {"id": "item_0", "type": "todo_list"}}',
        b'{"type": "item.started", "item": {"type": "command_execution", "command": "ls"}}',
        b'{"type": "item.completed", "item": {"type": "command_execution", "command": "ls"}}',
    ],
    "gemini": [
        b'{"type":"message"}',
        b'{"type":"message","role":"assistant"}',
        b'{"type":"message","role":"assistant","content":7}',
        b'{"type":"message","role":"system","content":"x"}',
        b'{"type":"tool_use"}',
        b'{"type":"tool_use","tool_id":"a"}',
        b'{"type":"tool_use","tool_name":"x","parameters":{}}',
        b'{"type":"error"}',
        b'{"type": "tool_result", "tool_id": "never called", "status": "success"}',
        b'{"type":"tool_result"}',
    ],
    "opencode": [
        b'{"type":"text"}',
        b'{"type":"text","part":7}',
        b'{"type": "text", "timestamp": 1, "sessionID": "s", "part": {"text": 7}}',
        b'{"type": "reasoning", "timestamp": 1, "sessionID": "s", "part": {}}',
        b'{"type":"tool_use"}',
        b'{"type": "tool_use", "timestamp": 1, "sessionID": "s", "part": {"callID": "c"}}',
        b'{"type": "tool_use", "timestamp": 1, "sessionID": "s", "part": {"tool": "bash"}}',
        b'{"type":"error"}',
        b'{"type": "error", "sessionID": "s", "error": {}}',
    ],
}
UNKNOWN = [(agent, raw) for agent, own in OF_ONE_AGENT.items() for raw in (*OF_ANY_AGENT, *own)]


@pytest.mark.parametrize(("agent", "raw"), UNKNOWN)
def test_a_line_without_a_rule_is_kept_as_it_was_printed(agent: str, raw: bytes) -> None:
    unknown, completed = events_from(agent, [raw])
    assert isinstance(unknown, Unknown)
    assert (unknown.raw, unknown.toolchain) == (raw.decode("utf-8", "backslashreplace"), agent)
    assert isinstance(completed, Completed)


@pytest.mark.parametrize(
    ("agent", "raw"), [*product(OF_ONE_AGENT, (b"", b"\r", b"  ")), ("codex", line(type="turn.started"))]
)
def test_some_lines_have_no_events(agent: str, raw: bytes) -> None:
    assert [event.type for event in events_from(agent, [raw])] == ["completed"]
