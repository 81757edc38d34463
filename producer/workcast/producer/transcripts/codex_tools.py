"""The tools in Codex's rollouts: one line once a tool has returned, as the events of its call and its result."""

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
"""The kinds of items in a rollout, and those that Codex prints."""
LEGACY_TOOLS: Final = {
    "exec_command_end": "command_execution",
    "patch_apply_end": "file_change",
    "mcp_tool_call_end": "mcp_tool_call",
    "web_search_end": "web_search",
    "dynamic_tool_call_response": "dynamic_tool_call",
    "image_generation_end": "image_generation",
}
"""What older versions write instead."""
NOT_COPIED: Final = frozenset({
    "aggregated_output", "changes", "command", "duration", "formatted_output", "invocation", "item", "parsed_cmd",
    "process_id", "result", "stderr", "stdout", "success", "turn_id", "call_id", "source", "error",
})  # fmt: skip
"""Fields that are mapped separately, or are not used."""


def tool_events(item: JsonObject, call_id: str, event: JsonObject, at: datetime, parent: str | None) -> list[BaseEvent]:
    """Return the events of a tool that has returned.

    Args:
        item: the item, or an older version's whole event.
        call_id: the id of the call.
        event: the item's event, which contains when the call began.
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
        # The rollout has the content of a change, which the printed form lacks.
        events = [e for e in events if not isinstance(e, FileWrite)]
        events += _writes(item, call, ended) if get_text(printed, "status") == "completed" else []
    if parent is None:
        return events
    return [
        e.model_copy(update={"parent_call_id": parent}) if e.type in {"tool_call", "tool_result"} else e for e in events
    ]


def _as_printed(item: JsonObject) -> dict[str, object]:
    """Return the item in the form in which ``codex exec --json`` prints it."""
    name = get_text(item, "type") or ""
    kind = TOOLS.get(name) or LEGACY_TOOLS.get(name) or name
    printed: dict[str, object] = {key: value for key, value in item.items() if key not in NOT_COPIED}
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
            changes = [{"path": path, "kind": _kind(as_object(change))} for path, change in _changes(item)]
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


def _command(command: object) -> str:
    return command if isinstance(command, str) else shlex.join(str(word) for word in as_list(command))


def _mcp_result(item: JsonObject) -> dict[str, object]:
    result = item.get("result")
    outcome = as_object(result)
    if "Err" in outcome:
        return {"error": {"message": str(outcome["Err"])}, "status": "failed"}
    value = outcome.get("Ok", result)
    failed = as_object(value).get("isError") is True or as_object(value).get("is_error") is True
    return {"result": value, "error": item.get("error"), "status": "failed" if failed else get_text(item, "status")}


def _changes(item: JsonObject) -> list[tuple[str, object]]:
    """Return path and change of each file, from an object by path or a list."""
    if listed := get_list(item, "changes"):
        pairs = [(get_text(as_object(change), "path"), change) for change in listed]
        return [(path, change) for path, change in pairs if path is not None]
    return list(get_object(item, "changes").items())


def _kind(change: JsonObject) -> str | None:
    """Return ``add``, ``update`` or ``delete``, which in older versions is the change's only key."""
    kind = change.get("type", change.get("kind"))
    known = kind if isinstance(kind, str) else get_text(as_object(kind), "type")
    return known or next((name for name in ("add", "update", "delete") if name in change), None)


def _writes(item: JsonObject, call: OpenCall, at: datetime) -> list[BaseEvent]:
    events: list[BaseEvent] = []
    for path, value in _changes(item):
        change = as_object(value)
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
    """Return the files that a command read, as far as Codex recognised them."""
    parsed = [as_object(command) for command in get_list(item, "parsed_cmd")]
    paths = [get_text(command, "path") for command in parsed if get_text(command, "type") == "read"]
    return [FileRead(timestamp=at, path=path, call_id=call.call_id) for path in paths if path]


def _times(item: JsonObject, event: JsonObject, at: datetime) -> tuple[datetime, datetime]:
    """Return when the call began and ended, if necessary from the line's time and the duration."""
    began, ended = (_milliseconds(event, key) for key in ("started_at_ms", "completed_at_ms"))
    took = get_object(item, "duration")
    seconds = (get_count(took, "secs") or 0) + (get_count(took, "nanos") or 0) / 1e9
    end = ended or at
    if took and seconds < 10**7:
        return end - timedelta(seconds=seconds), end
    return (min(began, end) if began else end), end


def _milliseconds(event: JsonObject, key: str) -> datetime | None:
    count = get_count(event, key)
    if count is None or count >= 253_402_300_800_000:  # datetime ends with the year 9999
        return None
    return (EPOCH + timedelta(milliseconds=count)).astimezone(UTC)
