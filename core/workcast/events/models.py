"""Event models: one frozen pydantic model per event type, and their union.

Names and fields are those of docs/protocol.md. Unknown fields are kept, and an event of an unknown type becomes an
:class:`OtherEvent` with all its fields, so that nothing a newer agent prints is lost.
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
    """What every event has: its type, its time, and the context it was written in."""

    type: str
    timestamp: Timestamp = Field(default_factory=now)
    workcell_id: str | None = None
    issue_id: str | None = None
    toolchain: str | None = None
    model: str | None = None

    always_written: ClassVar[frozenset[str]] = frozenset()
    """The fields that :func:`dump` writes whether or not they were set: those whose default says something."""

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
    """True: the session had runs before this one."""


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
    """True: a piece of a thought whose whole text follows in a later event."""


class UsageEvent(BaseEvent):
    type: Literal["usage"] = "usage"
    usage: Usage
    message_id: str | None = None
    parent_call_id: str | None = None
    partial: bool | None = None
    """True: what was known when the message began; it took at least so much."""


class ToolCall(BaseEvent):
    null_told: ClassVar[frozenset[str]] = frozenset({"args"})
    type: Literal["tool_call"] = "tool_call"
    tool: str
    args: Any = None
    call_id: str | None = None
    parent_call_id: str | None = None
    message_id: str | None = None
    """The message that made the call."""


class ToolResult(BaseEvent):
    null_told: ClassVar[frozenset[str]] = frozenset({"result"})
    type: Literal["tool_result"] = "tool_result"
    tool: str | None = None
    result: Any = None
    error: str | None = None
    call_id: str | None = None
    parent_call_id: str | None = None
    duration_ms: int | None = None
    exit_code: int | None = None
    unanswered: bool | None = None
    """True: the agent ended before the call returned; there is no result, and there will be none."""


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
    """Why it was ended, where the status does not say it: the limit that it passed."""
    exit_code: int | None = None
    duration_ms: int | None = None
    usage: Usage | None = None
    """This run's own."""
    cost_usd: float | None = None
    models: list[ModelUsage] | None = None
    """``usage`` and ``cost_usd`` by model."""
    session_usage: Usage | None = None
    """Of all runs of the session until now, where the agent tells nothing else."""
    session_cost_usd: float | None = None


class ErrorEvent(BaseEvent):
    type: Literal["error"] = "error"
    error: str
    kind: str | None = None
    retryable: bool | None = None


class Unknown(BaseEvent):
    type: Literal["unknown"] = "unknown"
    raw: str
    """A line of the agent that no rule knows, as it was printed."""


class OtherEvent(BaseEvent):
    """An event of a type that this version does not know, with all its fields."""


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
    """What the wire carries in place of a line that is no event (see :func:`workcast.events.wire.wire`)."""

    type: Literal["malformed"] = "malformed"
    reason: Literal["utf8", "json", "object", "type"]
    bytes: int
    raw: str
