"""Codex's items that are tools: their calls and results as events."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from workcast.events.frozen import make
from workcast.events.models import BaseEvent, BashCommand, BashOutput, FileWrite, ToolCall, ToolResult
from workcast.producer.adapters.base import milliseconds_between, optional
from workcast.producer.calls import OpenCall
from workcast.producer.fields import JsonObject, as_object, get_list, get_object, get_text, plain_text

TOOL_ITEMS: Final = frozenset({"command_execution", "file_change", "mcp_tool_call", "collab_tool_call", "web_search"})
NO_ARGUMENTS: Final = frozenset({
    "id", "type", "status", "server", "tool", "aggregated_output", "exit_code", "result", "error", "agents_states",
})  # fmt: skip
"""The fields of an item that are not arguments."""
NOT_FAILED: Final = frozenset({"completed", "in_progress", None})


def tool_of(item: JsonObject) -> str:
    """Return a tool's name: for an MCP server's, in the form that Claude Code uses, else Codex's own."""
    kind, server, tool = (get_text(item, key) or "" for key in ("type", "server", "tool"))
    return f"mcp__{server}__{tool}" if kind == "mcp_tool_call" else tool or kind


def call_events(call: OpenCall, item: JsonObject) -> list[BaseEvent]:
    """Return the events of an item that has started."""
    kind = get_text(item, "type")
    arguments = item.get("arguments") if kind == "mcp_tool_call" else _arguments(item)
    events: list[BaseEvent] = [make(ToolCall, timestamp=call.at, tool=call.tool, args=arguments, call_id=call.call_id)]
    command = get_text(item, "command")
    if kind == "command_execution" and command is not None:
        events.append(make(BashCommand, timestamp=call.at, command=command, call_id=call.call_id))
    return events


def result_events(call: OpenCall, item: JsonObject, at: datetime) -> list[BaseEvent]:
    """Return the events of an item that has completed."""
    error = _error(item)
    kind = get_text(item, "type")
    exit_code = _exit_code(item) if kind == "command_execution" else None
    result = make(
        ToolResult,
        timestamp=at,
        tool=call.tool,
        result=None if error is not None and kind == "mcp_tool_call" else _result(item),
        call_id=call.call_id,
        duration_ms=milliseconds_between(call.at, at),
        error=error,
        exit_code=exit_code,
    )
    if kind == "command_execution":
        output = get_text(item, "aggregated_output") or ""
        ran = exit_code is not None or output != ""  # else it was declined
        printed = make(BashOutput, timestamp=at, output=output, call_id=call.call_id, exit_code=exit_code)
        return [result, printed] if ran else [result]
    return [result, *_file_events(call, item, at)] if kind == "file_change" and error is None else [result]


def _arguments(item: JsonObject) -> dict[str, object]:
    return {key: value for key, value in item.items() if key not in NO_ARGUMENTS}


def _exit_code(item: JsonObject) -> int | None:
    code = item.get("exit_code")
    return code if isinstance(code, int) and not isinstance(code, bool) and abs(code) < 2**31 else None


def _result(item: JsonObject) -> object:
    match get_text(item, "type"):
        case "command_execution":
            return item.get("aggregated_output")
        case "mcp_tool_call":
            result = item.get("result")
            content = plain_text(as_object(result).get("content"))
            return content if isinstance(content, str) else result
        case "collab_tool_call":
            return item.get("agents_states")
        case "web_search":  # which contains the query only when it is completed
            return _arguments(item)
        case _:
            return None


def _error(item: JsonObject) -> str | None:
    """Return the most specific description of what went wrong, or None if nothing did."""
    message = get_text(get_object(item, "error"), "message") or get_text(item, "error")
    exit_code = _exit_code(item)
    status = get_text(item, "status")
    if message is None and status in NOT_FAILED and not exit_code:
        return None
    text = _result(item) if get_text(item, "type") == "mcp_tool_call" else None
    code = f"exit code {exit_code}" if exit_code else None
    return message or (text if isinstance(text, str) else None) or code or status or "failed"


def _file_events(call: OpenCall, item: JsonObject, at: datetime) -> list[BaseEvent]:
    """Return one ``file_write`` for each change, a deletion included; Codex prints neither line counts nor a diff."""
    events: list[BaseEvent] = []
    for change in map(as_object, get_list(item, "changes")):
        path = get_text(change, "path")
        if path is not None:
            kind = optional(kind=get_text(change, "kind"))
            events.append(FileWrite(timestamp=at, path=path, call_id=call.call_id, **kind))
    return events
