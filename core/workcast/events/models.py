"""One frozen pydantic model per event type, and their union.

docs/events.md describes types and fields. Unknown fields are kept, and an event of an unknown type becomes an
:class:`OtherEvent` with all its fields, so nothing that a newer agent reports is lost.
"""

# The models are frozen, so a subclass may narrow a field of its base:
# pyright: reportIncompatibleVariableOverride=false
from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from workcast.events.frozen import Frozen
from workcast.events.timestamp import Timestamp, now
from workcast.events.usage import ModelUsage, Usage

Status = Literal["success", "failed", "timeout", "cancelled"]


class BaseEvent(Frozen):
    """The fields that all events share: type, time, and context."""

    type: str
    timestamp: Timestamp = Field(default_factory=now)
    workcell_id: str | None = None
    issue_id: str | None = None
    toolchain: str | None = None
    model: str | None = None

    always_written: ClassVar[frozenset[str]] = frozenset()
    """Fields that ``dump`` writes even if they were not set: those whose default is not None."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls.always_written = frozenset(
            name for name, field in cls.model_fields.items() if not field.is_required() and field.default is not None
        ) | {"type", "timestamp"}


class Started(BaseEvent):
    type: Literal["started"] = "started"
    cwd: str | None = None
    session_id: str | None = None
    agent_version: str | None = None
    git_commit: str | None = None
    rerun_of: str | None = None
    resumed: bool | None = None
    """True if the session had earlier runs."""


class PromptSent(BaseEvent):
    type: Literal["prompt_sent"] = "prompt_sent"
    prompt: str
    tokens: int | None = None


class ResponseChunk(BaseEvent):
    type: Literal["response_chunk"] = "response_chunk"
    content: str
    role: str = "assistant"
    message_id: str | None = None
    block: int | None = None


class ResponseComplete(BaseEvent):
    type: Literal["response_complete"] = "response_complete"
    content: str
    role: str = "assistant"
    tokens: int | None = None
    message_id: str | None = None
    block: int | None = None
    parent_call_id: str | None = None


class Thinking(BaseEvent):
    type: Literal["thinking"] = "thinking"
    content: str
    message_id: str | None = None
    block: int | None = None
    partial: bool | None = None
    """True for a piece of a thought; a later event has the whole text."""


class UsageEvent(BaseEvent):
    type: Literal["usage"] = "usage"
    usage: Usage
    message_id: str | None = None
    parent_call_id: str | None = None
    partial: bool | None = None
    """True for the count at the start of the message: a lower bound."""


class ToolCall(BaseEvent):
    meaningful_nulls: ClassVar[frozenset[str]] = frozenset({"args"})
    type: Literal["tool_call"] = "tool_call"
    tool: str
    args: Any = None
    call_id: str | None = None
    parent_call_id: str | None = None
    message_id: str | None = None
    """The message that contains the call."""


class ToolResult(BaseEvent):
    meaningful_nulls: ClassVar[frozenset[str]] = frozenset({"result"})
    type: Literal["tool_result"] = "tool_result"
    tool: str | None = None
    result: Any = None
    error: str | None = None
    call_id: str | None = None
    parent_call_id: str | None = None
    duration_ms: int | None = None
    exit_code: int | None = None
    unanswered: bool | None = None
    """True if the agent ended before the call returned: there is no result and none will follow."""


class BashCommand(BaseEvent):
    type: Literal["bash_command"] = "bash_command"
    command: str
    call_id: str | None = None


class BashOutput(BaseEvent):
    type: Literal["bash_output"] = "bash_output"
    output: str
    exit_code: int | None = None
    call_id: str | None = None
    stream: str | None = None


class FileRead(BaseEvent):
    type: Literal["file_read"] = "file_read"
    path: str
    call_id: str | None = None
    lines_added: int | None = None
    lines_removed: int | None = None
    diff: str | None = None


class FileWrite(BaseEvent):
    type: Literal["file_write"] = "file_write"
    path: str
    call_id: str | None = None
    lines_added: int | None = None
    lines_removed: int | None = None
    diff: str | None = None


class Completed(BaseEvent):
    type: Literal["completed"] = "completed"
    status: Status
    reason: str | None = None
    """The limit that the run exceeded, if that is why it was ended."""
    exit_code: int | None = None
    duration_ms: int | None = None
    usage: Usage | None = None
    """Of this run alone."""
    cost_usd: float | None = None
    models: list[ModelUsage] | None = None
    """``usage`` and ``cost_usd`` by model."""
    session_usage: Usage | None = None
    """Of all runs of the session so far, if the agent reports nothing more specific."""
    session_cost_usd: float | None = None
    unwritten_events: int | None = None
    """Events that a full disk, or another error of the log, kept out of it."""


class ErrorEvent(BaseEvent):
    type: Literal["error"] = "error"
    error: str
    kind: str | None = None
    retryable: bool | None = None


class Unknown(BaseEvent):
    type: Literal["unknown"] = "unknown"
    raw: str
    """A line of the agent's output that the adapter does not recognise, as printed."""


class OtherEvent(BaseEvent):
    """An event of a type unknown to this version, with all its fields."""


KnownEvent = Annotated[
    Started
    | PromptSent
    | ResponseChunk
    | ResponseComplete
    | Thinking
    | UsageEvent
    | ToolCall
    | ToolResult
    | BashCommand
    | BashOutput
    | FileRead
    | FileWrite
    | Completed
    | ErrorEvent
    | Unknown,
    Field(discriminator="type"),
]
"""The discriminated union on ``type``."""

Event = BaseEvent
"""Any event: a :data:`KnownEvent` or an :class:`OtherEvent`."""

MODELS: Final[Mapping[str, type[BaseEvent]]] = {
    model.model_fields["type"].default: model
    for model in (
        Started, PromptSent, ResponseChunk, ResponseComplete, Thinking, UsageEvent, ToolCall, ToolResult,
        BashCommand, BashOutput, FileRead, FileWrite, Completed, ErrorEvent, Unknown,
    )
}  # fmt: skip


class Malformed(Frozen):
    """What the wire carries in place of a line that is not an event (see :func:`workcast.events.wire.wire`)."""

    type: Literal["malformed"] = "malformed"
    reason: Literal["size", "utf8", "json", "object", "type"]
    bytes: int
    raw: str
