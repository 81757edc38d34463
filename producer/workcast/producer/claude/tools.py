"""Claude Code's tool calls and their results, as fields of events."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from workcast.producer.calls import OpenCall
from workcast.producer.fields import JsonObject, as_object, get_count, get_list, get_object, get_text, plain_text

Fields = dict[str, Any]
"""The fields of one event, its ``type`` among them, without its time."""

SHELL: Final = "Bash"
READING_TOOL: Final = "Read"
WRITING_TOOLS: Final = frozenset({"Write", "Edit", "NotebookEdit"})
EXIT_CODE: Final = r"Exit code (\d{1,9})(?:\n|$)"
"""Not compiled here: that takes a hook half a millisecond."""
ERROR_START: Final = "<tool_use_error>"
ERROR_END: Final = "</tool_use_error>"


def path_of(arguments: object) -> str | None:
    """Return the file that a call's arguments name."""
    named = as_object(arguments)
    return get_text(named, "file_path") or get_text(named, "notebook_path")


def call_fields(call: OpenCall, arguments: object, message_id: str | None = None) -> list[Fields]:
    """Map a call."""
    fields: Fields = {"type": "tool_call", "tool": call.tool, "args": arguments, "call_id": call.call_id}
    if call.parent is not None:
        fields["parent_call_id"] = call.parent
    if message_id is not None:
        fields["message_id"] = message_id
    command = get_text(as_object(arguments), "command")
    if call.tool == SHELL and command is not None:
        return [fields, {"type": "bash_command", "command": command, "call_id": call.call_id}]
    return [fields]


def result_fields(
    call: OpenCall, content: object, structured: JsonObject, *, failed: bool, duration_ms: int | None
) -> list[Fields]:
    """Map a result.

    Args:
        call: the call that returned.
        content: what the model was given: a text, or blocks of content.
        structured: the tool's own form of the result; empty on errors and for the calls of sub-agents.
        failed: the call failed.
        duration_ms: how long the call took, if known.
    """
    content = plain_text(content)
    shell = call.tool == SHELL
    exit_code = _exit_code(content, structured, failed=failed) if shell else None
    result: Fields = {
        "type": "tool_result",
        "tool": call.tool,
        "result": None if failed else content,
        "call_id": call.call_id,
    }
    if failed:
        result["error"] = _error_text(content)
    if call.parent is not None:
        result["parent_call_id"] = call.parent
    if duration_ms is not None:
        result["duration_ms"] = duration_ms
    if exit_code is not None:
        result["exit_code"] = exit_code
    if shell:
        return [result, *_output(content, structured, exit_code, call, failed=failed)]
    return [result] if failed else [result, *_file(structured, call)]


def output_of(structured: JsonObject) -> str | None:
    """Return what a command printed to both streams; None if the result does not say."""
    stdout, stderr = get_text(structured, "stdout"), get_text(structured, "stderr")
    return None if stdout is None else "\n".join(part for part in (stdout, stderr) if part)


def _error_text(content: object) -> str:
    if not isinstance(content, str) or not content:
        return "the tool failed without a message"
    if content.startswith(ERROR_START) and content.endswith(ERROR_END):
        return content[len(ERROR_START) : -len(ERROR_END)]
    return content


def _exit_code(content: object, structured: JsonObject, *, failed: bool) -> int | None:
    """Read a failed command's code from its first line; a success has none: 0, unless the command is still running."""
    if failed:
        found = re.match(EXIT_CODE, content) if isinstance(content, str) else None
        return int(found.group(1)) if found else None
    unfinished = structured.get("backgroundTaskId") is not None or structured.get("interrupted") is True
    return None if unfinished else 0


def _output(
    content: object, structured: JsonObject, exit_code: int | None, call: OpenCall, *, failed: bool
) -> list[Fields]:
    if exit_code is None:
        return []  # refused, never started, or still running: the result says which
    text = content if isinstance(content, str) else ""
    if failed:
        text = re.sub(EXIT_CODE, "", text, count=1)
    elif (printed := output_of(structured)) is not None:
        text = printed
    return [{"type": "bash_output", "output": text, "exit_code": exit_code, "call_id": call.call_id}]


def _file(structured: JsonObject, call: OpenCall) -> list[Fields]:
    if call.tool == READING_TOOL:
        path = call.path or get_text(get_object(structured, "file"), "filePath")
        return [] if path is None else [{"type": "file_read", "path": path, "call_id": call.call_id}]
    path = call.path or get_text(structured, "filePath")
    if call.tool not in WRITING_TOOLS or path is None:
        return []
    return [{"type": "file_write", "path": path, "call_id": call.call_id, **_change(structured, path)}]


def _change(structured: JsonObject, path: str) -> Fields:
    """Describe how a file changed, as far as the tool reports it: lines added and removed, and the unified diff."""
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
