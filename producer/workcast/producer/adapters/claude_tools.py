"""What Claude Code's tools say: their calls and results as events."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from workcast.events.frozen import make
from workcast.events.models import BaseEvent, BashCommand, BashOutput, FileRead, FileWrite, ToolCall, ToolResult
from workcast.producer.adapters.base import OpenCall, milliseconds_between
from workcast.producer.adapters.fields import (
    JsonObject,
    as_object,
    get_count,
    get_list,
    get_object,
    get_text,
    plain_text,
)

WRITING_TOOLS: Final = frozenset({"Write", "Edit", "NotebookEdit"})
EXIT_CODE: Final = re.compile(r"Exit code (\d{1,9})(?:\n|$)")
TOOL_USE_ERROR: Final = re.compile(r"<tool_use_error>(.*)</tool_use_error>", re.DOTALL)


def call_events(call: OpenCall, arguments: object, message_id: str | None = None) -> list[BaseEvent]:
    """The events of a call."""
    events: list[BaseEvent] = [
        make(
            ToolCall,
            timestamp=call.at,
            tool=call.tool,
            args=arguments,
            call_id=call.call_id,
            parent_call_id=call.parent,
            message_id=message_id,
        )
    ]
    command = get_text(as_object(arguments), "command")
    if call.tool == "Bash" and command is not None:
        events.append(make(BashCommand, timestamp=call.at, command=command, call_id=call.call_id))
    return events


def path_of(arguments: object) -> str | None:
    """The file that a call's arguments name."""
    named = as_object(arguments)
    return get_text(named, "file_path") or get_text(named, "notebook_path")


def result_events(block: JsonObject, structured: JsonObject, call: OpenCall, at: datetime) -> list[BaseEvent]:
    """The events of a result.

    Args:
        block: the ``tool_result`` block, which every tool has.
        structured: the line's ``tool_use_result``, empty where there is none: on errors and for sub-agents.
        call: the call that it answers.
        at: when the line was captured.
    """
    content = plain_text(block.get("content"))
    failed = block.get("is_error") is True
    exit_code = _exit_code(content, structured, failed=failed) if call.tool == "Bash" else None
    result = make(
        ToolResult,
        timestamp=at,
        result=None if failed else content,
        call_id=call.call_id,
        duration_ms=milliseconds_between(call.at, at),
        tool=call.tool,
        error=_error_text(content) if failed else None,
        parent_call_id=call.parent,
        exit_code=exit_code,
    )
    if call.tool == "Bash":
        return [result, *_bash_output(content, structured, exit_code, call, at, failed=failed)]
    return [result] if failed else [result, *_file_events(structured, call, at)]


def _error_text(content: object) -> str:
    if not isinstance(content, str):
        return "the tool failed without a message"
    wrapped = TOOL_USE_ERROR.fullmatch(content)
    return wrapped.group(1) if wrapped else content


def _exit_code(content: object, structured: JsonObject, *, failed: bool) -> int | None:
    """A failure says its code in its first line; a success has none, it is 0 unless the command still runs."""
    if failed:
        said = EXIT_CODE.match(content) if isinstance(content, str) else None
        return int(said.group(1)) if said else None
    unfinished = structured.get("backgroundTaskId") is not None or structured.get("interrupted") is True
    return None if unfinished else 0


def _bash_output(
    content: object, structured: JsonObject, exit_code: int | None, call: OpenCall, at: datetime, *, failed: bool
) -> list[BaseEvent]:
    if exit_code is None:
        return []  # refused, never started, or still running: the result tells which
    if failed:
        output = EXIT_CODE.sub("", content if isinstance(content, str) else "", count=1)
    else:
        said = (get_text(structured, "stdout"), get_text(structured, "stderr"))
        output = "\n".join(part for part in said if part)
        if said[0] is None:
            output = content if isinstance(content, str) else ""
    return [make(BashOutput, timestamp=at, output=output, exit_code=exit_code, call_id=call.call_id)]


def _file_events(structured: JsonObject, call: OpenCall, at: datetime) -> list[BaseEvent]:
    if call.tool == "Read":
        path = call.path or get_text(get_object(structured, "file"), "filePath")
        return [] if path is None else [make(FileRead, timestamp=at, path=path, call_id=call.call_id)]
    path = call.path or get_text(structured, "filePath")
    if call.tool not in WRITING_TOOLS or path is None:
        return []
    return [make(FileWrite, timestamp=at, path=path, call_id=call.call_id, **_change(structured, path))]


def _change(structured: JsonObject, path: str) -> dict[str, Any]:
    """How a file changed: lines added and removed, and the unified diff, as far as the tool said."""
    hunks = [as_object(hunk) for hunk in get_list(structured, "structuredPatch")]
    created = get_text(structured, "content")
    if not hunks and get_text(structured, "type") == "create" and created is not None:
        return {"lines_added": len(created.removesuffix("\n").split("\n")) if created else 0, "lines_removed": 0}
    if not hunks:
        return {}
    lines = [line for hunk in hunks for line in _hunk_lines(hunk)]
    return {
        "lines_added": sum(line.startswith("+") for line in lines),
        "lines_removed": sum(line.startswith("-") for line in lines),
        "diff": _unified_diff(path, hunks),
    }


def _hunk_lines(hunk: JsonObject) -> list[str]:
    return [line for line in get_list(hunk, "lines") if isinstance(line, str)]


def _unified_diff(path: str, hunks: Sequence[JsonObject]) -> str:
    parts = [f"--- {path}", f"+++ {path}"]
    for hunk in hunks:
        old_start, old_lines, new_start, new_lines = (
            get_count(hunk, key) or 0 for key in ("oldStart", "oldLines", "newStart", "newLines")
        )
        parts += [f"@@ -{old_start},{old_lines} +{new_start},{new_lines} @@", *_hunk_lines(hunk)]
    return "\n".join(parts) + "\n"
