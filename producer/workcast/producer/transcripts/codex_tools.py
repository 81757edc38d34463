"""What Codex's rollouts say of its tools: one line when a tool is done, as the events of its call and its result."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime, timedelta
from typing import Final

from workcast.events.models import BaseEvent, FileRead, FileWrite
from workcast.producer.adapters.base import EPOCH, optional
from workcast.producer.adapters.codex_items import call_events, result_events, tool_of
from workcast.producer.calls import OpenCall
from workcast.producer.fields import JsonObject, as_list, as_object, get_count, get_list, get_object, get_text

TOOLS: Final = {
    "CommandExecution": "command_execution",
    "FileChange": "file_change",
    "McpToolCall": "mcp_tool_call",
    "CollabAgentToolCall": "collab_tool_call",
    "WebSearch": "web_search",
    "DynamicToolCall": "dynamic_tool_call",
    "ImageGeneration": "image_generation",
}
"""A rollout's names of items, and those that Codex prints."""
LEGACY_TOOLS: Final = {
    "exec_command_end": "command_execution",
    "patch_apply_end": "file_change",
    "mcp_tool_call_end": "mcp_tool_call",
    "web_search_end": "web_search",
    "dynamic_tool_call_response": "dynamic_tool_call",
    "image_generation_end": "image_generation",
}
"""What older versions wrote instead."""
OURS: Final = frozenset({
    "aggregated_output", "changes", "command", "duration", "formatted_output", "invocation", "item", "parsed_cmd",
    "process_id", "result", "stderr", "stdout", "success", "turn_id", "call_id", "source", "error",
})  # fmt: skip
"""What is told in a form of its own, or says nothing."""


def tool_events(item: JsonObject, call_id: str, event: JsonObject, at: datetime, parent: str | None) -> list[BaseEvent]:
    """The events of a tool that is done.

    Args:
        item: what says it: an item, or an older version's whole event.
        call_id: which call it is.
        event: the item's event, which says when it began.
        at: the line's time.
        parent: the call that started the sub-agent whose tool it is.
    """
    printed = _as_printed(item)
    began, ended = _times(item, event, at)
    call = OpenCall(call_id, tool_of(printed), began, parent)
    events = [*call_events(call, printed), *result_events(call, printed, ended)]
    if printed["type"] == "command_execution":
        events += _reads(item, call, ended) if printed.get("exit_code") == 0 else []
    if printed["type"] == "file_change":
        # With its content, which the printed form does not have.
        events = [e for e in events if not isinstance(e, FileWrite)]
        events += _writes(item, call, ended) if get_text(printed, "status") == "completed" else []
    if parent is None:
        return events
    return [
        e.model_copy(update={"parent_call_id": parent}) if e.type in {"tool_call", "tool_result"} else e for e in events
    ]


def _as_printed(item: JsonObject) -> dict[str, object]:
    """The item in the form in which ``codex exec --json`` prints it."""
    name = get_text(item, "type") or ""
    kind = TOOLS.get(name) or LEGACY_TOOLS.get(name) or name
    printed: dict[str, object] = {key: value for key, value in item.items() if key not in OURS}
    printed["type"] = kind
    match kind:
        case "command_execution":
            output = get_text(item, "aggregated_output")
            if output is None:
                output = "".join(get_text(item, key) or "" for key in ("stdout", "stderr"))
            printed = {
                "type": kind, "command": _command(item.get("command")), "aggregated_output": output,
                "exit_code": item.get("exit_code"), "status": item.get("status"),
            }  # fmt: skip
        case "file_change":
            failed = item.get("success") is False
            changes = [{"path": path, "kind": _kind(as_object(said))} for path, said in _changes(item)]
            status = get_text(item, "status") or ("failed" if failed else "completed")
            printed = {"type": kind, "changes": changes, "status": status}
            if status != "completed":
                printed["error"] = get_text(item, "stderr") or get_text(item, "stdout") or status
        case "mcp_tool_call":
            called = get_object(item, "invocation") or item
            printed |= {key: called.get(key) for key in ("server", "tool", "arguments")}
            printed |= _mcp_result(item)
        case _:
            printed |= {key: item[key] for key in ("result", "error") if key in item}
    return printed


