"""What Claude Code tells its hooks, as events: pure, and without pydantic, whose loading takes longer than all else.

The user's session waits for a hook at each call of a tool. What is made here fits the event models all the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from workcast.events.json_value import as_array, as_object

Event = dict[str, Any]
Payload = Mapping[str, Any]

SOURCE: Final = "hook"
WRITING_TOOLS: Final = frozenset({"Write", "Edit", "NotebookEdit"})
EXIT_CODE: Final = re.compile(r"Exit code (\d{1,9})(?:\n|$)")


class Told(Protocol):
    """What the session's log tells already."""

    @property
    def is_empty(self) -> bool:
        """Whether it tells nothing."""
        ...

    @property
    def is_open(self) -> bool:
        """Whether a turn was begun and is not over."""
        ...

    def call(self, call_id: str) -> bool:
        """Whether it tells of this call."""
        ...

    def result(self, call_id: str) -> bool:
        """Whether it tells this call's result."""
        ...

    def prompt(self, prompt: str, prompt_id: object, at: datetime) -> bool:
        """Whether it tells of this prompt, given just now."""
        ...


def events_of(payload: Payload, at: datetime, told: Told, parent: str | None, *, followed: bool) -> list[Event]:
    """The events of one payload that the log does not tell yet.

    Args:
        payload: what the hook got on stdin.
        at: when it was called.
        told: what the log tells.
        parent: the call that started the sub-agent that the payload is about, if it is about one.
        followed: somebody reads the session's transcript, and tells from it when a turn is over.
    """
    kind, call_id = payload.get("hook_event_name"), payload.get("tool_use_id")
    events: list[Event] = []
    if kind == "UserPromptSubmit" and isinstance(prompt := payload.get("prompt"), str):
        told_already = told.prompt(prompt, payload.get("prompt_id"), at)
        events = [] if told_already else [_event("prompt_sent", at, prompt=prompt, **_prompt_id(payload))]
    elif kind == "PreToolUse" and isinstance(call_id, str):
        events = [] if told.call(call_id) else _call(payload, call_id, at, parent)
    elif kind in {"PostToolUse", "PostToolUseFailure"} and isinstance(call_id, str):
        if not told.result(call_id):
            took = _count(payload.get("duration_ms")) or 0
            events = [] if told.call(call_id) else _call(payload, call_id, at - timedelta(milliseconds=took), parent)
            events += _result(payload, call_id, at, parent)
    elif kind in {"Stop", "SessionEnd"} and not followed and told.is_open:
        status = "success" if kind == "Stop" else "cancelled"
        events = [_event("completed", at, status=status, exit_code=None, inferred=True, **_prompt_id(payload))]
    return [*_start(payload, at, told, events), *events]


def _start(payload: Payload, at: datetime, told: Told, events: list[Event]) -> list[Event]:
    if not told.is_empty or (payload.get("hook_event_name") != "SessionStart" and not events):
        return []
    known = {"session_id": payload.get("session_id"), "cwd": payload.get("cwd"), "model": payload.get("model")}
    return [_event("started", at, **{key: value for key, value in known.items() if isinstance(value, str)})]


def _call(payload: Payload, call_id: str, at: datetime, parent: str | None) -> list[Event]:
    tool, given = str(payload.get("tool_name") or "?"), payload.get("tool_input")
    events = [_event("tool_call", at, tool=tool, args=given, call_id=call_id, **_parent(parent))]
    command = (as_object(given) or {}).get("command")
    if tool == "Bash" and isinstance(command, str):
        events.append(_event("bash_command", at, command=command, call_id=call_id))
    return events


def _result(payload: Payload, call_id: str, at: datetime, parent: str | None) -> list[Event]:
    tool = str(payload.get("tool_name") or "?")
    said = payload.get("tool_response")
    structured = as_object(said) or {}
    failed = payload.get("hook_event_name") == "PostToolUseFailure"
    error = payload.get("error") if failed else None
    output = _output(structured) if tool == "Bash" else None
    result: dict[str, Any] = {"tool": tool, "result": None, "call_id": call_id, **_parent(parent)}
    if failed:
        result["error"] = error if isinstance(error, str) and error else "the tool failed without a message"
    else:
        result["result"] = _content(structured, said) if output is None else output
    if (took := _count(payload.get("duration_ms"))) is not None:
        result["duration_ms"] = took
    code = _exit_code(result.get("error"), structured, failed=failed) if tool == "Bash" else None
    if code is not None:
        result["exit_code"] = code
    events = [_event("tool_result", at, **result)]
    if code is not None:
        text = EXIT_CODE.sub("", result["error"], count=1) if failed else output or ""
        events.append(_event("bash_output", at, output=text, exit_code=code, call_id=call_id))
    return events if failed else [*events, *_file(payload, tool, structured, call_id, at)]


def _output(structured: Payload) -> str | None:
    parts = [structured.get(key) for key in ("stdout", "stderr")]
    return "\n".join(part for part in parts if isinstance(part, str) and part) if structured else None


def _exit_code(error: object, structured: Payload, *, failed: bool) -> int | None:
    """A failure says its code in its first line; a success has none, it is 0 unless the command still runs."""
    if failed:
        said = EXIT_CODE.match(error) if isinstance(error, str) else None
        return int(said.group(1)) if said else None
    unfinished = structured.get("backgroundTaskId") is not None or structured.get("interrupted") is True
    return None if unfinished or not structured else 0


def _content(structured: Payload, said: object) -> object:
    """The text of a file that was read, else what the tool said."""
    text = (as_object(structured.get("file")) or {}).get("content")
    return text if isinstance(text, str) else said


def _file(payload: Payload, tool: str, structured: Payload, call_id: str, at: datetime) -> list[Event]:
    named = as_object(payload.get("tool_input")) or {}
    path = named.get("file_path") or named.get("notebook_path") or structured.get("filePath")
    if not isinstance(path, str):
        return []
    if tool == "Read":
        return [_event("file_read", at, path=path, call_id=call_id)]
    if tool not in WRITING_TOOLS:
        return []
    return [_event("file_write", at, path=path, call_id=call_id, **_lines(structured))]


def _lines(structured: Payload) -> dict[str, int]:
    """How many lines were added and removed, as far as the tool said."""
    hunks, created = as_array(structured.get("structuredPatch")), structured.get("content")
    if hunks:
        lines = [str(line) for hunk in hunks for line in as_array((as_object(hunk) or {}).get("lines")) or []]
        return {f"lines_{name}": sum(line[:1] == sign for line in lines) for name, sign in _SIGNS}
    if structured.get("type") == "create" and isinstance(created, str):
        count = len(created.removesuffix("\n").split("\n")) if created else 0
        return {"lines_added": count, "lines_removed": 0}
    return {}


_SIGNS: Final = (("added", "+"), ("removed", "-"))


def _event(kind: str, at: datetime, **fields: Any) -> Event:
    time = at.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
    return {"type": kind, "timestamp": time, "toolchain": "claude", **fields, "source": SOURCE}


def _prompt_id(payload: Payload) -> dict[str, str]:
    prompt_id = payload.get("prompt_id")
    return {"prompt_id": prompt_id} if isinstance(prompt_id, str) else {}


def _parent(parent: str | None) -> dict[str, str]:
    return {} if parent is None else {"parent_call_id": parent}


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None
