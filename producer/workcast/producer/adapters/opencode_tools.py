"""The calls and results of opencode's tools as events."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from workcast.events.frozen import make
from workcast.events.models import BaseEvent, BashCommand, BashOutput, FileRead, FileWrite, ToolCall, ToolResult
from workcast.producer.adapters.base import optional
from workcast.producer.calls import OpenCall
from workcast.producer.fields import JsonObject, as_object, get_count, get_list, get_object, get_text

FINISHED: Final = frozenset({"completed", "error"})
SHELL: Final = "bash"
READING_TOOL: Final = "read"
WRITING_TOOLS: Final = frozenset({"write", "edit", "multiedit", "patch", "apply_patch"})
INVALID: Final = "invalid"
"""Replaces a tool that does not exist, or that got arguments of the wrong form; it always succeeds."""


def call_events(call: OpenCall, state: JsonObject, message_id: str | None) -> list[BaseEvent]:
    """Return the events of a call."""
    arguments = state.get("input")
    events: list[BaseEvent] = [
        make(ToolCall, timestamp=call.at, tool=call.tool, args=arguments, call_id=call.call_id, message_id=message_id)
    ]
    command = get_text(as_object(arguments), "command")
    if call.tool == SHELL and command is not None:
        events.append(make(BashCommand, timestamp=call.at, command=command, call_id=call.call_id))
    return events


def result_events(call: OpenCall, state: JsonObject, at: datetime) -> list[BaseEvent]:
    """Return the events of a call that has returned."""
    metadata = get_object(state, "metadata")
    exit_code = _exit_code(metadata) if call.tool == SHELL else None
    error = _error(call.tool, state, exit_code)
    result = make(
        ToolResult,
        timestamp=at,
        tool=call.tool,
        result=state.get("output"),
        call_id=call.call_id,
        error=error,
        duration_ms=_duration_ms(get_object(state, "time")),
        exit_code=exit_code,
    )
    if call.tool == SHELL:
        return [result, *_bash_output(call, state, metadata, exit_code, at)]
    return [result, *_file_events(call, state, metadata, at)] if error is None else [result]


def _exit_code(metadata: JsonObject) -> int | None:
    code = metadata.get("exit")
    return code if isinstance(code, int) and not isinstance(code, bool) and abs(code) < 2**31 else None


def _error(tool: str, state: JsonObject, exit_code: int | None) -> str | None:
    """Return the most specific description of what went wrong, or None if nothing did."""
    if get_text(state, "status") == "error":
        return get_text(state, "error") or "the tool failed without a message"
    if tool == INVALID:
        message = get_text(get_object(state, "input"), "error") or get_text(state, "output")
        return message or "the call was invalid"
    return f"exit code {exit_code}" if exit_code else None


def _duration_ms(time: JsonObject) -> int | None:
    start, end = get_count(time, "start"), get_count(time, "end")
    return None if start is None or end is None else max(0, end - start)


def _bash_output(
    call: OpenCall, state: JsonObject, metadata: JsonObject, exit_code: int | None, at: datetime
) -> list[BaseEvent]:
    """Return the output: from the metadata if possible, as they hold more of it than the result for the model."""
    output = get_text(metadata, "output")
    if output is None:
        output = get_text(state, "output")
    if output is None:
        return []
    return [make(BashOutput, timestamp=at, output=output, call_id=call.call_id, exit_code=exit_code)]


def _file_events(call: OpenCall, state: JsonObject, metadata: JsonObject, at: datetime) -> Iterator[BaseEvent]:
    arguments, diff = get_object(state, "input"), get_object(metadata, "filediff")
    whole = (get_text(metadata, "filepath"), get_text(diff, "file"), get_text(get_object(metadata, "display"), "path"))
    path = next((path for path in whole if path), get_text(arguments, "filePath"))  # which may be relative
    if call.tool == READING_TOOL and path is not None:
        yield make(FileRead, timestamp=at, path=path, call_id=call.call_id)
    if call.tool not in WRITING_TOOLS:
        return
    changed = [as_object(file) for file in get_list(metadata, "files")]  # by a patch, which may change several files
    for file in changed:
        named = get_text(file, "movePath") or get_text(file, "filePath") or get_text(file, "file")
        if named is not None:
            yield make(FileWrite, timestamp=at, path=named, call_id=call.call_id, **_change(file))
    if not changed and path is not None:
        change = _change(diff) or _new_file(arguments, metadata)
        yield make(FileWrite, timestamp=at, path=path, call_id=call.call_id, **change)


def _change(change: JsonObject) -> dict[str, Any]:
    """Describe how a file changed, as far as the tool reports it."""
    return optional(
        lines_added=get_count(change, "additions"),
        lines_removed=get_count(change, "deletions"),
        diff=get_text(change, "patch") or get_text(change, "diff"),
    )


def _new_file(arguments: JsonObject, metadata: JsonObject) -> dict[str, Any]:
    content = get_text(arguments, "content")
    if content is None or metadata.get("exists") is not False:
        return {}
    return {"lines_added": len(content.removesuffix("\n").split("\n")) if content else 0, "lines_removed": 0}
