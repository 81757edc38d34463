"""The payloads of Claude Code's hooks as fields of events: pure, and without pydantic, which takes long to load."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from workcast.producer.calls import OpenCall
from workcast.producer.claude.tools import Fields, call_fields, output_of, path_of, result_fields
from workcast.producer.fields import JsonObject, as_object, get_count, get_object, get_text

SOURCE: Final = "hook"
"""The ``source`` of events from hooks."""
MAX_DURATION_MS: Final = 366 * 24 * 3600 * 1000
"""A longer one is an error; one of a thousand years would have begun before all dates."""
_FAILURE: Final = "PostToolUseFailure"

if TYPE_CHECKING:  # a protocol takes half a millisecond to define
    from typing import Protocol

    class LogContent(Protocol):
        """What the session's log contains already."""

        @property
        def is_open(self) -> bool:
            """Whether a turn was opened and is not over."""
            ...

        def has_call(self, call_id: str) -> bool:
            """Whether the log contains a call."""
            ...

        def has_result(self, call_id: str) -> bool:
            """Whether the log contains the result of a call."""
            ...

        def has_prompt(self, prompt: str, prompt_id: object, at: datetime) -> bool:
            """Whether the log contains a prompt that was given just now."""
            ...


def events_of(
    payload: JsonObject, at: datetime, log: LogContent, parent: str | None, *, is_new: bool, followed: bool
) -> list[Fields]:
    """Return the events of a payload that the log does not contain yet.

    Args:
        payload: what the hook got on stdin.
        at: when it was called.
        log: what the log contains.
        parent: the call that started the sub-agent that the payload is about, if any.
        is_new: the log is empty.
        followed: another process reads the session's transcript, and reports from it when a turn is over.
    """
    kind, call_id = get_text(payload, "hook_event_name"), get_text(payload, "tool_use_id")
    events: list[Fields] = []
    if kind == "UserPromptSubmit" and (prompt := get_text(payload, "prompt")) is not None:
        if not log.has_prompt(prompt, payload.get("prompt_id"), at):
            events = [_event("prompt_sent", at, prompt=prompt, **_prompt_id(payload))]
    elif kind == "PreToolUse" and call_id is not None:
        events = [] if log.has_call(call_id) else _call(payload, call_id, at, parent)
    elif kind in {"PostToolUse", _FAILURE} and call_id is not None:
        if not log.has_result(call_id):
            began = at - timedelta(milliseconds=_duration_ms(payload) or 0)
            events = [] if log.has_call(call_id) else _call(payload, call_id, began, parent)
            events += _result(payload, call_id, at, parent)
    elif kind in {"Stop", "SessionEnd"} and not followed and log.is_open:
        status = "success" if kind == "Stop" else "cancelled"
        events = [_event("completed", at, status=status, exit_code=None, inferred=True, **_prompt_id(payload))]
    if is_new and (events or kind == "SessionStart"):
        known = {key: text for key in ("session_id", "cwd", "model") if (text := get_text(payload, key)) is not None}
        return [_event("started", at, **known), *events]
    return events


def _call(payload: JsonObject, call_id: str, at: datetime, parent: str | None) -> list[Fields]:
    call = OpenCall(call_id, _tool(payload), at, parent)
    return [_event(at=at, **fields) for fields in call_fields(call, payload.get("tool_input"))]


def _result(payload: JsonObject, call_id: str, at: datetime, parent: str | None) -> list[Fields]:
    """Map a result. A hook gets the tool's own form alone, so the text for the model is made of that."""
    failed = payload.get("hook_event_name") == _FAILURE
    response = payload.get("tool_response")
    structured = as_object(None if failed else response)
    call = OpenCall(call_id, _tool(payload), at, parent, path_of(payload.get("tool_input")))
    content = payload.get("error") if failed else _content(structured, response)
    mapped = result_fields(call, content, structured, failed=failed, duration_ms=_duration_ms(payload))
    return [_event(at=at, **fields) for fields in mapped]


def _content(structured: JsonObject, response: object) -> object:
    if structured.get("backgroundTaskId") is not None:
        return response  # the command has printed nothing yet
    for text in (output_of(structured), get_text(get_object(structured, "file"), "content")):
        if text is not None:
            return text
    return response


def _event(type: str, at: datetime, **fields: Any) -> Fields:  # noqa: A002 - the field's name
    time = at.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
    return {"type": type, "timestamp": time, "toolchain": "claude", **fields, "source": SOURCE}


def _tool(payload: JsonObject) -> str:
    return get_text(payload, "tool_name") or "?"


def _prompt_id(payload: JsonObject) -> Mapping[str, str]:
    prompt_id = get_text(payload, "prompt_id")
    return {} if prompt_id is None else {"prompt_id": prompt_id}


def _duration_ms(payload: JsonObject) -> int | None:
    duration = get_count(payload, "duration_ms")
    return duration if duration is not None and duration < MAX_DURATION_MS else None