def _command(said: object) -> str:
    if isinstance(said, str):
        return said
    return shlex.join(str(word) for word in as_list(said))


def _mcp_result(item: JsonObject) -> dict[str, object]:
    result = item.get("result")
    said = as_object(result)
    if "Err" in said:
        return {"error": {"message": str(said["Err"])}, "status": "failed"}
    told = said.get("Ok", result)
    failed = as_object(told).get("isError") is True or as_object(told).get("is_error") is True
    return {"result": told, "error": item.get("error"), "status": "failed" if failed else get_text(item, "status")}


def _changes(item: JsonObject) -> list[tuple[str, object]]:
    """Path and change of each file: an object by path, or a list."""
    if listed := get_list(item, "changes"):
        pairs = [(get_text(as_object(said), "path"), said) for said in listed]
        return [(path, said) for path, said in pairs if path is not None]
    return list(get_object(item, "changes").items())


def _kind(change: JsonObject) -> str | None:
    """``add``, ``update`` or ``delete``; older versions have it as the change's only key."""
    said = change.get("type", change.get("kind"))
    kind = said if isinstance(said, str) else get_text(as_object(said), "type")
    return kind or next((name for name in ("add", "update", "delete") if name in change), None)


def _writes(item: JsonObject, call: OpenCall, at: datetime) -> list[BaseEvent]:
    events: list[BaseEvent] = []
    for path, said in _changes(item):
        change = as_object(said)
        kind = _kind(change)
        whole = change if "type" in change else get_object(change, kind or "") or change
        content, diff = get_text(whole, "content"), get_text(whole, "unified_diff")
        counts: dict[str, object] = {}
        if diff is not None:
            lines = diff.split("\n")
            counts = {
                "lines_added": sum(line.startswith("+") for line in lines),
                "lines_removed": sum(line.startswith("-") for line in lines),
                "diff": f"--- {path}\n+++ {get_text(whole, 'move_path') or path}\n{diff}",
            }
        elif content is not None and kind in {"add", "delete"}:
            count = len(content.removesuffix("\n").split("\n")) if content else 0
            added = kind == "add"
            counts = {"lines_added": count if added else 0, "lines_removed": 0 if added else count}
        events.append(FileWrite(timestamp=at, path=path, call_id=call.call_id, **optional(kind=kind, **counts)))
    return events


def _reads(item: JsonObject, call: OpenCall, at: datetime) -> list[BaseEvent]:
    """The files that a command read, as far as Codex understood it."""
    parsed = [as_object(said) for said in get_list(item, "parsed_cmd")]
    paths = [get_text(said, "path") for said in parsed if get_text(said, "type") == "read"]
    return [FileRead(timestamp=at, path=path, call_id=call.call_id) for path in paths if path]


def _times(item: JsonObject, event: JsonObject, at: datetime) -> tuple[datetime, datetime]:
    """When the call began and ended: as is said, else the line's time less its duration."""
    began, ended = (_milliseconds(event, key) for key in ("started_at_ms", "completed_at_ms"))
    took = get_object(item, "duration")
    seconds = (get_count(took, "secs") or 0) + (get_count(took, "nanos") or 0) / 1e9
    end = ended or at
    if took and seconds < 10**7:
        return end - timedelta(seconds=seconds), end
    return (min(began, end) if began else end), end


def _milliseconds(event: JsonObject, key: str) -> datetime | None:
    said = get_count(event, key)
    # Beyond the year 9999 there is no time.
    return (
        None if said is None or said >= 253_402_300_800_000 else (EPOCH + timedelta(milliseconds=said)).astimezone(UTC)
    )
